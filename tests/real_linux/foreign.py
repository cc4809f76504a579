"""Programs of Debian's for ppc64el, which we did not write, in QEMU's user mode with the libraries of their own suite.

makedumpfile and crash read only dumps of the machine that they run on.
"""

import shutil
import subprocess

from fadump.kit.debian import fetched_with_dependencies
from fadump.kit.package_file import unpack

LIBRARIES = "/usr/lib/powerpc64le-linux-gnu:/lib/powerpc64le-linux-gnu"
LOADER = "ld64.so.2"
RUN_SECONDS = 300


class ForeignProgram:
    """A program of a package, that of its name if not of another, from the first of ``suites`` that has it, unpacked
    into ``directory``."""

    def __init__(self, name, directory, suites, package=None):
        self.directory = directory
        package = package or name
        with fetched_with_dependencies(package, "ppc64el", suites) as found:
            for fetched in found:
                unpack(fetched, directory)
        self.version = next(fetched.version for fetched in found if fetched.name == package)
        _lead_to_loader(directory)
        program = directory / "usr/bin" / name
        self.command = ["qemu-ppc64le", "-L", str(directory), "-E", f"LD_LIBRARY_PATH={LIBRARIES}", str(program)]

    def run(self, *arguments, **options):
        """Run it to its good end; returns what it says. ``options`` are subprocess.run()'s."""
        command = [str(word) for word in (*self.command, *arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": RUN_SECONDS} | options
        done = subprocess.run(command, check=False, **options)
        assert done.returncode == 0, (done.stdout or "")[-2000:] + done.stderr[-2000:]
        return done.stdout

    def install(self, root):
        """Put it, and what it needs, into a ppc64el system's root directory, in /usr/bin."""
        shutil.copytree(self.directory, root, symlinks=True, dirs_exist_ok=True)
        (loader,) = (path for path in root.rglob(LOADER) if path.is_file() and not path.is_symlink())
        link = root / "lib64" / LOADER
        link.unlink()
        link.symlink_to("/" / loader.relative_to(root))


def _lead_to_loader(directory):
    """Programs name /lib64/ld64.so.2, which is a link to an absolute path, or lies under /usr: that is the host's."""
    (loader,) = (path for path in directory.rglob(LOADER) if path.is_file() and not path.is_symlink())
    link = directory / "lib64" / LOADER
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(loader)
