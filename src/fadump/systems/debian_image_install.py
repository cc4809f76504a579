"""Debian configures itself: a machine boots the unpacked root file system, with ``data/install`` as its first process.

Everything that a package runs is run in there, by the kernel that the image is for: nothing of this machine is mounted,
nothing needs root, and whatever ends it, only an unfinished file is left.
"""

import os
import select
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import IO

from fadump.errors import SetupError
from fadump.kit.process import log_path, running, telling_lines
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.progress import Progress, Step
from fadump.systems.image_disk import PREP_PARTITION, ROOT_PARTITION, Disk

TOOLS = {DEFAULT_QEMU: "qemu-system-ppc", "setpriv": "util-linux"}
"""What it runs, and which package has it."""
SILENCE_SECONDS = 900.0
"""How long the machine may say nothing: the longest that it has been seen to takes 20 seconds of a processor."""

_DIRECTORY = "fadump"
_SAID = "fadump-install: "
_DONE = "done"
_CONFIGURED = "Setting up "
_DISK = "/dev/vda"
_TITLES = {
    "prepare": "Preparing Debian's packages",
    "configure": "Configuring Debian's packages",
    "kernel": "Installing kernel, initramfs and GRUB",
    "system": "Setting up the system",
}


def put_installer(root: Path, settings: dict[str, str], disk: Disk) -> None:
    """Put into a root directory what the machine needs for installing. ``settings`` are what ``data/install`` says."""
    directory = root / _DIRECTORY
    directory.mkdir(exist_ok=True)
    script = directory / "install"
    script.write_bytes((resources.files("fadump.systems") / "data" / "install").read_bytes())
    script.chmod(0o755)
    all_settings = {
        **settings,
        "root_uuid": str(disk.root_uuid),
        "root_device": f"{_DISK}{ROOT_PARTITION}",
        "prep_device": f"{_DISK}{PREP_PARTITION}",
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in all_settings.items()]
    (directory / "settings").write_text("".join(lines), encoding="utf-8")


def install(disk: Disk, kernel: Path, package_count: int, log_name: str) -> None:
    """Run a machine that installs what is on its disk, to its end; its console is a log of the cache's.

    :raises SetupError: something in there fails; the sentence has the step and the lines that tell most.
    """
    log = log_path(log_name)
    log.unlink(missing_ok=True)
    log.touch(0o600)
    console = _Console(package_count)
    with (
        log.open("a", encoding="utf-8", buffering=1) as sink,
        running(_command(disk, kernel), what="installing Debian") as process,
        ExitStack() as steps,
    ):
        assert process.stdout is not None  # noqa: S101  (a pipe, see running)
        try:
            for line in _lines(process.stdout):
                sink.write(f"{line}\n")
                console.take(line, steps)
            said = telling_lines(console.lines)
        except TimeoutError as error:
            said = str(error)
        if not console.is_done:
            raise SetupError(f"installing Debian failed ({console.step}): {said}; the log is {log}")


class _Console:
    """What the machine has said, and the step that it is at, which is shown."""

    def __init__(self, package_count: int) -> None:
        self.lines: list[str] = []
        self.step = "boot"
        self.is_done = False
        self._package_count = package_count
        self._shown: Step | None = None

    def take(self, line: str, steps: ExitStack) -> None:
        self.lines.append(line)
        said = line.removeprefix(_SAID)
        if said != line:
            self._said(said, steps)
        elif line.startswith(_CONFIGURED) and self._shown is not None:
            self._shown.advance()

    def _said(self, said: str, steps: ExitStack) -> None:
        steps.close()
        if said == _DONE:
            self.is_done = True
            return
        self.step = said.rsplit(maxsplit=1)[-1]
        total = self._package_count if self.step == "configure" else None
        title = _TITLES.get(self.step, self.step)
        self._shown = steps.enter_context(Progress.step(title, total, "packages"))


def _lines(output: IO[str]) -> Iterator[str]:
    """What comes out of a process, line by line, to its end.

    :raises TimeoutError: nothing comes for too long.
    """
    rest = b""
    while select.select([output], [], [], SILENCE_SECONDS)[0]:
        data = os.read(output.fileno(), 1 << 16)
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace").rstrip("\r") for line in lines)
        if not data:
            return
    raise TimeoutError(f"it has said nothing for {SILENCE_SECONDS:.0f} seconds")


def _command(disk: Disk, kernel: Path) -> list[str]:
    path = str(disk.path).replace(",", ",,")  # as QEMU's options want it
    drive = f"if=virtio,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,werror=report,file={path}"
    return [
        "setpriv", "--pdeathsig", "KILL", "--",
        DEFAULT_QEMU,
        "-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off,x-vof=on",
        "-cpu", "POWER9", "-smp", "2", "-m", "2G",
        "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-drive", drive,
        "-kernel", str(kernel),
        "-append", f"console=hvc0 quiet panic=-1 root={_DISK}{ROOT_PARTITION} rw init=/{_DIRECTORY}/install",
    ]  # fmt: skip
