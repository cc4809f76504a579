"""The model kernel's files, as user space sees them: what they show, and what writing to them does.

Each module has a mapping by absolute path, and :meth:`fadump.kernel.model.KernelModel.files` combines them:
:mod:`.sysfs` for /sys/kernel, :mod:`.procfs` for /proc, :mod:`.device_tree` for /proc/device-tree.
"""
