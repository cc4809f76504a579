"""Linux's Firmware-Assisted Dump, whole: firmware, machine and dump tools."""
