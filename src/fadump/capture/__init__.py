"""Saving a dump: which pages, packed how, written so that nothing is lost and nothing invented."""
