"""What QEMU's ``-gdb`` says, by its manual (system/gdb, and chardev in its invocation), and who can connect there."""

import socket
from pathlib import Path

import pytest

from fadump.emulator.gdb_device import GdbDevice, parse_gdb_device
from fadump.errors import UsageError
from tests.machine.qemu.gdb_script import free_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp::1234", "", "1234"),
        ("tcp:localhost:1", "localhost", "1"),
        ("tcp:[::1]:1", "::1", "1"),
        ("tcp:127.0.0.1:1,server,nowait", "127.0.0.1", "1"),
        ("tcp::1,server=on,wait=off,nodelay=on", "", "1"),
    ],
)
def test_a_port_is_a_place(text, host, port):
    assert parse_gdb_device(text) == GdbDevice(text, host=host, port=port)


@pytest.mark.parametrize("properties", ["server=on,wait=off", "server,nowait"])
def test_a_socket_that_waits_without_holding_qemu_is_a_place(properties):
    text = f"unix:/run/a,,b,{properties}"
    assert parse_gdb_device(text) == GdbDevice(text, path=Path("/run/a,b"))


@pytest.mark.parametrize(
    "text",
    [
        *("none", "stdio", "pty", "chardev:gdb0", "udp::1", "/dev/ttyS0", "tcp", "tcp:1234", "tcp::"),
        *("tcp::1,to=9", "tcp::1,server=off", "tcp::1,wait=on", "unix:/run/a", "unix:/run/a,server=on"),
        "unix:/run/a,wait=off",
    ],
)
def test_anything_else_is_none(text):
    assert parse_gdb_device(text) is None


@pytest.mark.parametrize(("host", "reached_at"), [("", "127.0.0.1"), ("", "localhost"), ("127.0.0.1", "127.0.0.1")])
def test_a_gdb_can_connect_to_a_port(host, reached_at):
    port = free_port()
    with parse_gdb_device(f"tcp:{host}:{port}").listen(), socket.create_connection((reached_at, port)):
        pass


def test_a_port_of_one_address_is_none_of_another():
    port = free_port()
    with parse_gdb_device(f"tcp:127.0.0.2:{port}").listen(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_socket_takes_the_place_of_an_earlier_ones_and_can_be_removed(tmp_path):
    device = parse_gdb_device(f"unix:{tmp_path}/gdb,server=on,wait=off")
    device.listen().close()
    with device.listen(), socket.socket(socket.AF_UNIX) as gdb:
        gdb.connect(str(tmp_path / "gdb"))
    device.forget()
    device.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["tcp::http-or-so", "tcp:no-such-host.invalid:1", "unix:/no/such/directory,server,nowait"],
)
def test_a_place_that_cant_be_had_is_an_error(text):
    with pytest.raises(UsageError, match="-gdb"):
        parse_gdb_device(text).listen()


def test_a_port_that_is_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="already in use"):
        parse_gdb_device(f"tcp:127.0.0.1:{taken.getsockname()[1]}").listen()
