"""A directory of a file system that is mounted for its dumps alone, where nobody else sees it.

The mount is in a mount namespace of this process, so that it ends with it, whatever ends it; its mount point is a
directory below /run.
"""

import ctypes
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fadump.service.root import Root
from fadump.service.targets.contract import Stored, TargetError
from fadump.service.targets.device import run_tool, told
from fadump.service.targets.directory import DirectoryTarget
from fadump.signals import held

_CLONE_NEWNS = 0x20000
_unshare = ctypes.CDLL(None, use_errno=True).unshare


class MountedTarget(DirectoryTarget, ABC):
    """``directory`` is the dumps' directory, below the root of the file system."""

    def __init__(self, root: Root, name: str, directory: Path) -> None:
        super().__init__(directory, name)
        self._root = root
        self._below = directory
        self._point: Path | None = None

    @abstractmethod
    def mount_words(self) -> Sequence[str]:
        """mount(8)'s options and what is to be mounted. It may have to be waited for.

        :raises TargetError: there is no such thing.
        """

    def prepare(self) -> None:
        words = self.mount_words()
        _own_namespace()
        with held():  # what is made is known, whatever comes
            self._point = Path(tempfile.mkdtemp(prefix="fadump-", dir=self._root.run))
        done = run_tool("mount", *words, str(self._point))
        if done.returncode:
            self._point.rmdir()
            self._point = None
            raise TargetError(f"{self.name} can't be mounted: {told(done)}")
        directory = self._point / self._below
        if not directory.resolve().is_relative_to(self._point.resolve()):
            raise TargetError(f"{self.name}: {self._below} is a link that leads out of the file system")
        self._path = directory
        super().prepare()

    def settle(self) -> Stored:
        stored = super().settle()
        return replace(stored, where="/".join([self.name, *Path(stored.where).parts[-2:]]))

    def close(self) -> None:
        super().close()
        point, self._point = self._point, None
        if point is not None:
            with held():  # the signal that ends a capture may not be the last one
                _unmount(point)
                with suppress(OSError):
                    point.rmdir()


def _unmount(point: Path) -> None:
    """At once, or when a hook's process that still works there, or a server that is gone, lets it."""
    for words in ([], ["--lazy"]):
        with suppress(TargetError):
            if run_tool("umount", *words, str(point)).returncode == 0:
                return


def _own_namespace() -> None:
    """Have this thread, and those that it starts, see the system's mounts, and nobody else theirs."""
    if _unshare(_CLONE_NEWNS):
        error = os.strerror(ctypes.get_errno())
        raise TargetError(f"no mount namespace can be made, which root can: {error}")
    done = run_tool("mount", "--make-rslave", "/")
    if done.returncode:
        raise TargetError(f"the mount namespace can't be separated: {told(done)}")
