"""A stock QEMU as a machine: its process, its gdb stub, the entry page, and what survives a reset."""
