"""Machines for other projects' tests: ``fadump.Machine`` and its kin.

docs/api.md has what is public of it, which stays as it is.
"""
