"""The crashed kernel's log, and what it tells of the end and of trouble before it."""
