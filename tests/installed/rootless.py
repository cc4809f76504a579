"""A system whose root is nobody on its host: what a container of an ordinary user's is.

As a program it runs a command as the root of such a user namespace.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FIRST_ID, IDS = 100_000, 65_536
"""Of the host's, for the users and groups of the container."""
CERTIFICATES = "/usr/local/share/host-certificates.crt"
_HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True)
class RootlessContainer:
    """A container made of a system, whose files become its own; ``path`` is one that everybody may go through."""

    path: Path

    @classmethod
    def make(cls, system):
        """Of a :class:`tests.installed.suite_root.SuiteRoot`, which can't be used as such any more."""
        if _HOST_CERTIFICATES.exists():
            shutil.copy(_HOST_CERTIFICATES, system.path / CERTIFICATES.lstrip("/"))
        for path in (system.path, *system.path.rglob("*")):
            found = path.lstat()
            os.lchown(path, found.st_uid + FIRST_ID, found.st_gid + FIRST_ID)
            if not path.is_symlink():
                path.chmod(found.st_mode & 0o7777)  # chown() takes the set-user-ID bit away
        return cls(system.path)

    def run(self, script, directory, **environment):
        """Run a script as the container's root, in a directory of its."""
        from tests.installed.suite_root import ENTER

        taken = {name: value for name, value in os.environ.items() if re.match("(?i)pip_|.*_proxy", name)}
        taken |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"} | environment
        if _HOST_CERTIFICATES.exists():
            taken |= {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER, str(self.path)]
        return subprocess.run(
            [sys.executable, __file__, *apart, "sh", "-euc", f'cd "{directory}"\n{script}'],
            env=taken, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip


def main(command):
    """Run it; its status is the process's. Only the host's root may choose whom the container's users are."""
    apart, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "unshare")
        os.write(apart[1], b".")
        os.read(mapped[0], 1)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)  # before another program is started: that would have no rights
        os._exit(subprocess.call(command))
    os.read(apart[0], 1)
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{kind}").write_text(f"0 {FIRST_ID} {IDS}\n")
    os.write(mapped[1], b".")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
