"""The crashed kernel's symbols, by its own list of them."""
