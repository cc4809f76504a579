"""What lies in the file systems of raw disks, read without booting them: a directory copied out of one.

    ext2, ext3, ext4  read with debugfs from e2fsprogs (:mod:`.ext_files`), by anybody
    btrfs             read by btrfs restore from btrfs-progs, by anybody; each subvolume counts as a file system
    XFS               mounted in a mount namespace, which takes root and a kernel that has XFS

A system that was not shut down has its last changes in the journal only, so that is replayed; btrfs has none, but for
what was written by fsync(2) less than 30 s before a power cut. A disk may be hostile, too: e2fsck mends names with a
slash, or that are there twice, first; btrfs restore is given the names that it may take, and makes no links; of a
mounted file system a directory is taken only if no link leads to it. Holes stay holes, and what would fill this
computer's disk all the same is not copied (:mod:`.room`). Whoever calls gives copies of the disks.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import FadumpError, SetupError
from fadump.kit.packages import require
from fadump.kit.process import telling_lines
from fadump.systems.ext_files import DebugfsError, copy_files, debugfs
from fadump.systems.room import DIES_WITH_US, run_tool, run_within_room
from fadump.systems.volumes import Volume, name_of, volumes

_EXT = frozenset({"ext2", "ext3", "ext4"})
_XFS, _BTRFS = "xfs", "btrfs"
_NO_DUMPS = frozenset({"", "swap", "vfat", "iso9660", "squashfs"})
"""What blkid(8) calls volumes that no system saves dumps on; "" is one that it doesn't know."""
_TOOLS = {kind: {"debugfs": "e2fsprogs", "e2fsck": "e2fsprogs"} for kind in _EXT} | {
    _BTRFS: {"btrfs": "btrfs-progs"},
    _XFS: {"unshare": "util-linux", "mount": "mount"},
}
_AMBIVALENT = 8
"""Of blkid's exit codes."""
_HEAD_BYTES = 2 << 20
"""Has all that tells which file system it is."""
_CORRECTED = 0o3
"""Of e2fsck's exit codes: it has corrected errors, and the system should be rebooted. Both are fine with a copy."""
_TOP_LEVEL = 5
"""The number of btrfs' own tree of files, which has all subvolumes in it; theirs begin at 256."""
_FIRST_SUBVOLUME = 256
_PLACE = "/sys/fs"
"""Any directory would do, as it is mounted over in a namespace only."""
_NO_DIRECTORY = 3
_COPY_MOUNTED = """
mount -t xfs -o loop,nouuid,nosuid,nodev,noexec "$1" "$2" || exit 1
[ "$(realpath -e "$2/$3")" = "$2/$3" ] || exit 3
exec cp -r --no-dereference --preserve=timestamps "$2/$3" "$4"
"""
"""Its arguments: the volume, where to mount it, the directory in it, where that goes. The mount is the namespace's."""
_NAME = r"([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)"
"""A file's name that leads nowhere else, as a POSIX extended regular expression."""


class UnreadableError(SetupError):
    """A volume that can't be looked into here, or is damaged; the sentence begins with its name."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A file system on a volume: ``file`` is open and begins with it, ``kind`` is as blkid(8) calls it.

    ``subvolume`` is a btrfs' tree of files.
    """

    name: str
    file: int
    kind: str
    subvolume: int = _TOP_LEVEL


def file_systems(disks: Sequence[int], directory: Path) -> Iterator[FileSystem | UnreadableError]:
    """The file systems of raw disks, which are open files, and for each volume that can't be read why.

    A file system is open until the next one is asked for, as a file without a name in the file system of ``directory``.

    :raises SetupError: a tool is missing, or there is no room.
    """
    for found in _found(disks, directory):
        if isinstance(found, UnreadableError):
            yield found
            continue
        volume, kind = found
        with volume.copied(directory) as file:
            for subvolume in _subvolumes(file) if kind == _BTRFS else [_TOP_LEVEL]:
                yield FileSystem(volume.name, file, kind, subvolume)


def check_readable(disks: Sequence[int], directory: Path) -> None:
    """Refuse disks on which nothing can be read here, though there is something.

    :raises UnreadableError: with the reasons.
    :raises SetupError: a tool is missing.
    """
    errors = []
    for found in _found(disks, directory):
        if not isinstance(found, UnreadableError):
            return
        errors.append(str(found))
    if errors:
        raise UnreadableError("; ".join(errors))


def _found(disks: Sequence[int], directory: Path) -> Iterator[tuple[Volume, str] | UnreadableError]:
    """Each volume with a file system, and what blkid(8) calls that."""
    for volume in volumes(disks):
        if volume.unread:
            yield UnreadableError(f"{volume.name} can't be read: {volume.unread}")
            continue
        with volume.copied(directory, _HEAD_BYTES) as head:
            kind = _kind(head)
        if kind in _NO_DUMPS:
            continue
        if kind == _XFS and os.geteuid() != 0:
            yield UnreadableError(f"{volume.name} is xfs, which only root can look into: run this as root")
        elif kind in _TOOLS:
            require(f"reading {kind} in a disk image", _TOOLS[kind])
            yield volume, kind
        else:
            yield UnreadableError(
                f"{volume.name} is {kind}, which can't be looked into: have the system save its dumps on ext4, btrfs "
                "or XFS"
            )


def copy_directory(system: FileSystem, directory: str, target: Path) -> bool:
    """Copy a directory with all that is in it to ``target``, which is made; False if there is no such directory.

    Files are readable by their owner only.

    :raises UnreadableError: it can't be read here.
    :raises SetupError: there is no room for the copy, of which nothing is left.
    """
    copy = _copy_by_debugfs if system.kind in _EXT else _copy_by_restore if system.kind == _BTRFS else _copy_by_mount
    try:
        found = copy(system, directory, target)
    except FadumpError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    if found:
        _make_private(target)
    return found


def _kind(file: int) -> str:
    require("looking into a disk image", {"blkid": "util-linux"})
    done = run_tool(["blkid", "-p", "-o", "value", "-s", "TYPE", name_of(file)], file)
    return "of several kinds at once" if done.returncode == _AMBIVALENT else done.stdout.strip()


def _copy_by_debugfs(system: FileSystem, directory: str, target: Path) -> bool:
    mended = run_tool(["e2fsck", "-f", "-y", name_of(system.file)], system.file)
    if mended.returncode & ~_CORRECTED:
        raise _damaged(system, mended.stdout + mended.stderr)
    try:
        asked = debugfs(system.file, f"stat {_word(directory)}")
    except DebugfsError:
        return False
    inode = re.match(r"Inode: (\d+) +Type: directory", asked)
    if inode is None:
        return False
    try:
        copy_files(system.file, int(inode[1]), target, _named(system, directory))
    except DebugfsError as error:
        raise _not_copied(system, directory, str(error)) from error
    return True


def _word(text: str) -> str:
    """One word of a request, as debugfs' parser (libss) reads it: it knows no other quotation marks."""
    return '"{}"'.format(text.replace('"', '""'))


def _subvolumes(file: int) -> list[int]:
    """The trees of files of a btrfs: the one at the top, and all subvolumes and snapshots."""
    done = run_tool(["btrfs", "restore", "-l", name_of(file)], file)
    numbers = re.findall(r"^ *tree key \((\d+) ROOT_ITEM", done.stdout, re.MULTILINE)
    return [_TOP_LEVEL, *(number for number in sorted(set(map(int, numbers))) if number >= _FIRST_SUBVOLUME)]


def _copy_by_restore(system: FileSystem, directory: str, target: Path) -> bool:
    target.mkdir(mode=0o700)
    command = ["btrfs", "restore", "-m", "-i", "-r", str(system.subvolume), "--path-regex", _restored(directory)]
    done = run_within_room(
        [*command, name_of(system.file), str(target)], system.file, target, _named(system, directory)
    )
    copied = target / directory.lstrip("/")
    found = copied.is_dir()
    # Who isn't root can't change owners, which does no harm.
    errors = [line for line in done.stderr.splitlines() if not re.search("failed to change owner|searching dir", line)]
    if found and done.returncode and errors:
        raise _not_copied(system, directory, "\n".join(errors))
    if found:
        _lift(copied, target)
        return True
    shutil.rmtree(target)
    if done.returncode and errors:
        raise _damaged(system, done.stdout + done.stderr)
    return False


def _restored(directory: str) -> str:
    """What btrfs restore may take: the directories that lead to this one, and whatever is in it."""
    expression = f"(/{_NAME})*"
    first, *others = Path(directory).parts[1:]
    for part in reversed(others):
        expression = f"(|/{re.escape(part)}{expression})"
    return f"^/(|{re.escape(first)}{expression})$"


def _lift(copied: Path, target: Path) -> None:
    """Let ``copied``, which lies in ``target``, take its place."""
    beside = target.with_name(f"{target.name}.copied")
    copied.rename(beside)
    shutil.rmtree(target)
    beside.rename(target)


def _copy_by_mount(system: FileSystem, directory: str, target: Path) -> bool:
    command = ["unshare", "--mount", "--", *DIES_WITH_US, "sh", "-c", _COPY_MOUNTED, "sh"]
    command += [name_of(system.file), _PLACE, directory.lstrip("/"), str(target)]
    done = run_within_room(command, system.file, target, _named(system, directory))
    if done.returncode == _NO_DIRECTORY:
        return False
    if done.returncode and not target.exists():
        raise UnreadableError(
            f"{system.name} is {system.kind}, which can't be mounted here: {telling_lines(done.stderr.splitlines())}; "
            "it takes root with the right to mount, and a kernel as new as the system's, or dumps on ext4"
        )
    if done.returncode:
        raise _not_copied(system, directory, done.stderr)
    return True


def _make_private(target: Path) -> None:
    """Files become their owner's, who is whoever runs this; what is neither file, directory nor link goes."""
    for path in (target, *target.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            os.chown(path, os.geteuid(), os.getegid())
            path.chmod(0o700 if stat.S_ISDIR(mode) else 0o600)
        else:
            path.unlink()


def _damaged(system: FileSystem, said: str) -> UnreadableError:
    return UnreadableError(
        f"{system.name} is {system.kind}, and too damaged to be read: {telling_lines(said.splitlines())}"
    )


def _not_copied(system: FileSystem, directory: str, said: str) -> SetupError:
    return SetupError(f"{_named(system, directory)} can't be copied: {telling_lines(said.splitlines())}")


def _named(system: FileSystem, directory: str) -> str:
    return f"{directory} of {system.name}"
