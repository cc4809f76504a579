"""A newer QEMU than the distribution's own, from a later Debian suite, run out of the cache; nothing is installed.

QEMU's SMT under TCG came with about 8.1, its own FADump with 10.2. Debian's packages are fetched with all that they
depend on, and of that only what QEMU runs with is kept: that suite's dynamic loader, C library and other libraries,
and QEMU's firmware images. The loader (ld.so(8)) starts QEMU with those libraries and no others.

    <cache>/qemu/qemu-SUITE-ARCHITECTURE-RECIPE/
        run                     a script to be used as a QEMU: it becomes the loader, which becomes QEMU
        qemu-system-ppc64       QEMU
        lib/                    the loader and the libraries, all plain files
        share/                  for -L: SLOF, skiboot and the like
        qemu.json               what it is, see Qemu
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fadump.abi import elf
from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, lock, new_entry, say_waiting, scratch_directory
from fadump.kit.debian import fetched_with_dependencies, native_architecture
from fadump.kit.package_file import DebianPackage, unpack
from fadump.kit.process import telling_lines
from fadump.progress import Progress

SUITES = ("forky", "sid")
"""Where to look: the suites after the stable one, the steadier first."""

_PACKAGE = "qemu-system-ppc"
_PROGRAM = "qemu-system-ppc64"
_DATA_DIRECTORIES = ("usr/share/qemu", "usr/share/slof", "usr/share/skiboot")
_FACTS = "qemu.json"
_RECIPE = 1
"""Counts up when this module keeps something else of the same packages; what was kept before is then not found."""
_SCRIPT = """\
#!/bin/sh
here=$(cd "${{0%/*}}" && pwd) || exit
exec "$here/lib/{loader}" --library-path "$here/lib" "$here/{program}" -L "$here/share" "$@"
"""


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU in the cache. ``path`` is what --qemu takes; ``version`` is QEMU's own, such as "11.1.2"."""

    path: Path
    version: str
    debian_version: str
    suite: str
    architecture: str

    @property
    def title(self) -> str:
        """For people: "QEMU 11.1.2 from Debian forky"."""
        return f"QEMU {self.version} from Debian {self.suite}"

    def as_json(self) -> dict[str, str]:
        """All of it, the path as text, for ``--json``."""
        return {name: str(value) for name, value in asdict(self).items()}


def list_qemus() -> list[Qemu]:
    """Every QEMU in the cache.

    :raises SetupError: an entry of the cache is damaged.
    """
    return [_load(path) for path in sorted((cache_directory() / "qemu").glob("qemu-*")) if path.is_dir()]


def find_qemu(suites: Sequence[str] = SUITES) -> Qemu | None:
    """The QEMU that was fetched from the first of ``suites`` that one was fetched from, or None; without any network.

    :raises SetupError: the cache's entry is damaged, or this machine has no dpkg.
    """
    architecture = native_architecture()
    directories = [_entry(suite, architecture) for suite in suites]
    return next((_load(directory) for directory in directories if directory.exists()), None)


def fetch_qemu(suites: Sequence[str] = SUITES) -> Qemu:
    """The QEMU from the cache, else fetched now, about 40 MB.

    :raises SetupError: there is no apt or no mirror, it can't be reached, no suite has a QEMU, or it doesn't run here.
    """
    if qemu := find_qemu(suites):
        return qemu
    with lock("qemu", say_waiting("fetching a newer QEMU")):
        if qemu := find_qemu(suites):
            return qemu
        with fetched_with_dependencies(_PACKAGE, native_architecture(), suites) as packages:
            directory = _entry(packages[0].suite, packages[0].architecture)
            with (
                new_entry(directory) as entry,
                scratch_directory(cache_directory(), ".qemu-") as root,
                Progress.step(f"Unpacking {len(packages)} packages", len(packages), "packages") as step,
            ):
                for package in packages:
                    unpack(package, root)
                    step.advance(1)
                _keep(root, entry)
                (package,) = (package for package in packages if package.name == _PACKAGE)
                _write_facts(entry, package)
    return _load(directory)


def _keep(root: Path, entry: Path) -> None:
    """Copy what QEMU runs with, links replaced by what they lead to."""
    program = root / "usr/bin" / _PROGRAM
    loader = _find(root, _interpreter(program))
    libraries, share = entry / "lib", entry / "share"
    libraries.mkdir()
    share.mkdir()
    for library in [loader, *_needed(loader, program, root)]:
        shutil.copyfile(library, libraries / library.name)
    (libraries / loader.name).chmod(0o700)
    shutil.copyfile(program, entry / _PROGRAM)
    for path in (path for name in _DATA_DIRECTORIES for path in (root / name).glob("*")):
        if path.is_file():  # a link that leads out of the packages isn't
            shutil.copyfile(path, share / path.name)
    script = entry / "run"
    script.write_text(_SCRIPT.format(loader=loader.name, program=_PROGRAM), encoding="utf-8")
    script.chmod(0o700)


def _needed(loader: Path, program: Path, root: Path) -> list[Path]:
    """The libraries that the packages' own loader finds for the program, in the packages and nowhere else."""
    directories = sorted({str(path.parent) for path in (root / "usr/lib").rglob("*.so*")})
    command = [str(loader), "--inhibit-cache", "--library-path", ":".join(directories), "--list", str(program)]
    loader.chmod(0o700)
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [Path(words[2]) for line in listed.stdout.splitlines() if len(words := line.split()) >= 3]
    if strangers := [str(path) for path in found if not path.is_relative_to(root)]:
        raise SetupError(f"Debian's {_PACKAGE} needs {', '.join(strangers)}, which its packages don't bring")
    if listed.returncode != 0 or not found:
        raise SetupError(
            f"Debian's {_PACKAGE} can't be run: {telling_lines((listed.stderr or listed.stdout).splitlines())}"
        )
    return found


def _interpreter(program: Path) -> str:
    """The name of the loader that an ELF program asks for (elf(5), PT_INTERP)."""
    image = program.read_bytes()
    byte_order = elf.BYTE_ORDERS.get(elf.ELF_HEADER.number(image, "ei_data"), "big")
    header = elf.ELF_HEADER.in_order(byte_order).decode(image)
    for index in range(header.e_phnum):
        at = header.e_phoff + index * header.e_phentsize
        segment = elf.PROGRAM_HEADER.in_order(byte_order).decode(image, at)
        if segment.p_type == elf.PT_INTERP:
            return Path(image[segment.p_offset : image.index(b"\0", segment.p_offset)].decode()).name
    raise SetupError(f"Debian's {_PROGRAM} is not dynamically linked")


def _find(root: Path, name: str) -> Path:
    for path in root.rglob(name):
        if path.is_file() and not path.is_symlink():
            return path
    raise SetupError(f"Debian's {_PACKAGE} needs {name}, which its packages don't bring")


def _write_facts(entry: Path, package: DebianPackage) -> None:
    said = subprocess.run([str(entry / "run"), "--version"], capture_output=True, text=True, check=False)
    words = said.stdout.split()
    if said.returncode != 0 or "version" not in words:
        why = telling_lines(said.stderr.splitlines())
        raise SetupError(f"Debian's {_PACKAGE} {package.version} doesn't run here: {why}")
    about = {
        "version": words[words.index("version") + 1],
        "debian_version": package.version,
        "suite": package.suite,
        "architecture": package.architecture,
    }
    (entry / _FACTS).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _load(directory: Path) -> Qemu:
    path = directory / "run"
    try:
        qemu = Qemu(path=path, **json.loads((directory / _FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SetupError(f"the QEMU in {directory} is damaged ({error}): remove that directory") from error
    if not path.is_file():
        raise SetupError(f"the QEMU in {directory} is damaged ({path} missing): remove that directory")
    return qemu


def _entry(suite: str, architecture: str) -> Path:
    return cache_directory() / "qemu" / f"qemu-{suite}-{architecture}-{_RECIPE}"
