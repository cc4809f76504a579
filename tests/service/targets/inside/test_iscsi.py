"""A disk that another machine serves by iSCSI, by what open-iscsi sets up; test_iscsi.py runs these."""

import json
import subprocess

import pytest

from fadump.capture.options import SaveOptions
from fadump.capture.save import stream_dump
from fadump.capture.target import SaveError
from fadump.linux.system import open_system
from fadump.service.crash import read_crash
from fadump.service.root import HOST
from fadump.service.targets.raw import RawSettings
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.kit.conftest import wait_until
from tests.real_linux.fadump_command import COMMAND
from tests.service.targets.iscsi_server import DEVICE, iscsi_server, log_in, start_initiator


@pytest.fixture(scope="module")
def server():
    start_initiator()
    with iscsi_server() as server:
        yield server


def started(tmp_path, vmcore, target):
    """A capture of this dump to that target."""
    (tmp_path / "config").write_text(f'[[target]]\n{target}\ndevice = "{DEVICE}"\nwait = 300\n')
    command = [*COMMAND, "capture", "--json", "--config", tmp_path / "config", "--vmcore", vmcore]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_dump_waits_for_the_disk_and_goes_there(server, tmp_path, vmcore):
    with started(tmp_path, vmcore, 'type = "raw"') as capture:
        log_in()
        told = json.loads(capture.communicate()[0])
    assert (capture.returncode, told["result"], told["where"]) == (0, "saved", str(DEVICE)), told
    with open_dump([DEVICE]) as dump:
        assert check_dump(dump).whole
    subprocess.run(["wipefs", "--all", DEVICE], check=True, capture_output=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", DEVICE], check=True, capture_output=True)
    with started(tmp_path, vmcore, 'type = "filesystem"') as capture:
        told = json.loads(capture.communicate()[0])
    assert (capture.returncode, told["result"], told["target"]) == (0, "saved", f"{DEVICE}/crash"), told


def test_a_disk_that_goes_away_in_the_middle(server, vmcore):
    if not DEVICE.exists():
        log_in()
        wait_until(DEVICE.exists)
    target = RawSettings(str(DEVICE), overwrite=True).target(HOST)
    target.prepare()
    gone = []

    def vanish(_done, _total):
        if not gone:
            gone.append(server.vanish())

    with open_system([str(vmcore)]) as system:
        place = target.open(read_crash(system))

        def save():
            stream_dump(system, place.fd, SaveOptions(registers=False), files=place.files, tell=vanish)
            target.settle()

        with pytest.raises((SaveError, OSError), match="Input/output error"):
            save()
    target.close()
