"""Dump files: the ELF core that Linux offers as /proc/vmcore, its notes, and the proof that it is right."""
