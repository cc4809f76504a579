"""Whole systems that aren't ours: their disks, boot loaders and user space, on a machine with FADump firmware.

* what a machine for them is made of, and its life until power-off: :mod:`.vm`
* a disk image, or a layer above it that leaves it as it is: :mod:`.disks`
* a disk image with a whole Debian, made here: :mod:`.image`
* the terminal as the machine's console: :mod:`.terminal`
* its rehearsal: crashed unattended, and judged by the dump on its disk: :mod:`.rehearse`, the story :mod:`.rehearsal`
* what the firmware sees, for people and programs: :mod:`.events`
"""
