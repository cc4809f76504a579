"""The model kernel's files, as user space finds them: what they show, and what writing to them does.

Each module gives a mapping by absolute path, and :meth:`fadump.kernel.model.KernelModel.files` puts them together:
:mod:`.sysfs` for /sys/kernel, :mod:`.procfs` for /proc, :mod:`.device_tree` for /proc/device-tree.
"""
