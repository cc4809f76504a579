"""Layouts and codes that two parties share; no behaviour."""
