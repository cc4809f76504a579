"""Linux kernels with FADump, built here because not every distribution's own has it: found, listed, built once.

A built kernel is an entry of the cache that is named by what it was made from, so it is found again without
any network, and made anew when the configuration fragment (``data/kernel.config``) changes, or a user's on top of it:

    <cache>/kernels/linux-SERIES-PAGESIZE-KEY/
        vmlinux             as linked, with debug information (DWARF 4), for debuggers
        vmlinux.stripped    the same without it, to boot
        config              its whole configuration
        modules/            its modules as installed (lib/modules/RELEASE), stripped, with what depmod writes
        kernel.json         what it is, see Kernel
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from fadump.errors import SetupError, UsageError
from fadump.kit.cache import cache_directory, lock, new_entry, say_waiting
from fadump.kit.debian import (
    ARCHITECTURE,
    fetch,
    listed_names,
    native_architecture,
    package_names,
)
from fadump.kit.kernel_build import BUILD_RECIPE, BuildFacts, build_into, build_tools
from fadump.kit.kernel_config import Options, as_fragment, configuration_fragment, page_size_of
from fadump.kit.package_file import DebianPackage
from fadump.kit.packages import require
from fadump.kit.private_apt import PackageMissingError
from fadump.kit.process import log_path

DEFAULT_SERIES = "6.12"
DEFAULT_PAGE_SIZE = "64K"
PAGE_SIZES = ("64K", "4K")
NEWEST_SERIES = "newest"
"""Instead of a series: the newest that Debian has, see newest_series()."""
NO_OPTIONS: Options = MappingProxyType({})
"""On top of our own: the kernel is as ``data/kernel.config`` has it."""

_FACTS = "kernel.json"
_NEWEST_SUITE = "sid"
_SERIES = re.compile(r"[1-9][0-9]{0,2}\.(0|[1-9][0-9]{0,2})")
_SOURCE_PREFIX = "linux-source-"
_SOURCE_PACKAGE = re.compile(rf"{_SOURCE_PREFIX}(?P<series>{_SERIES.pattern})")


class KernelState(StrEnum):
    """What a kernel in the cache is to today's fadump."""

    DEFAULT = "default"
    """The one that is taken unless another is asked for."""
    CURRENT = "current"
    """The one that is taken for its series, page size and options."""
    OUTDATED = "outdated"
    """Built from an older configuration, and no longer taken."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache.

    ``release`` is what ``uname -r`` says in it, ``series`` the Linux version that was asked for,
    ``bootable`` the file for QEMU's -kernel, ``vmlinux`` the same kernel with debug information. ``modules`` is the
    directory in which its modules are, in lib/modules; None: it has none. ``options`` are those on top of our own.
    """

    release: str
    series: str
    page_size: str
    bootable: Path
    vmlinux: Path
    config: Path
    modules: Path | None
    debian_version: str
    compiler: str
    fragment_sha256: str
    build_seconds: float
    options: Options = field(default_factory=dict)

    @property
    def title(self) -> str:
        """For people: "Linux 6.12.107-fadump, 64K pages"."""
        return f"Linux {self.release}, {self.page_size} pages"

    @property
    def state(self) -> KernelState:
        """What it is to today's fadump."""
        if self.bootable.parent != _entry(self.series, self.page_size, self.options):
            return KernelState.OUTDATED
        is_default = (self.series, self.page_size, self.options) == (DEFAULT_SERIES, DEFAULT_PAGE_SIZE, {})
        return KernelState.DEFAULT if is_default else KernelState.CURRENT

    def as_json(self) -> dict[str, object]:
        """All of it, paths as text, for ``--json``."""
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return {**values, "state": self.state}


def find_kernel(
    series: str = DEFAULT_SERIES, page_size: str = DEFAULT_PAGE_SIZE, options: Options = NO_OPTIONS
) -> Kernel | None:
    """The kernel that was built from today's configuration with ``options`` on top of it, or None; nothing is fetched
    or made.

    :raises UsageError: ``series`` or ``page_size`` is none.
    :raises SetupError: the cache's entry is damaged.
    """
    directory = _entry(series, page_size_of(options) or page_size, options)
    return _load(directory) if directory.exists() else None


def list_kernels() -> list[Kernel]:
    """Every kernel in the cache, those from older configurations too, by series and page size.

    :raises SetupError: an entry of the cache is damaged.
    """
    kernels = [_load(path) for path in (cache_directory() / "kernels").glob("linux-*") if path.is_dir()]
    return sorted(kernels, key=lambda kernel: (_version(kernel.series), kernel.page_size, str(kernel.bootable)))


def newest_series() -> str:
    """The newest Linux that Debian has the source of.

    :raises SetupError: there is no apt or no mirror, or it has none.
    """
    series = _series_of(package_names(_SOURCE_PREFIX, _NEWEST_SUITE, native_architecture()))
    if not series:
        raise SetupError(f"Debian {_NEWEST_SUITE} has no package linux-source-X.Y: give --version {DEFAULT_SERIES}")
    return series[-1]


def build_kernel(
    series: str = DEFAULT_SERIES, page_size: str = DEFAULT_PAGE_SIZE, options: Options = NO_OPTIONS
) -> Kernel:
    """The kernel from the cache, else built now from Debian's source package: about 10 minutes on 2 processors.

    ``series`` may be :data:`NEWEST_SERIES`. ``options`` go on top of our own; a page size among them takes the place of
    ``page_size``. A process that finds another one building the same kernel waits for it. As root, missing tools are
    installed first.

    :raises UsageError: ``series`` or ``page_size`` is none, or Debian doesn't have it.
    :raises SetupError: something is missing, or the build fails.
    """
    if series == NEWEST_SERIES:
        series = newest_series()
    page_size = page_size_of(options) or page_size
    if kernel := find_kernel(series, page_size, options):
        return kernel
    require(f"building Linux {series}", build_tools(options))
    directory = _entry(series, page_size, options)
    with lock(directory.name, say_waiting(f"building Linux {series} with {page_size} pages")):
        if kernel := find_kernel(series, page_size, options):
            return kernel
        source = _fetch_source(series)
        with new_entry(directory) as entry:
            facts = build_into(entry, source, series, page_size, options, log_path(directory.name))
            _write_facts(entry, facts, series, page_size, options)
    return _load(directory)


def _entry(series: str, page_size: str, options: Options) -> Path:
    if not _SERIES.fullmatch(series):
        raise UsageError(f"{series!r} is not a Linux series: give two numbers, as in {DEFAULT_SERIES}")
    if page_size not in PAGE_SIZES:
        raise UsageError(f"{page_size!r} is not a page size of a Linux on Power: give {' or '.join(PAGE_SIZES)}")
    digest = hashlib.sha256(f"{BUILD_RECIPE}\n{series}\n{_fragment(page_size, options)}".encode())
    return cache_directory() / "kernels" / f"linux-{series}-{page_size}-{digest.hexdigest()[:12]}"


def _fetch_source(series: str) -> DebianPackage:
    architectures = [native_architecture(), ARCHITECTURE]
    try:
        return fetch(f"{_SOURCE_PREFIX}{series}", architectures)
    except PackageMissingError:
        there_are = _series_of(listed_names(_SOURCE_PREFIX, architectures))
        if not there_are:
            raise
        raise UsageError(f"Debian has no source of Linux {series}, but of {', '.join(there_are)}") from None


def _series_of(packages: Iterable[str]) -> list[str]:
    """The series of all source packages among them, the newest last."""
    return sorted({match["series"] for name in packages if (match := _SOURCE_PACKAGE.fullmatch(name))}, key=_version)


def _fragment(page_size: str, options: Options) -> str:
    """What tells one configuration from another."""
    return configuration_fragment(page_size) + as_fragment(dict(sorted(options.items())))


def _write_facts(entry: Path, facts: BuildFacts, series: str, page_size: str, options: Options) -> None:
    fragment = _fragment(page_size, options).encode()
    about = {
        "release": facts.release,
        "series": series,
        "page_size": page_size,
        "debian_version": facts.debian_version,
        "compiler": facts.compiler,
        "fragment_sha256": hashlib.sha256(fragment).hexdigest(),
        "build_seconds": facts.build_seconds,
        "options": dict(options),
    }
    (entry / _FACTS).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _load(directory: Path) -> Kernel:
    bootable, vmlinux, config = (directory / name for name in ("vmlinux.stripped", "vmlinux", "config"))
    modules = directory / "modules" if (directory / "modules").is_dir() else None
    try:
        about = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
        kernel = Kernel(bootable=bootable, vmlinux=vmlinux, config=config, modules=modules, **about)
    except (OSError, ValueError, TypeError) as error:
        raise SetupError(f"the kernel in {directory} is damaged ({error}): remove that directory") from error
    if missing := [str(path) for path in (bootable, vmlinux, config) if not path.is_file()]:
        raise SetupError(f"the kernel in {directory} is damaged ({', '.join(missing)} missing): remove that directory")
    return kernel


def _version(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split("."))
