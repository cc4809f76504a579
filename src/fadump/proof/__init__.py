"""Proof of a dump: every byte and every register of it against the machine at its crash."""
