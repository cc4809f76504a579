"""Mutants: does any test notice when one line of the source is changed?

``make mutants`` changes a sample of places in src/fadump, one at a time (`operators.py`), and runs for each the tests
that execute the changed line (`covering.py`, from what `recorder.py` recorded and `record.py` keeps) in a copy of the
tree (`trial.py`): these tests only (`chosen.py`), and nothing that they start outlives them (`alone.py`).
"""
