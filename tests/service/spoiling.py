"""A target that doesn't keep what it is given."""

import os
from dataclasses import dataclass
from pathlib import Path

from fadump.service.targets.directory import DirectoryTarget


@dataclass(frozen=True)
class Spoiling:
    """A directory on a disk that changes a byte of what it is given."""

    path: Path

    def target(self, root):
        return SpoilingTarget(self.path)


class SpoilingTarget(DirectoryTarget):
    def prove(self, tell, *, complete):
        spoil(self.settle().path)
        return super().prove(tell, complete=complete)


def spoil(path):
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
