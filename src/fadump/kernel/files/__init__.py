"""The model kernel's files, as user space finds them in /sys, /proc and the device tree."""
