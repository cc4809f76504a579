"""Where a dump goes: :mod:`~fadump.service.targets.contract` says what the service asks of a target.

A target is a module with its settings, a frozen dataclass, and what does the work; ``kinds.py`` has their list.
"""
