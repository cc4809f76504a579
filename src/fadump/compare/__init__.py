"""The model of Linux against real Linux, over many configurations."""
