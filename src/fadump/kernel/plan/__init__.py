"""The reservation: what a kernel makes of its command line and memory, as pure functions."""
