"""Disk images with a whole Debian for ppc64el, made here, each once: found, listed, built.

An image boots on pseries by its own boot loader: GRUB, a kernel with FADump from the cache, an initramfs, systemd and
Debian's kdump-tools. It is an entry of the cache that is named by what it was made from:

    <cache>/images/debian-SUITE-PAGESIZE-KEY/
        disk.img            the image, raw and sparse
        image.json          what it is, see Image

The packages come first (:mod:`.debian_image_packages`), are unpacked by this machine's dpkg
(:mod:`.debian_image_unpack`), go to a disk (:mod:`.image_disk`), and are configured in a machine
(:mod:`.debian_image_install`).
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from fadump.errors import SetupError, UsageError
from fadump.kit.cache import cache_directory, lock, new_entry, private_directory, say_waiting, scratch_directory
from fadump.kit.kernel import Kernel
from fadump.kit.packages import require
from fadump.systems import debian_image_install, debian_image_unpack
from fadump.systems.crashkernel import check_crashkernel
from fadump.systems.debian_image_packages import NOTHING, SUITES, Added, PackageSet, fetch_packages, kept_packages
from fadump.systems.image_disk import MKE2FS, Disk

DISK_BYTES = 3 << 30
NEEDED_BYTES = 3 << 29
"""What building an image may take of the cache's disk, all in all."""
TOOLS = {**debian_image_unpack.TOOLS, MKE2FS: "e2fsprogs", **debian_image_install.TOOLS}
"""What building an image runs, and which package has it."""
DEFAULT_CRASHKERNEL = "512M"

NEEDED_OPTIONS = (
    *("EXT4_FS", "VIRTIO_BLK", "MSDOS_PARTITION", "BLK_DEV_INITRD", "DEVTMPFS", "TMPFS", "SYSCTL"),
    *("CGROUPS", "INOTIFY_USER", "FHANDLE", "UNIX98_PTYS", "PACKET"),
)
"""Of a kernel: to install on a disk, then what systemd and its network don't start without (systemd's README)."""

_FACTS = "image.json"
_DISK = "disk.img"
_BLOCK_BYTES = 512
_RECIPE = 1
"""Counts up when this package makes something else of the same packages and kernel."""
_HOST_NAME = "fadump"


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image in the cache.

    ``release`` and ``page_size`` are its kernel's, ``kernel`` that kernel's file with a name outside of the image;
    ``command_line`` is what GRUB gives it. ``packages`` has Debian's version of each package, by name; ``added`` are
    the names of those that were asked for beside Debian's own.
    """

    path: Path
    suite: str
    release: str
    page_size: str
    kernel: Path
    command_line: str
    size_bytes: int
    key: str
    packages: dict[str, str]
    build_seconds: float
    added: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of its directory, which no other image has."""
        return self.path.parent.name

    @property
    def disk_bytes(self) -> int:
        """What it takes of the disk: it is sparse.

        :raises OSError: it has been removed.
        """
        return self.path.stat().st_blocks * _BLOCK_BYTES

    @property
    def built(self) -> datetime:
        """When it was made, UTC.

        :raises OSError: it has been removed.
        """
        return datetime.fromtimestamp(self.facts.stat().st_mtime, UTC)

    @property
    def facts(self) -> Path:
        """The file that has all of this, and the version of each package."""
        return self.path.with_name(_FACTS)

    def as_json(self) -> dict[str, object]:
        """What scripts need, for ``--json``; the packages are in :attr:`facts`."""
        return {
            "name": self.name,
            "path": str(self.path),
            "suite": self.suite,
            "release": self.release,
            "page_size": self.page_size,
            "kernel": str(self.kernel),
            "command_line": self.command_line,
            "size_bytes": self.size_bytes,
            "disk_bytes": self.disk_bytes,
            "built": self.built.isoformat(timespec="seconds"),
            "build_seconds": self.build_seconds,
            "facts": str(self.facts),
            "added": self.added,
        }


def list_images() -> list[Image]:
    """Every image in the cache, those of older packages and kernels too, by directory.

    :raises SetupError: an entry of the cache is damaged.
    """
    return [_load(path) for path in sorted((cache_directory() / "images").glob("debian-*")) if path.is_dir()]


def build_image(
    kernel: Kernel,
    *,
    crashkernel: str = DEFAULT_CRASHKERNEL,
    suites: Sequence[str] = SUITES,
    update: bool = False,
    added: Added = NOTHING,
) -> Image:
    """The image from the cache, else built now: some minutes on 2 processors.

    The packages are those in the cache, if there are any and ``update`` doesn't ask for today's. ``added`` packages
    come with what they depend on. A process that has to build one waits for
    another that is building one; an image in the cache is there at once.

    :raises UsageError: ``crashkernel`` is none that FADump takes.
    :raises SetupError: something is missing, no suite is whole, or the build fails.
    """
    command_line = _command_line(crashkernel)
    _check_kernel(kernel)
    packages = None if update else kept_packages(suites, added)
    if packages is None or not (directory := _directory(packages, kernel, command_line)).exists():
        with lock("images", say_waiting("building a disk image")):
            directory = _made(kernel, command_line, suites, update=update, added=added)
    return _load(directory)


def _made(kernel: Kernel, command_line: str, suites: Sequence[str], *, update: bool, added: Added) -> Path:
    """An image's directory, built unless the process that was waited for has built it."""
    packages = None if update else kept_packages(suites, added)
    if packages is None:
        _check_room()
        packages = fetch_packages(suites, added)
    directory = _directory(packages, kernel, command_line)
    if not directory.exists():
        _check_room()
        require("building a disk image", TOOLS)
        _build(directory, packages, kernel, command_line, added)
    return directory


def _directory(packages: PackageSet, kernel: Kernel, command_line: str) -> Path:
    name = f"debian-{packages.suite}-{kernel.page_size}-{_key(packages, kernel, command_line)[:12]}"
    return cache_directory() / "images" / name


def _check_kernel(kernel: Kernel) -> None:
    configured = set(kernel.config.read_text(encoding="utf-8").splitlines())
    if missing := [option for option in NEEDED_OPTIONS if f"CONFIG_{option}=y" not in configured]:
        raise SetupError(
            f"{kernel.title}, can't serve a whole Debian: its configuration lacks {', '.join(missing)}: "
            "build a kernel that has them"
        )


def _command_line(crashkernel: str) -> str:
    """What GRUB gives the kernel.

    :raises UsageError: ``crashkernel`` is none that FADump takes.
    """
    try:
        check_crashkernel(crashkernel)
    except ValueError as error:
        raise UsageError(f"crashkernel={crashkernel}: {error}") from None
    return f"console=hvc0 fadump=on crashkernel={crashkernel}"


def _build(directory: Path, packages: PackageSet, kernel: Kernel, command_line: str, added: Added) -> None:
    started = time.monotonic()
    with (
        new_entry(directory) as entry,
        scratch_directory(private_directory(cache_directory() / "images"), ".root-") as scratch,
    ):
        disk = Disk(entry / _DISK, DISK_BYTES, uuid.uuid4())
        root = scratch / "root"
        debian_image_unpack.unpack_packages(packages.packages, root)
        _put_kernel(kernel, root)
        settings = {"release": kernel.release, "command_line": command_line, "host_name": _HOST_NAME}
        debian_image_install.put_installer(root, settings, disk)
        disk.partition()
        disk.format_root(root)
        shutil.rmtree(root)
        debian_image_install.install(disk, kernel.bootable, len(packages.packages), directory.name)
        about = {
            "suite": packages.suite,
            "release": kernel.release,
            "page_size": kernel.page_size,
            "kernel": str(kernel.bootable),
            "command_line": command_line,
            "size_bytes": DISK_BYTES,
            "key": _key(packages, kernel, command_line),
            "packages": packages.versions,
            "build_seconds": round(time.monotonic() - started, 1),
            "added": added.packages,
        }
        (entry / _FACTS).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _put_kernel(kernel: Kernel, root: Path) -> None:
    """Where Debian's own packages of kernels have it; the cache's files are their owner's only."""
    boot, modules = root / "boot", root / "usr/lib/modules"
    boot.mkdir(exist_ok=True)
    shutil.copyfile(kernel.bootable, boot / f"vmlinux-{kernel.release}")
    shutil.copyfile(kernel.config, boot / f"config-{kernel.release}")
    if kernel.modules is None:
        (modules / kernel.release).mkdir(parents=True)
    else:
        shutil.copytree(kernel.modules / "lib/modules" / kernel.release, modules / kernel.release)
    for path in (boot, *boot.iterdir(), modules, *modules.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _key(packages: PackageSet, kernel: Kernel, command_line: str) -> str:
    """What an image is made from, as a digest."""
    script = (resources.files("fadump.systems") / "data" / "install").read_bytes()
    inputs = {
        "recipe": _RECIPE,
        "script": hashlib.sha256(script).hexdigest(),
        "packages": packages.digest,
        "kernel": _digest(kernel.bootable),
        "release": kernel.release,
        "command_line": command_line,
        "size_bytes": DISK_BYTES,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_room() -> None:
    cache = cache_directory()
    free_bytes = shutil.disk_usage(cache).free
    if free_bytes < NEEDED_BYTES:
        raise SetupError(
            f"building a disk image needs {NEEDED_BYTES >> 20} MiB in {cache}, which has {free_bytes >> 20} MiB free: "
            "make room there, or set FADUMP_CACHE to a directory elsewhere"
        )


def _load(directory: Path) -> Image:
    path = directory / _DISK
    try:
        about = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
        image = Image(path=path, **{**about, "kernel": Path(about["kernel"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SetupError(f"the image in {directory} is damaged ({error}): remove that directory") from error
    if not path.is_file():
        raise SetupError(f"the image in {directory} is damaged ({path} missing): remove that directory")
    return image
