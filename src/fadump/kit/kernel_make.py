"""make on a Linux: with which arguments and environment it runs, by whom, and what it leaves.

The source lies where the objects go, as make has it by default, or elsewhere (``O=``).
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.kernel_config import (
    IN_OLDER_KERNELS,
    OFF,
    Options,
    as_fragment,
    configuration_fragment,
    merge,
    options_of,
    refusals,
)
from fadump.kit.process import run
from fadump.progress import Progress

COMPILER = "powerpc64le-linux-gnu-gcc"
STRIP = "powerpc64le-linux-gnu-strip"
MAKE_TOOLS = {
    COMPILER: "gcc-powerpc64le-linux-gnu",
    STRIP: "binutils-powerpc64le-linux-gnu",
    "make": "make",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "perl": "perl",
    "setpriv": "util-linux",
    "pahole": "dwarves",
    "/usr/include/libelf.h": "libelf-dev",
    "/usr/include/zlib.h": "zlib1g-dev",
    "/sbin/depmod": "kmod",
}
_SIGNING_TOOLS = {"/usr/include/openssl/ssl.h": "libssl-dev", "openssl": "openssl"}
STRIPPED = "vmlinux.stripped"
"""vmlinux without debug information, among the objects."""

_MAKE_STEP = re.compile(r"  [A-Z][A-Z0-9]+ +\S")


def make_tools(options: Options) -> Mapping[str, str]:
    """What a kernel with these options on top of ours is made with."""
    return MAKE_TOOLS | (_SIGNING_TOOLS if options.get("MODULE_SIG", OFF) != OFF else {})


@dataclass(frozen=True, slots=True)
class KernelMake:
    """make on the Linux that is called ``name`` for people.

    It writes into ``objects``; ``source`` is None if it lies there too. Each command is preceded by ``as_whom``.
    """

    name: str
    objects: Path
    source: Path | None
    log: Path
    as_whom: Sequence[str]

    def configure(self, fragment: Path, page_size: str, theirs: Options) -> Options:
        """Write .config from our options with theirs on top, all else off, and return what it has.

        ``fragment`` is a file to write them to.

        :raises SetupError: this Linux can't be configured so.
        """
        ours = options_of(configuration_fragment(page_size))
        fragment.write_text(as_fragment({**IN_OLDER_KERNELS, **merge(ours, theirs)}), encoding="utf-8")
        fragment.chmod(0o644)  # make may be another user's
        self._make(f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig", doing="configuring")
        configured = options_of((self.objects / ".config").read_text(encoding="utf-8"))
        for refusal in refusals(ours, theirs, configured):
            raise SetupError(f"{self.name} can't be configured with {refusal}")
        return configured

    def compile(self, title: str, targets: Sequence[str], usual_steps: int | None) -> None:
        """Make vmlinux and more, with progress, and strip a copy of vmlinux."""
        jobs = len(os.sched_getaffinity(0))
        with Progress.step(title, usual_steps, "steps") as step:

            def count(line: str) -> None:
                if _MAKE_STEP.match(line):
                    done = step.done + 1
                    step.update(done, total=None if usual_steps is None else max(done, usual_steps))

            self._make(f"-j{jobs}", "vmlinux", *targets, doing="building", on_line=count)
        self.run([STRIP, "-o", STRIPPED, "vmlinux"], "stripping")

    def install_modules(self, root: Path) -> None:
        """Put the modules, stripped, and what depmod says of them, into ``root``/lib/modules/RELEASE."""
        arguments = [f"INSTALL_MOD_PATH={root}", "INSTALL_MOD_STRIP=1"]
        self._make(*arguments, "modules_install", doing="installing the modules of")

    def release(self) -> str:
        """What ``uname -r`` will say."""
        return (self.objects / "include/config/kernel.release").read_text(encoding="utf-8").strip()

    def compiler(self) -> str:
        """Its name and version, as the kernel says it."""
        options = options_of((self.objects / ".config").read_text(encoding="utf-8"))
        return options.get("CC_VERSION_TEXT", COMPILER).strip('"')

    def run(self, command: Sequence[str], doing: str, on_line: Callable[[str], None] | None = None) -> None:
        """Run a command where the objects are."""
        run(
            [*self.as_whom, *command],
            what=f"{doing} {self.name}",
            log=self.log,
            cwd=self.objects,
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C.UTF-8",
                "HOME": str(self.objects),
                "TMPDIR": str(self.objects),
            },  # and nothing else: a make around us, or KBUILD_ variables, would change what is built
            on_line=on_line,
        )

    def _make(self, *arguments: str, doing: str, on_line: Callable[[str], None] | None = None) -> None:
        elsewhere = [] if self.source is None else ["-C", str(self.source), f"O={self.objects}"]
        target = ["ARCH=powerpc", "CROSS_COMPILE=powerpc64le-linux-gnu-"]
        anonymous = ["KBUILD_BUILD_USER=fadump", "KBUILD_BUILD_HOST=fadump"]
        self.run(["make", *elsewhere, *target, *anonymous, *arguments], doing, on_line)
