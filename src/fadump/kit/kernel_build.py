"""One build of a kernel, from Debian's source package to what is kept of it: what make is run with, by whom and where.

The source is unpacked and built in a directory of its own under /var/tmp, which is removed whatever happens.
As root, all that works with the source runs as the user nobody: as root, a kernel's makefiles have replaced
/dev/null by a file.
"""

import os
import pwd
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import scratch_directory
from fadump.kit.debian import DebianPackage, unpack
from fadump.kit.process import log_path, run
from fadump.progress import Progress, binary_size

BUILD_RECIPE = 2
"""Counts up when this module builds something else from the same inputs; kernels from before are then not found."""

COMPILER = "powerpc64le-linux-gnu-gcc"
BUILD_TOOLS = {
    COMPILER: "gcc-powerpc64le-linux-gnu",
    "powerpc64le-linux-gnu-strip": "binutils-powerpc64le-linux-gnu",
    "make": "make",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "perl": "perl",
    "tar": "tar",
    "xz": "xz-utils",
    "setpriv": "util-linux",
    "pahole": "dwarves",
    "/usr/include/libelf.h": "libelf-dev",
    "/usr/include/zlib.h": "zlib1g-dev",
    "/sbin/depmod": "kmod",
}

NEEDED_OPTIONS = (
    "CPU_LITTLE_ENDIAN",
    "SMP",
    "PPC_PSERIES",
    "PPC_POWERNV",
    "PPC_OF_BOOT_TRAMPOLINE",
    "KEXEC",
    "KEXEC_FILE",
    "CRASH_DUMP",
    "FA_DUMP",
    "OPAL_CORE",
    "PROC_VMCORE",
    "CMA",
    "MAGIC_SYSRQ",
    "HVC_CONSOLE",
    "HVC_OPAL",
    "VIRTIO_PCI",
    "VIRTIO_CONSOLE",
    "VIRTIO_BLK",
    "BLK_DEV_INITRD",
    "RD_GZIP",
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "PROC_FS",
    "SYSFS",
    "DEBUG_FS",
    "DEVTMPFS",
    "TMPFS",
    "EXT4_FS",
    "SYSCTL",
    "UNIX",
    "CGROUPS",
    "INOTIFY_USER",
    "FHANDLE",
    "UNIX98_PTYS",
    "CRYPTO_USER_API_HASH",
    "MODULES",
    "BLK_DEV_LOOP",
    "SQUASHFS",
    "OVERLAY_FS",
    "MEMORY_HOTPLUG",
    "NUMA",
    "DEBUG_INFO_DWARF4",
    "DEBUG_INFO_BTF",
)
"""Without one of these a kernel would build, and our guest, systemd or kdump fail much later; Kconfig drops what it
doesn't know in silence. Each must be as ``data/kernel.config`` has it, built in or a module."""

_NEEDED_FREE_BYTES = 4 << 30
_USUAL_STEPS = 1660
_MODULES = "installed-modules"
_MAKE_STEP = re.compile(r"  [A-Z][A-Z0-9]+ +\S")


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What only the build knows."""

    release: str
    debian_version: str
    compiler: str
    build_seconds: float


def configuration_fragment(page_size: str) -> str:
    """The options that are set; all others are off, or have the value that these bring with them."""
    common = (resources.files("fadump.kit") / "data" / "kernel.config").read_text(encoding="utf-8")
    return f"{common}\nCONFIG_PPC_{page_size}_PAGES=y\n"


def build_into(entry: Path, source: DebianPackage, series: str, page_size: str) -> BuildFacts:
    """Build the kernel and put ``vmlinux``, ``vmlinux.stripped``, ``config`` and ``modules`` into ``entry``.

    :raises SetupError: the source is not what was expected, the disk is too small, or a step fails; the
        sentence has its last lines and names its log.
    """
    started = time.monotonic()
    var_tmp = Path("/var/tmp")  # noqa: S108  (mkdtemp's own directory under it; /tmp is often memory)
    with scratch_directory(var_tmp if var_tmp.is_dir() else Path(tempfile.gettempdir()), "fadump-kernel-") as scratch:
        build = KernelBuild(scratch, source, series, page_size)
        build.unpack()
        build.configure()
        build.compile()
        build.take_results(entry)
        return BuildFacts(build.release(), source.version, build.compiler(), round(time.monotonic() - started, 1))


class KernelBuild:
    """The steps, in their order, in ``scratch``; log and user are the same for all of them."""

    def __init__(self, scratch: Path, source: DebianPackage, series: str, page_size: str) -> None:
        self._scratch = scratch
        self._package = source
        self._name = f"Linux {series}"
        self._page_size = page_size
        self._package_files = scratch / "package"
        self._tree = scratch / "tree"
        self._archive_name = f"usr/src/linux-source-{series}.tar.xz"
        self._log = log_path(f"kernel-{series}-{page_size}")
        self._log.unlink(missing_ok=True)

    def unpack(self) -> None:
        """The package, then the source in it."""
        free_bytes = shutil.disk_usage(self._scratch).free
        if free_bytes < _NEEDED_FREE_BYTES:
            raise SetupError(
                f"building {self._name} needs {binary_size(_NEEDED_FREE_BYTES)} in {self._scratch.parent}, "
                f"which has {binary_size(free_bytes)} free: make room there"
            )
        for directory in (self._package_files, self._tree):
            directory.mkdir()
        if (builder := _builder()) is not None:
            self._scratch.chmod(0o711)  # the builder passes through, and owns only the tree
            os.chown(self._tree, builder.pw_uid, builder.pw_gid)
        with Progress.step(f"Unpacking {self._name}'s source"):
            unpack(self._package, self._package_files)
            archive = self._package_files / self._archive_name
            if not archive.is_file():
                raise SetupError(
                    f"{self._package.path} has no {self._archive_name}: another Debian archive may have it"
                )
            self._run(["tar", "--extract", "--strip-components=1", "--file", str(archive)], "unpacking")
            shutil.rmtree(self._package_files)

    def configure(self) -> None:
        """Write .config, and see that it has what FADump and the guest need."""
        fragment = self._scratch / "fragment"
        fragment.write_text(configuration_fragment(self._page_size), encoding="utf-8")
        fragment.chmod(0o644)
        self._make(f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig", doing="configuring")
        wanted, configured = (_options(path.read_text(encoding="utf-8")) for path in (fragment, self._tree / ".config"))
        needed = (*NEEDED_OPTIONS, f"PPC_{self._page_size}_PAGES")
        if missing := [option for option in needed if configured.get(option) != wanted[option]]:
            raise SetupError(f"{self._name} can't be configured with {', '.join(missing)}: build another version")

    def compile(self) -> None:
        """Make vmlinux and the modules, with progress; strip a copy of the one, and install the others."""
        jobs = len(os.sched_getaffinity(0))
        title = f"Building {self._name} with {self._page_size} pages"
        with Progress.step(title, _USUAL_STEPS, "steps") as step:

            def count(line: str) -> None:
                if _MAKE_STEP.match(line):
                    done = step.done + 1
                    step.update(done, total=max(done, _USUAL_STEPS))

            self._make(f"-j{jobs}", "vmlinux", "modules", doing="building", on_line=count)
        self._run(["powerpc64le-linux-gnu-strip", "-o", "vmlinux.stripped", "vmlinux"], "stripping")
        installed = [f"INSTALL_MOD_PATH={self._tree / _MODULES}", "INSTALL_MOD_STRIP=1"]
        self._make(*installed, "modules_install", doing="installing the modules of")

    def take_results(self, entry: Path) -> None:
        """Copy what is kept; the tree is another user's, so only plain files are taken."""
        for source, target in (("vmlinux", "vmlinux"), ("vmlinux.stripped", "vmlinux.stripped"), (".config", "config")):
            path = self._tree / source
            if not stat.S_ISREG(path.lstat().st_mode):
                raise SetupError(f"building {self._name} left no plain file {path}; the log is {self._log}")
            shutil.copyfile(path, entry / target, follow_symlinks=False)
        self._take_modules(entry / "modules")

    def _take_modules(self, target: Path) -> None:
        """What was installed, but the links into the tree that was built."""
        installed = self._tree / _MODULES
        if not (installed / "lib/modules" / self.release() / "modules.dep").is_file():
            raise SetupError(f"building {self._name} left no modules.dep in {installed}; the log is {self._log}")
        for directory, _directories, names in os.walk(installed):
            copy = target / Path(directory).relative_to(installed)
            copy.mkdir()
            for path in (Path(directory, name) for name in names):
                if stat.S_ISREG(path.lstat().st_mode):
                    shutil.copyfile(path, copy / path.name, follow_symlinks=False)

    def release(self) -> str:
        """What ``uname -r`` will say."""
        return (self._tree / "include/config/kernel.release").read_text(encoding="utf-8").strip()

    def compiler(self) -> str:
        """Its name and version, as the kernel says it."""
        config = (self._tree / ".config").read_text(encoding="utf-8")
        said = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"$', config, re.MULTILINE)
        return said[1] if said else COMPILER

    def _make(self, *arguments: str, doing: str, on_line: Callable[[str], None] | None = None) -> None:
        target = ["ARCH=powerpc", "CROSS_COMPILE=powerpc64le-linux-gnu-"]
        anonymous = ["KBUILD_BUILD_USER=fadump", "KBUILD_BUILD_HOST=fadump"]
        self._run(["make", *target, *anonymous, *arguments], doing, on_line)

    def _run(self, command: list[str], doing: str, on_line: Callable[[str], None] | None = None) -> None:
        run(
            [*_as_builder(), *command],
            what=f"{doing} {self._name}",
            log=self._log,
            cwd=self._tree,
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C.UTF-8",
                "HOME": str(self._tree),
                "TMPDIR": str(self._tree),
            },  # and nothing else: a make around us, or KBUILD_ variables, would change what is built
            on_line=on_line,
        )


def _options(configuration: str) -> dict[str, str]:
    """The options that are set in a .config or a fragment, without CONFIG_, and their values."""
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", configuration, re.MULTILINE))


def _builder() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_builder() -> list[str]:
    """The command before the command: it ends with us, even if we are killed, and has no rights of root's."""
    command = ["setpriv", "--pdeathsig", "TERM", "--no-new-privs"]
    if (builder := _builder()) is not None:
        command += ["--reuid", str(builder.pw_uid), "--regid", str(builder.pw_gid), "--clear-groups"]
    return command
