"""`fadump doctor` within a real Debian: what it says of each way that the system can be in, and that its commands mend.

The system gets it as a zipapp on a second disk, and runs it with the Python that it has, which has no packages. Real
firmware calls are the other side: what doctor says is held against what the firmware has seen.
"""

import json
import shutil
import zipapp
from pathlib import Path

import fadump
from tests.real_linux.debian_guest import DebianGuest
from tests.real_linux.vm import vm

MAIN = "import sys; from fadump.cli import main; sys.exit(main())"
DOCTOR = "/run/fadump.pyz"
SAVED = "A crash now would be saved to /var/crash by kdump-tools."
NOT_SAVED = "A crash now would NOT be saved: "
REGISTERED = "/sys/kernel/fadump/registered"


def write_tools(directory):
    """A disk that has nothing on it but all of fadump, to be run by any Python; and how many bytes that is."""
    sources = directory / "sources"
    package = Path(fadump.__file__).parent
    shutil.copytree(package, sources / "fadump", ignore=shutil.ignore_patterns("__pycache__"))
    disk = directory / "fadump.pyz"
    (sources / "__main__.py").write_text(MAIN)
    zipapp.create_archive(sources, disk, "/usr/bin/python3")  # a zip that doesn't begin as one, which vm would refuse
    size_bytes = disk.stat().st_size
    with disk.open("ab") as file:
        file.truncate(-(-size_bytes // 512) * 512)
    return disk, size_bytes


class Guest(DebianGuest):
    """The image's system with fadump on its second disk."""

    def __init__(self, machine, tools_bytes):
        super().__init__(machine)
        self.run(f"head -c {tools_bytes} /dev/vdb >{DOCTOR}")

    def doctor(self):
        """What doctor says: its exit code and its object."""
        told, _newline, status = self.run(f"python3 {DOCTOR} doctor --json 2>/dev/null; echo $?").rpartition("\n")
        return int(status), json.loads(told)

    def mend(self, check):
        """What doctor says to type where a check finds something wrong."""
        (finding,) = findings(self.doctor()[1], check)
        return finding["mend"]


def findings(told, check):
    return [
        found for found in told["findings"] if found["check"] == check and found["severity"] in ("warning", "critical")
    ]


def test_what_doctor_says_is_so_and_its_commands_mend(tmp_path, debian):
    disk, size_bytes = write_tools(tmp_path)
    with vm(tmp_path, "--disk", debian["path"], "--disk", disk, "--snapshot") as machine:
        guest = Guest(machine, size_bytes)
        assert guest.run("python3 -c 'import numpy' 2>&1 | tail -1").startswith("ModuleNotFoundError")

        # Armed, though kdump-tools' udev rules take the registration away now and then.
        status, told = guest.doctor()
        assert (status, told["severity"], told["verdict"]) == (1, "warning", SAVED)
        assert (told["service"], told["target"]) == ("kdump-tools", "/var/crash")
        assert {found["check"] for found in told["findings"] if found["severity"] == "warning"} == {"hotplug"}

        # It isn't registered; the command registers.
        guest.run(f"echo 0 >{REGISTERED}")
        status, told = guest.doctor()
        assert (status, told["verdict"]) == (2, f"{NOT_SAVED}the kernel is not registered with the firmware.")
        assert machine.events[-1] == "unregistered"
        guest.run(guest.mend("registration"))
        assert (guest.doctor()[1]["verdict"], machine.events[-1]) == (SAVED, "registered")

        # Nobody would save; the command arms the service.
        guest.run("systemctl disable kdump-tools.service 2>&1")
        status, told = guest.doctor()
        assert status == 2 and told["verdict"].startswith(f"{NOT_SAVED}the firmware would keep it, but kdump-tools")
        guest.run(f"{guest.mend('service')} 2>&1")
        assert guest.doctor()[1]["verdict"] == SAVED

        # A CPU comes: with the rules the registration goes and comes, without them nothing happens.
        comes = "udevadm trigger --action=add --subsystem-match=cpu && udevadm settle"
        before = len(machine.events)
        guest.run(comes)
        assert set(machine.events[before:]) == {"registered", "unregistered"}
        guest.run(guest.mend("hotplug"))
        before = len(machine.events)
        guest.run(comes)
        assert machine.events[before:] == []
        assert guest.doctor()[0] == 0
