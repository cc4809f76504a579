"""What a QEMU machine needs before its first power-on: a FADump kernel and an initramfs, made here, kept in a cache."""
