"""Saving an open dump in a call."""

from fadump.capture.destination import Destination
from fadump.capture.save import save_dump, stream_dump
from fadump.linux.system import CrashedSystem


def save_file(dump, path, options, *, vmlinux=None, **more):
    """Save a dump as a file, or as the files of a split one."""
    return save_dump(CrashedSystem(dump, vmlinux), Destination.take(path, options), options, **more)


def save_stream(dump, fd, options, **more):
    """Write a dump to a descriptor."""
    return stream_dump(CrashedSystem(dump), fd, options, **more)
