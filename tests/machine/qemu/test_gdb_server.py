"""The port for somebody's gdb: who can reach it, and what is left of a connection when it is closed."""

import asyncio
import socket

import pytest

from fadump.errors import SetupError
from fadump.machine.qemu.gdb_server import GdbServer, listen
from tests.machine.qemu.gdb_script import SECONDS, free_port
from tests.machine.qemu.small_kernel import build_kernel, machine_with


class Nobody:
    """A gdb that is never answered."""

    async def answer(self, packet):
        return None

    def interrupt(self): ...

    async def leave(self): ...


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"))


def test_a_port_that_is_taken_is_one_sentence(kernel):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SetupError, match=f"^--gdb {port}: the port can't be had: Address already in use$"),
            machine_with(kernel, gdb_port=port),
        ):
            pass


def test_the_port_is_on_the_loopback_interface_only(kernel):
    with machine_with(kernel, gdb_port=(port := free_port())), socket.socket() as other:
        other.bind(("127.0.0.2", port))  # would be taken, too, if the port were open to everybody


def test_a_server_that_is_closed_has_ended_its_connection():
    async def answered_and_left():
        with listen(port := free_port()) as listener:
            server = GdbServer(lambda _send: Nobody())
            await server.start(listener)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"$QStartNoAckMode#b0")
            answer = await reader.readexactly(len(b"+$OK#9a"))
            await server.close()
            rest = await asyncio.wait_for(reader.read(), SECONDS)
            writer.close()
            return answer, rest

    assert asyncio.run(answered_and_left()) == (b"+$OK#9a", b"")
