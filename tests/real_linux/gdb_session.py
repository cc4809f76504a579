"""A session of a real gdb, from its script to what it has said."""

import subprocess

GDB_SECONDS = 600


def gdb_session(directory, vmlinux, commands):
    """What gdb says to these commands, by the headings that they print, which begin with "== "."""
    script = directory / "script.gdb"
    script.write_text(commands)
    command = ["gdb-multiarch", "-nx", "-batch", "-x", script, vmlinux]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=GDB_SECONDS,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    (directory / "gdb.log").write_text(said)
    parts = said.split("== ")
    return {part.partition("\n")[0]: part for part in parts}


def functions(backtrace):
    """The functions of a backtrace, innermost first."""
    frames = [line for line in backtrace.splitlines() if line.startswith("#")]
    return [frame.split(" (")[0].split()[-1] for frame in frames]
