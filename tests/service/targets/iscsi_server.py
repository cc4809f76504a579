"""A real iSCSI target, tgtd, on another machine of the test's network, and open-iscsi on this one."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

from tests.service.targets.network import HERE, THERE, other_machine

IQN = "iqn.2026-11.org.example:crash"
DEVICE = Path(f"/dev/disk/by-path/ip-{THERE}:3260-iscsi-{IQN}-lun-1")
_SERVE = f"""
mkdir /run/disks
mount -t tmpfs tmpfs /run/disks
truncate -s 64M /run/disks/crash
tgtd -f &
until tgtadm --op show --mode sys >/dev/null 2>&1; do sleep 0.1; done
tgtadm --lld iscsi --op new --mode target --tid 1 -T {IQN}
tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b /run/disks/crash
tgtadm --lld iscsi --op bind --mode target --tid 1 -I {HERE}
echo serving
wait
"""
# What is on /etc/iscsi is written to; a session whose target is gone fails after the seconds of replacement_timeout.
_INITIATOR = """
mkdir -p /run/etc/iscsi
cp /etc/iscsi/iscsid.conf /run/etc/iscsi
sed -i "s/^node.session.timeo.replacement_timeout = .*/node.session.timeo.replacement_timeout = 5/" \
    /run/etc/iscsi/iscsid.conf
echo "InitiatorName=iqn.2026-11.org.example:here" >/run/etc/iscsi/initiatorname.iscsi
mount --bind /run/etc/iscsi /etc/iscsi
modprobe -d /run/kernel iscsi_tcp
modprobe -d /run/kernel sd_mod
/lib/systemd/systemd-udevd --daemon
iscsid
"""


def start_initiator():
    """Start open-iscsi's and udev's services, which this Linux doesn't by itself."""
    subprocess.run(["sh", "-ec", _INITIATOR], check=True)


def iscsiadm(*words):
    subprocess.run(["iscsiadm", *words], check=True, capture_output=True, text=True)


def log_in():
    """Have the disk here, as open-iscsi does in a boot."""
    iscsiadm("--mode", "discovery", "--type", "sendtargets", "--portal", THERE)
    iscsiadm("--mode", "node", "--targetname", IQN, "--login")


@contextmanager
def iscsi_server():
    """A disk of 64 MiB, on another machine."""
    with other_machine("sh", "-ec", _SERVE, ready="serving") as machine:
        yield machine
