"""A package, what a machine prints, and what is in an image."""

import subprocess

from tests.kit.conftest import make_deb

WHOLE = """\
echo 'fadump-install: step prepare'
echo 'fadump-install: step configure'
echo 'Setting up thing (1-1) ...'
echo 'fadump-install: step kernel'
echo 'fadump-install: step system'
echo 'fadump-install: done'
"""
FAILING = """\
echo 'fadump-install: step configure'
echo 'Setting up thing (1-1) ...'
echo 'dpkg: error processing package thing (--configure):'
"""


def thing(directory, version="1-1", depends=""):
    return make_deb(directory, "thing", version, "ppc64el", {"usr/bin/thing": b"ELF"}, depends=depends)


def content(image, name):
    """A file in an image."""
    command = ["debugfs", "-R", f"cat {name}", f"{image.path}?offset=9437184"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def left_in(cache):
    return sorted(path.name for path in (cache / "images").iterdir())
