"""QEMU's process: a --qemu may be a script that starts the real one, and nothing of it is left at its end."""

import asyncio
import os
import select

import pytest

from fadump.errors import SetupError
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.process import QemuProcess, guest_ram_file

_GONE_MILLISECONDS = 20_000


@pytest.mark.parametrize("end", ["wait", "exec true"], ids=["the script is killed", "the script ends first"])
def test_what_a_script_in_the_place_of_qemu_has_started_ends_with_it(tmp_path, end):
    child_pid, go = tmp_path / "child-pid", tmp_path / "go"
    os.mkfifo(child_pid)
    os.mkfifo(go)
    script = tmp_path / "qemu"
    script.write_text(f"#!/bin/sh\nsleep 4000 &\necho $! >{child_pid}\nread line <{go}\n{end}\n")
    script.chmod(0o700)

    async def child_of_ended_script():
        memory = guest_ram_file(2 << 30)
        try:
            process = await QemuProcess.start(QemuConfig(None, None, "", qemu=str(script)), [memory], None)
        finally:
            os.close(memory)
        child = os.pidfd_open(int(await asyncio.to_thread(child_pid.read_text)))
        await asyncio.to_thread(go.write_text, "\n")
        await process.kill()
        for connection in process.connections.values():
            connection.close()
        return child

    child = asyncio.run(child_of_ended_script())
    gone = select.poll()
    gone.register(child, select.POLLIN)
    assert gone.poll(_GONE_MILLISECONDS)
    os.close(child)


def test_what_is_no_program_is_not_said_to_be_missing(tmp_path):
    with pytest.raises(SetupError, match=f"--qemu {tmp_path} is no file that can be executed"):
        asyncio.run(QemuProcess.start(QemuConfig(None, None, "", qemu=str(tmp_path)), [], None))
