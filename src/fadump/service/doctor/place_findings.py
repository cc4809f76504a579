"""What is said of the places that dumps go to: is each there, can it be written to, has a dump room in it."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from fadump.errors import reason
from fadump.progress import binary_size
from fadump.service.doctor.configuration import Place, Server
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.machine import Machine
from fadump.service.doctor.need import most_dump_bytes
from fadump.service.doctor.savers import Saver, Service
from fadump.service.lasting import in_memory

_DISKS = "/dev/disk"
_SECTOR_BYTES = 512
_CONNECT_SECONDS = 5
_LINKS = {
    "UUID=": f"{_DISKS}/by-uuid/",
    "LABEL=": f"{_DISKS}/by-label/",
    "PARTUUID=": f"{_DISKS}/by-partuuid/",
    "PARTLABEL=": f"{_DISKS}/by-partlabel/",
}
"""udev's names of what is on a block device."""


def place_findings(machine: Machine, files: SystemFiles, saver: Saver, *, is_only_one: bool) -> Iterator[Finding]:
    """Look at each place that a service saves to. Nothing is critical where it is not the only place for a dump."""
    for place in saver.places:
        finding = _finding(machine, files, saver, place)
        if finding is not None:
            most = Severity.CRITICAL if is_only_one else Severity.WARNING
            yield replace(finding, severity=min(finding.severity, most))


def _finding(machine: Machine, files: SystemFiles, saver: Saver, place: Place) -> Finding | None:
    if place.directory is not None:
        return _directory_finding(machine, files, saver, place.directory)
    if place.device is not None:
        return _device_finding(machine, files, saver, place.device)
    if place.server is not None and files.is_running_system:
        return _server_finding(saver, place.server)
    return Finding(Check.TARGET, Severity.NOTE, f"{saver.name} saves to {place.name}, which is not looked at from here")


def _server_finding(saver: Saver, server: Server) -> Finding:
    """Whether somebody listens there; nothing is sent."""
    where = f"{server.host}, where {saver.name} saves to,"
    try:
        socket.create_connection((server.host, server.port), _CONNECT_SECONDS).close()
    except OSError as error:
        # A name may be one of ssh's own configuration.
        severity = Severity.WARNING if isinstance(error, socket.gaierror) else Severity.CRITICAL
        sentence = f"{where} can't be reached at port {server.port}: {reason(error)}"
        mend = f"start its server and let this system reach it, or name another place in {saver.config}"
        return Finding(Check.TARGET, severity, sentence, mend)
    return Finding(Check.TARGET, Severity.GOOD, f"{where} answers at port {server.port}")


def _directory_finding(machine: Machine, files: SystemFiles, saver: Saver, directory: str) -> Finding | None:
    there = _nearest(files, saver, directory)
    if not files.is_directory(there):
        sentence = f"{directory}, where {saver.name} saves to, is no directory"
        return Finding(Check.TARGET, Severity.WARNING, sentence, f"mkdir -m 700 -p {directory}")
    if not files.is_running_system:
        return None
    status = os.statvfs(files.path(there))
    if status.f_flag & os.ST_RDONLY:
        sentence = f"{directory}, where {saver.name} saves to, is on a file system that is mounted read-only"
        mend = f'mount -o remount,rw "$(findmnt -n -o TARGET --target {there})"'
        return Finding(Check.TARGET, Severity.CRITICAL, sentence, mend)
    memory = in_memory(files.path("/proc/self/mountinfo"), files.path(there))
    if memory is not None:
        sentence = f"{directory}, where {saver.name} saves to, is on {memory}, memory that a reboot clears"
        return Finding(Check.TARGET, Severity.CRITICAL, sentence, f"name a directory on a disk in {saver.config}")
    mend = f"remove older dumps from {directory}, or name another place in {saver.config}"
    return _room(machine, saver, f"{directory} has {{}} free", status.f_bavail * status.f_frsize, mend)


def _nearest(files: SystemFiles, saver: Saver, directory: str) -> str:
    """A directory that is to be there: kdump-tools and openSUSE's kdump make theirs with all its parents, our service
    the last part only, kdump-utils nothing."""
    parents = [str(parent) for parent in PurePosixPath(directory).parents]
    made = {Service.OURS: parents[:1], Service.KDUMP_UTILS: []}.get(saver.service, parents)
    return next((name for name in [directory, *made] if files.is_directory(name)), directory)


def _device_finding(machine: Machine, files: SystemFiles, saver: Saver, device: str) -> Finding | None:
    if not files.is_directory(_DISKS):
        return None  # a copied tree, which has no devices
    name = _device_name(device)
    if not files.exists(name):
        sentence = f"{device}, where {saver.name} saves to, is not there"
        return Finding(Check.TARGET, Severity.CRITICAL, sentence, f"lsblk, and name a device in {saver.config}")
    sectors = files.number(f"/sys/class/block/{files.path(name).name}/size")
    if sectors is None:
        return None
    mend = f"name a larger device in {saver.config}"
    return _room(machine, saver, f"{device} has {{}}", sectors * _SECTOR_BYTES, mend)


def _device_name(device: str) -> str:
    for start, directory in _LINKS.items():
        if device.startswith(start):
            return directory + device.removeprefix(start).replace(" ", "\\x20")
    return device


def _room(machine: Machine, saver: Saver, room: str, room_bytes: int, mend: str) -> Finding | None:
    most_bytes = most_dump_bytes(machine, saver.level)
    if most_bytes is None:
        return None
    sentence = (
        f"{room.format(binary_size(room_bytes))}; a dump of this moment at level {saver.level} has at most "
        f"{binary_size(most_bytes)} before it is packed"
    )
    if room_bytes >= most_bytes:
        return Finding(Check.TARGET, Severity.GOOD, sentence)
    return Finding(Check.TARGET, Severity.WARNING, sentence, mend)
