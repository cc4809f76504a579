"""makedumpfile, which we did not write: Debian's for ppc64el, since it reads only dumps of the machine that it runs on.

It runs in QEMU's user mode, with the libraries of its own suite.
"""

import subprocess

from fadump.kit.debian import fetch_with_dependencies, unpack

LIBRARIES = "/usr/lib/powerpc64le-linux-gnu:/lib/powerpc64le-linux-gnu"
LOADER = "ld64.so.2"


class Makedumpfile:
    """The first of ``suites`` that has one, unpacked into ``directory``."""

    def __init__(self, directory, suites):
        found = fetch_with_dependencies("makedumpfile", "ppc64el", suites)
        for package in found:
            unpack(package, directory)
            package.path.unlink()
        self.version = next(package.version for package in found if package.name == "makedumpfile")
        _lead_to_loader(directory)
        program = directory / "usr/bin/makedumpfile"
        self._command = ["qemu-ppc64le", "-L", directory, "-E", f"LD_LIBRARY_PATH={LIBRARIES}", program]

    def run(self, *arguments, stdout=subprocess.PIPE):
        """Run it to its good end; returns what it says."""
        command = [str(word) for word in (*self._command, *arguments)]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def _lead_to_loader(directory):
    """Programs name /lib64/ld64.so.2, which is a link to an absolute path, or lies under /usr: that is the host's."""
    (loader,) = (path for path in directory.rglob(LOADER) if path.is_file() and not path.is_symlink())
    link = directory / "lib64" / LOADER
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(loader)
