"""A real NFS server, the kernel's own, on another machine of the test's network."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.service.targets.network import THERE, OtherMachine, network, other_machine

_EXPORT = "/run/export"
# mountd goes into the background once it answers.
_SERVE = f"""
mount -t tmpfs tmpfs /var/lib/nfs
mkdir -p /var/lib/nfs/v4recovery /var/lib/nfs/sm {_EXPORT} /run/rpc_pipefs
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mount -t tmpfs -o "size=$1,mode=700" tmpfs {_EXPORT}
mount -t nfsd nfsd /proc/fs/nfsd
exportfs -i -o rw,no_root_squash,no_subtree_check,fsid=0 198.18.0.0/30:{_EXPORT}
rpc.nfsd --no-nfs-version 3 --no-udp --grace-time 10 --lease-time 10 2
rpc.mountd --no-nfs-version 3 --no-udp
echo exporting
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class NfsServer:
    """``export`` is a directory there."""

    machine: OtherMachine
    export: str = _EXPORT
    host: str = THERE

    @property
    def files(self):
        """The directory there, as it can be looked into from here."""
        return Path(f"/proc/{self.machine.init}/root{self.export}")

    def stop(self):
        """Stop serving; the machine goes on."""
        self.machine.inside("rpc.nfsd", "0")


@contextmanager
def nfs_server(*, disk="64m"):
    """A server of NFS 4 whose disk has so much room."""
    with network(), other_machine("sh", "-ec", _SERVE, "sh", disk, ready="exporting") as machine:
        yield NfsServer(machine)
