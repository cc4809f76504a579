"""Everything around a cycle: its options, its host, its files, its faults."""
