"""Tests inside another Linux, for what this system's kernel can't do: Debian's User Mode Linux, a kernel as a process.

It has NFS, iSCSI, network cables and file systems as modules. Its files are this system's, read-only, but for a
directory of the test's own. It is ended when pytest has ended in it, or at its panic, and nothing of it stays.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
INSIDE = "FADUMP_TESTS_INSIDE"
_END_SECONDS = 1800
_ENDS_WITH_US = [
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--pid", "--mount-proc", "--fork", "--kill-child", "--"),
]
_PANIC = "Kernel panic - "
"""Where its first program has ended, it spins behind this."""
_WHOLE_XSTATE = Path(__file__).with_name("whole_xstate.c")
_MODULES = "/usr/lib/uml"
# Kernel modules are where modprobe doesn't look by itself.
_INIT = """#!/bin/sh
export PATH={path} HOME=/run/tmp TMPDIR=/run/tmp PYTHONDONTWRITEBYTECODE=1 {inside}=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t hostfs -o {directory} none {directory}
mkdir -p /run/kernel/lib /run/lock /run/tmp
ln -s {modules}/modules /run/kernel/lib/modules
printf '#!/bin/sh\\nexec modprobe -d /run/kernel "$@"\\n' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
cd {root}
{python} -m pytest -q -p no:cacheprovider --basetemp=/run/pytest {tests} >{directory}/said 2>&1
status=$?
sync
echo $status >{directory}/status
sync
sleep infinity
"""


def run_inside(directory, tests, *, memory="512M"):
    """Run a file of tests there; what pytest says, if it isn't that all have passed."""
    init = directory / "init"
    init.write_text(
        _INIT.format(
            path=os.environ["PATH"] + ":/usr/sbin:/sbin",
            directory=directory,
            inside=INSIDE,
            modules=_MODULES,
            root=ROOT,
            python=sys.executable,
            tests=tests,
        )
    )
    init.chmod(0o700)
    kernel = ["linux.uml", f"mem={memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    kernel += [f"uml_dir={directory}/uml", "umid=tests", "con=null", "con0=null,fd:1", "panic=-1", "quiet"]
    log = directory / "console"
    status = directory / "status"
    environment = {**os.environ, "LD_PRELOAD": str(_library(directory))}
    with log.open("wb") as console:
        linux = subprocess.Popen(
            [*_ENDS_WITH_US, *kernel],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        until = time.monotonic() + _END_SECONDS
        while linux.poll() is None and not _text(status) and _PANIC not in _text(log) and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        linux.kill()
        linux.wait()
    return None if _text(status) == "0\n" else _text(directory / "said") + _text(log)


def _library(directory):
    library = directory / "whole_xstate.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, _WHOLE_XSTATE], check=True)
    return library


def _text(path):
    return path.read_text(errors="replace") if path.exists() else ""
