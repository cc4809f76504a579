"""A guest without our firmware: QEMU, a kernel, the initramfs, and a test at the other end of the guest channel."""

import base64
import os
import select
import socket
import subprocess
import time

ANSWER_SECONDS = 120
PANIC = "Kernel panic"


class Guest:
    """QEMU for as long as the block runs; its console is in ``directory/console.log``."""

    def __init__(self, directory, kernel, initrd, *options, cmdline="", port="org.fadump.guest"):
        self.console = directory / "console.log"
        self._buffer = b""
        self._socket, guests_end = socket.socketpair()
        os.set_inheritable(guests_end.fileno(), True)
        command = ["qemu-system-ppc64", "-cpu", "POWER9", "-m", "1G", "-smp", "2", "-no-reboot"]
        command += ["-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"]
        command += ["-nodefaults", "-display", "none", "-serial", f"file:{self.console}"]
        command += ["-kernel", kernel, "-initrd", initrd, "-append", f"console=hvc0 rdinit=/fadump/init {cmdline}"]
        command += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=guest,fd={guests_end.fileno()}"]
        command += ["-device", f"virtserialport,chardev=guest,name={port}", *options]
        with guests_end:
            self.process = subprocess.Popen(command, pass_fds=[guests_end.fileno()], stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def ask(self, request):
        """Send a line; returns the answer's."""
        self._socket.sendall(f"{request}\n".encode())
        return self.line()

    def run(self, script):
        """Run a shell script; returns its exit status and output."""
        answer = self.ask(f"run b64={base64.b64encode(script.encode()).decode()}")
        fields = dict(word.split("=", 1) for word in answer.removeprefix("ran ").split(" "))
        return int(fields["status"]), base64.b64decode(fields["base64"])

    def line(self):
        """The next line from the guest; fails at once if the kernel panics or QEMU ends."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._socket], [], [], 1)
            received = self._socket.recv(1 << 16) if ready else b""
            self._buffer += received
            if not received:
                assert PANIC not in self.log(), self.log()
                assert self.process.poll() is None, f"QEMU has ended: {self.log()}"
                assert time.monotonic() < deadline, f"no answer in {ANSWER_SECONDS} s: {self.log()}"
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def end(self):
        """Wait until QEMU ends by itself; returns its status."""
        return self.process.wait(ANSWER_SECONDS)

    def log(self):
        """What is on the console by now."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""
