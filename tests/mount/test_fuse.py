"""What of this host's own files fadump shell shows; test_mount.py and test_shell.py have real mounts."""

import os

import pytest

from fadump.mount import fuse
from tests.machine.embedded.files_bench import file_tree

POWER_HOST = ("fadump", "fadump_enabled", "fadump_registered", "fadump_release_mem", "mm", "kexec_loaded")


@pytest.fixture
def operations(monkeypatch):
    """Of a machine in its first boot, on a Power host that has found a dump itself."""
    with file_tree() as tree:
        monkeypatch.setattr(fuse, "_names", lambda _directory: POWER_HOST)
        monkeypatch.setattr(os.path, "lexists", lambda path: path.rpartition("/")[2] in POWER_HOST)
        yield fuse._Operations(tree.files, lambda: None, host=True)


def test_a_power_hosts_own_fadump_is_hidden(operations):
    shown = operations.readdir("/sys/kernel", 0)
    assert {"fadump", "fadump_registered", "kexec_loaded", "mm"} < set(shown)
    assert "fadump_release_mem" not in shown
    with pytest.raises(FileNotFoundError):
        operations.getattr("/sys/kernel/fadump_release_mem")


def test_other_files_are_links_to_the_hosts_own(operations):
    assert operations.readlink("/sys/kernel/mm") == ".host/mm"
    assert operations.readlink("/sys/kernel/fadump_registered") == "fadump/registered"
    assert operations.getattr("/sys/kernel/kexec_loaded")["st_mode"] & 0o170000 == 0o100000
