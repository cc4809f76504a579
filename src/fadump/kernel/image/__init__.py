"""What the model kernel's memory holds for a reader of its dump: variables, symbols, page tables, struct pages."""
