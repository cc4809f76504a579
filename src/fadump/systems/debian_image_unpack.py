"""Debian's packages unpacked into a root file system by this machine's own dpkg, as any user; nothing of them is run.

dpkg(1) would run a package's ``preinst`` before it unpacks the package, and other scripts when another package takes
its place, as root here if it is root's. So all scripts are taken out first, and are put where dpkg keeps them when it
has ended. And only root can give files to others. So all that is still due goes into the root file system, where
``data/install`` does it, as root of a machine of its own:

    /fadump/preinst/NAME.preinst    a script to be run
    /fadump/modes                   files that are not root's, or run as another: OWNER:GROUP MODE /PATH, by numbers
"""

import io
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from fadump.errors import FormatError, reason
from fadump.kit.debian import ARCHITECTURE
from fadump.kit.package_file import DebianPackage
from fadump.kit.process import log_path, run
from fadump.progress import Progress

TOOLS = {"dpkg": "dpkg"}
"""What unpacking runs, and which package has it."""
SCRIPTS = "fadump/preinst"
MODES = "fadump/modes"

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60
_AR_END = b"`\n"
_PREINST = "preinst"
_SCRIPTS = frozenset({_PREINST, "postinst", "prerm", "postrm"})
"""What dpkg runs of a package."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_MOST_BYTES = 1 << 32
"""More than a package unpacks to."""
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
_MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into /usr, which suites before trixie don't bring; dpkg leaves them as they are."""
_UNPACKING = "Unpacking "
_SETTINGS = (
    *("--force-not-root", "--force-architecture", "--force-depends", "--force-unsafe-io"),
    *("--no-triggers", "--log=/dev/null"),
    *("--path-exclude=/usr/share/doc/*", "--path-include=/usr/share/doc/*/copyright"),
    *("--path-exclude=/usr/share/man/*", "--path-exclude=/usr/share/locale/*"),
)


def unpack_packages(packages: Sequence[DebianPackage], root: Path) -> None:
    """Unpack the packages into the new directory ``root``, as dpkg does before it configures them.

    :raises SetupError: a package can't be unpacked; most often the disk is full.
    :raises FormatError: a file is not a Debian package.
    """
    _make_directories(root)
    stripped = root.with_name("packages")
    stripped.mkdir()
    with Progress.step("Reading Debian's packages", len(packages), "packages") as step:
        paths, scripts = [], {}
        for package in packages:
            path, scripts[package.name] = _prepare(package, stripped, root)
            paths.append(path)
            step.advance()
    with Progress.step("Unpacking Debian's packages", len(paths), "packages") as step:
        run(
            ["dpkg", f"--root={root}", *_SETTINGS, "--unpack", *map(str, paths)],
            what="unpacking Debian's packages",
            log=log_path("image-unpack"),
            environment={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            on_line=lambda line: step.advance(line.startswith(_UNPACKING)),
        )
    shutil.rmtree(stripped)
    for name, contents in scripts.items():
        _put_scripts(root, name, contents)


def _make_directories(root: Path) -> None:
    for name in ("etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", SCRIPTS):
        (root / name).mkdir(parents=True)
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)  # whatever the umask is
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()


def _prepare(package: DebianPackage, directory: Path, root: Path) -> tuple[Path, dict[str, bytes]]:
    """The package without its scripts, and these; what has none is taken as it is."""
    members = dict(_members(package.path))
    control_name, data_name = (_member_name(members, prefix, package.path) for prefix in ("control.tar", "data.tar"))
    with _reading_tar(package.path):
        with (root / MODES).open("a", encoding="utf-8") as modes:
            modes.writelines(_modes(members[data_name]))
        control, scripts = _without_scripts(members[control_name])
    if not scripts:
        return package.path, {}
    path = directory / package.path.name
    rest = {"control.tar": control, data_name: members[data_name]}
    path.write_bytes(_archive({"debian-binary": members["debian-binary"], **rest}))
    return path, scripts


def _put_scripts(root: Path, name: str, scripts: Mapping[str, bytes]) -> None:
    """Put a package's scripts where dpkg would have, but for the one that is still to be run."""
    info = root / "var/lib/dpkg/info"
    stem = name if (info / f"{name}.list").exists() else f"{name}:{ARCHITECTURE}"
    for kind, content in scripts.items():
        path = root / SCRIPTS / f"{name}.preinst" if kind == _PREINST else info / f"{stem}.{kind}"
        path.write_bytes(content)
        path.chmod(0o755)


@contextmanager
def _reading_tar(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, KeyError) as error:
        (what, *_others) = reason(error).splitlines()
        raise FormatError(f"{path} is a damaged package: {what.removesuffix(':')}") from error


@contextmanager
def _tar(packed: bytes) -> Iterator[tarfile.TarFile]:
    if packed.startswith(_ZSTD_MAGIC):
        packed = zstandard.ZstdDecompressor().stream_reader(packed).read(_MOST_BYTES)
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        yield files


def _member_name(members: dict[str, bytes], prefix: str, path: Path) -> str:
    name = next((name for name in members if name.startswith(prefix)), None)
    if name is None:
        raise FormatError(f"{path} has no {prefix}")
    return name


def _modes(data: bytes) -> Iterator[str]:
    with _tar(data) as files:
        for member in files:
            if (member.uid, member.gid) != (0, 0) or member.mode & _SET_ID_BITS:
                if "\n" in member.name:
                    raise tarfile.TarError(f"{member.name!r} has a line's end in its name")
                yield f"{member.uid}:{member.gid} {member.mode:o} {member.name.removeprefix('.')}\n"


def _without_scripts(control: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The control files, all of them files in one directory, and apart from them the scripts."""
    stream, scripts = io.BytesIO(), {}
    with _tar(control) as old, tarfile.open(fileobj=stream, mode="w") as new:
        for member in old:
            name = posixpath.normpath(member.name)
            if name == "." and member.isdir():
                continue
            if "/" in name or not member.isreg():
                raise tarfile.TarError(f"its control file {member.name!r} is no plain file")
            content = cast("IO[bytes]", old.extractfile(member))
            if name in _SCRIPTS:
                scripts[name] = content.read()
            else:
                new.addfile(member, content)
    return stream.getvalue(), scripts


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files in an ar archive, in their order (deb(5), ar(5))."""
    data = path.read_bytes()
    if not data.startswith(_AR_MAGIC):
        raise FormatError(f"{path} is not a Debian package", offset=0, expected=_AR_MAGIC, found=data[:8])
    at = len(_AR_MAGIC)
    while at < len(data):
        header = data[at : at + _AR_HEADER_BYTES]
        at += _AR_HEADER_BYTES
        size = header[48:58].strip()
        if header[58:] != _AR_END or not size.isdigit() or at + int(size) > len(data):
            raise FormatError(f"{path} is a damaged package", offset=at - _AR_HEADER_BYTES)
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), data[at : at + int(size)]
        at += int(size) + int(size) % 2


def _archive(members: dict[str, bytes]) -> bytes:
    parts = [_AR_MAGIC]
    for name, data in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}".encode() + _AR_END)
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)
