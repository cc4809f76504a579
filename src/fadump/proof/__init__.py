"""Proof of a dump: every byte and every register is compared with the machine at its crash."""
