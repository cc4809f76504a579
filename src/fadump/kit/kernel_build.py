"""One build of a kernel, from Debian's source package to what is kept of it: what is made, by whom and where.

The source is unpacked and built in a directory of its own under /var/tmp, which is removed whatever happens.
As root, all that works with the source runs as the user nobody: as root, a kernel's makefiles have replaced
/dev/null by a file.
"""

import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import scratch_directory
from fadump.kit.kernel_config import Options
from fadump.kit.kernel_make import STRIPPED, KernelMake, make_tools
from fadump.kit.package_file import DebianPackage, unpack
from fadump.progress import Progress, binary_size

BUILD_RECIPE = 2
"""Counts up when this module builds something else from the same inputs; kernels from before are then not found."""


NEEDED_FREE_BYTES = 4 << 30
"""What a kernel's source and objects take, and some more."""

_USUAL_STEPS = 2070
_MODULES = "installed-modules"


def build_tools(options: Options) -> Mapping[str, str]:
    """What a kernel with these options on top of ours is built with."""
    return {**make_tools(options), "tar": "tar", "xz": "xz-utils"}


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What only the build knows."""

    release: str
    debian_version: str
    compiler: str
    build_seconds: float


def build_into(
    entry: Path, source: DebianPackage, series: str, page_size: str, options: Options, log: Path
) -> BuildFacts:
    """Build the kernel, with ``options`` on top of ours, and put ``vmlinux``, ``vmlinux.stripped``, ``config`` and
    ``modules`` into ``entry``.

    :raises SetupError: the source is not what was expected, the disk is too small, or a step fails; the
        sentence has its last lines and names its log.
    """
    started = time.monotonic()
    var_tmp = Path("/var/tmp")  # noqa: S108  (mkdtemp's own directory under it; /tmp is often memory)
    with scratch_directory(var_tmp if var_tmp.is_dir() else Path(tempfile.gettempdir()), "fadump-kernel-") as scratch:
        build = KernelBuild(scratch, source, series, page_size, log)
        build.unpack()
        build.configure(options)
        build.compile()
        build.take_results(entry)
        return build.facts(started)


def check_room(directory: Path, name: str) -> None:
    """See that a build of ``name`` fits.

    :raises SetupError: the disk is too small.
    """
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < NEEDED_FREE_BYTES:
        raise SetupError(
            f"building {name} needs {binary_size(NEEDED_FREE_BYTES)} in {directory}, "
            f"which has {binary_size(free_bytes)} free: make room there"
        )


class KernelBuild:
    """The steps, in their order, in ``scratch``; log and user are the same for all of them."""

    def __init__(self, scratch: Path, source: DebianPackage, series: str, page_size: str, log: Path) -> None:
        self._scratch = scratch
        self._package = source
        self._page_size = page_size
        self._package_files = scratch / "package"
        self._tree = scratch / "tree"
        self._archive_name = f"usr/src/linux-source-{series}.tar.xz"
        self._log = log
        self._log.unlink(missing_ok=True)
        self._make = KernelMake(f"Linux {series}", self._tree, None, self._log, _as_builder())

    def unpack(self) -> None:
        """The package, then the source in it."""
        check_room(self._scratch.parent, self._make.name)
        for directory in (self._package_files, self._tree):
            directory.mkdir()
        if (builder := _builder()) is not None:
            self._scratch.chmod(0o711)  # the builder passes through, and owns only the tree
            os.chown(self._tree, builder.pw_uid, builder.pw_gid)
        with Progress.step(f"Unpacking {self._make.name}'s source"):
            unpack(self._package, self._package_files)
            archive = self._package_files / self._archive_name
            if not archive.is_file():
                raise SetupError(
                    f"{self._package.path} has no {self._archive_name}: another Debian archive may have it"
                )
            self._make.run(["tar", "--extract", "--strip-components=1", "--file", str(archive)], "unpacking")
            shutil.rmtree(self._package_files)

    def configure(self, options: Options) -> None:
        """Write .config, and see that it has what FADump and the guest need, and these options."""
        self._make.configure(self._scratch / "fragment", self._page_size, options)

    def compile(self) -> None:
        """Make vmlinux and the modules; strip the one, and install the others."""
        title = f"Building {self._make.name} with {self._page_size} pages"
        self._make.compile(title, ["modules"], _USUAL_STEPS)
        self._make.install_modules(self._tree / _MODULES)

    def take_results(self, entry: Path) -> None:
        """Copy what is kept; the tree is another user's, so only plain files are taken."""
        for source, target in (("vmlinux", "vmlinux"), (STRIPPED, STRIPPED), (".config", "config")):
            path = self._tree / source
            if not stat.S_ISREG(path.lstat().st_mode):
                raise SetupError(f"building {self._make.name} left no plain file {path}; the log is {self._log}")
            shutil.copyfile(path, entry / target, follow_symlinks=False)
        self._take_modules(entry / "modules")

    def facts(self, started: float) -> BuildFacts:
        """What is known now; ``started`` is when the build began, by the monotonic clock."""
        seconds = round(time.monotonic() - started, 1)
        return BuildFacts(self._make.release(), self._package.version, self._make.compiler(), seconds)

    def _take_modules(self, target: Path) -> None:
        """What was installed, but the links into the tree that was built."""
        installed = self._tree / _MODULES
        if not (installed / "lib/modules" / self._make.release() / "modules.dep").is_file():
            raise SetupError(f"building {self._make.name} left no modules.dep in {installed}; the log is {self._log}")
        for directory, _directories, names in os.walk(installed):
            copy = target / Path(directory).relative_to(installed)
            copy.mkdir()
            for path in (Path(directory, name) for name in names):
                if stat.S_ISREG(path.lstat().st_mode):
                    shutil.copyfile(path, copy / path.name, follow_symlinks=False)


def _builder() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_builder() -> list[str]:
    """The command before the command: it ends with us, even if we are killed, and has no rights of root's."""
    command = ["setpriv", "--pdeathsig", "TERM", "--no-new-privs"]
    if (builder := _builder()) is not None:
        command += ["--reuid", str(builder.pw_uid), "--regid", str(builder.pw_gid), "--clear-groups"]
    return command
