"""``fadump-qemu-system-ppc64``: QEMU with FADump firmware, for whatever starts QEMU with a command line of its own.

* the command line, split into options: :mod:`.command_line`
* the machine that it describes, and what of it can't have FADump: :mod:`.guest`
* where the caller's own gdb attaches: :mod:`.gdb_device`
* the same command line with guest RAM that is shared and connections to us: :mod:`.rewrite`
* the start: this process becomes QEMU, a child of it the firmware: :mod:`.start`
* the firmware, until QEMU ends: :mod:`.serve`

The process that is started is QEMU itself, so its pid, its signals, its exit status and all that it inherits are as
they would be without us.
"""
