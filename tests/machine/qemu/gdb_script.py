"""A gdb of a test's own: packets over a socket, to a machine that is served meanwhile."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from fadump.firmware.contract import Answer, FirmwareCall
from fadump.machine.contract import Called, Handover, LetGo
from tests.machine.qemu.small_kernel import PAGE, TOKEN, machine_with

SECONDS = 60
ROUNDS = 20
OUR_STOP = PAGE + 0x18
"""Where the machine stops its guest: behind the load, a comparison of four instructions and the way round."""


def free_port():
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gdb:
    """A connection to the machine's port; or to a socket in the file system."""

    def __init__(self, place):
        if isinstance(place, int):
            self.socket = socket.create_connection(("127.0.0.1", place), SECONDS)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(SECONDS)
            self.socket.connect(str(place))
        self._stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stream.close()
        self.socket.close()

    def send(self, packet):
        """A packet, which may not be answered yet."""
        payload = packet.encode()
        self.socket.sendall(b"$%s#%02x" % (payload, sum(payload) % 256))

    def receive(self):
        """The next packet; None: the machine has ended the connection."""
        while byte := self._stream.read(1):
            if byte == b"$":
                packet = b""
                while (byte := self._stream.read(1)) != b"#":
                    packet += byte
                assert self._stream.read(2) == b"%02x" % (sum(packet) % 256)
                return packet.decode()
        return None

    def ask(self, packet):
        """The answer to a packet, or the stop that a run ends with."""
        self.send(packet)
        return self.receive()

    def pc(self):
        """Where the selected CPU is."""
        return int.from_bytes(bytes.fromhex(self.ask("p40")), "little")

    def register(self, number):
        """A general register of the selected CPU."""
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def interrupt(self):
        """Ctrl-C; the stop that comes of it."""
        self.socket.sendall(b"\x03")
        return self.receive()


class Served:
    """A machine that is served while a script runs: its calls are answered with ``status``, which counts up."""

    def __init__(self, machine):
        self.machine = machine
        self.calls = 0
        self.silence_seconds = SECONDS
        self.events = []

    def while_running(self, script, *arguments):
        """Serve the machine until the script has ended; what it returns."""
        read, write = os.pipe()
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(script, *arguments)
            running.add_done_callback(lambda _done: os.write(write, b"."))
            self.machine.watch(read, self.machine.call)
            try:
                while not running.done():
                    self.serve()
            finally:
                self.machine.unwatch(read)
                os.close(read)
                os.close(write)
            return running.result()

    def serve(self):
        """Serve one event; the event."""
        event = self.machine.next_event(self.silence_seconds)
        match event:
            case Handover():
                self.machine.enter(event, frozenset({TOKEN}))
            case FirmwareCall():
                self.calls += 1
                self.machine.answer(event, Answer(7))
            case _:
                assert isinstance(event, Called | LetGo), event
        self.events.append(event)
        return event


def stops_at_reads(port, *addresses):
    """What a gdb is told, and where the CPU is, when one of these words is read, three times."""
    with Gdb(port) as gdb:
        gdb.ask("?")
        for address in addresses:
            assert gdb.ask(f"Z3,{address:x},4") == "OK"
        return [(gdb.ask("vCont;c"), gdb.pc()) for _round in range(3)]


@contextmanager
def served(kernel, **options):
    """A machine that runs this kernel, and the port where a gdb may attach to it."""
    port = free_port()
    with machine_with(kernel, gdb_port=port, **options) as machine:
        yield Served(machine), port
