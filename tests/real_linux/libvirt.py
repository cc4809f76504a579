"""A libvirt of a test's own: the daemon sees directories of its own in place of the host's, which nothing changes."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pexpect

from fadump.kit.packages import require

PACKAGES = {
    "virsh": "libvirt-clients",
    "libvirtd": "libvirt-daemon",
    "virt-qemu-run": "libvirt-daemon-driver-qemu",
}
SECONDS = 300
FAILURES = ["Unable to handle kernel", "Oops:", "not syncing: VFS"]

# libvirtd wants two accounts, even if it is told to use neither; and it believes that it is the only one.
SET_UP = """
set -e
cd "$1"
for directory in /run /var/log /var/cache; do mount -t tmpfs none "$directory"; done
mkdir -p /var/lib/libvirt /run/lock
for directory in /etc/libvirt /var/lib/libvirt; do mount -t tmpfs none "$directory"; done
cp libvirtd.conf qemu.conf /etc/libvirt/
for file in passwd group; do mount --bind "$file" "/etc/$file"; done
exec libvirtd -f /etc/libvirt/libvirtd.conf
"""
ACCOUNTS = {"passwd": "libvirt-qemu:x:64055:64055::/:/bin/false\n", "group": "libvirt-qemu:x:64055:\nkvm:x:64056:\n"}
DAEMON = """
unix_sock_dir = "{directory}"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "2:file:{directory}/libvirtd.log"
"""
DRIVER = """
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
DOMAIN = """
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='ppc64' machine='pseries'>hvm</type>
    <kernel>{kernel}</kernel>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><cfpc value='broken'/><sbbc value='broken'/><ibs value='broken'/><ccf-assist state='off'/></features>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <console type='pty'><target type='serial'/></console>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""


class Libvirt:
    """A running daemon: ``virsh`` asks it."""

    def __init__(self, directory, pid):
        self._uri = f"qemu+unix:///system?socket={directory}/libvirt-sock"
        self._root = Path(f"/proc/{pid}/root")

    def virsh(self, *words):
        """What virsh says; it is to succeed."""
        done = subprocess.run(self._command(words), capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def end_guest(self):
        """End the guest, if there is one: it would outlive the daemon."""
        subprocess.run(self._command(["destroy", "guest"]), capture_output=True, check=False, timeout=SECONDS)

    def interactive(self, *words, log):
        """A virsh on a terminal."""
        command, *arguments = self._command(words)
        return pexpect.spawn(command, arguments, timeout=SECONDS, logfile=log)

    @property
    def guest_pid(self):
        """What libvirt takes for the guest's process."""
        return int((self._root / "run/libvirt/qemu/guest.pid").read_text())

    @property
    def guest_log(self):
        """What the guest's process has printed."""
        return (self._root / "var/log/libvirt/qemu/guest.log").read_text()

    def _command(self, words):
        return ["virsh", "-c", self._uri, *map(str, words)]


class Console:
    """The guest's console by ``virsh console``; what tells of a failure there fails at once."""

    def __init__(self, child, prompt):
        self._child = child
        self._prompt = prompt
        self.expect("Escape character")
        self._child.sendline("")

    def expect(self, text):
        found = self._child.expect_exact([text, *FAILURES, pexpect.EOF])
        assert found == 0, self._child.before[-2000:]

    def at_prompt(self, command, answer=None):
        self.expect(self._prompt)
        self._child.sendline(command)
        self.expect("\n")
        if answer is not None:
            self.expect(answer)

    def close(self):
        self._child.close(force=True)


@contextmanager
def libvirt():
    """A libvirt that knows of no guest yet; it ends with the context, and its guest too."""
    require("a libvirt of a test's own", PACKAGES)
    directory = Path(tempfile.mkdtemp(prefix="fadump-libvirt-"))  # a socket's name is short
    (directory / "libvirtd.conf").write_text(DAEMON.format(directory=directory))
    (directory / "qemu.conf").write_text(DRIVER)
    for name, added in ACCOUNTS.items():
        (directory / name).write_text(Path("/etc", name).read_text() + added)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(directory / "ready"))
        ready.settimeout(SECONDS)
        unshare = ["unshare", "--mount", "--propagation", "private"]
        if os.geteuid():
            unshare += ["--user", "--map-root-user"]
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *unshare, "sh", "-c", SET_UP, "sh", str(directory)],
            env=os.environ | {"NOTIFY_SOCKET": str(directory / "ready")},
        )
        with daemon:
            try:
                while b"READY=1" not in ready.recv(0x1000):
                    pass
                running = Libvirt(directory, daemon.pid)
                try:
                    yield running
                finally:
                    running.end_guest()
            finally:
                daemon.terminate()
    shutil.rmtree(directory)
