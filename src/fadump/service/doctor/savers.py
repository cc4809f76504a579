"""Who would save a dump: the services that are installed, whether they are enabled, and where they save to.

Each service is read as its own scripts read it: kdump-tools (Debian, Ubuntu) from /etc/default/kdump-tools, kdump-utils
(Fedora, RHEL) from /etc/kdump.conf, openSUSE's kdump from /etc/sysconfig/kdump. systemd is not asked but its links are
looked at, as systemctl is-enabled does, so that a copied tree tells the same as a running system.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fadump.errors import SetupError
from fadump.printable import with_others
from fadump.service.doctor.configuration import Place, Server, read_configuration
from fadump.service.doctor.files import SystemFiles

_NETWORK_UNIT = "fadump-capture-network.service"
_OUR_UNITS = ("fadump-capture.service", _NETWORK_UNIT)
_KDUMP_UNIT = "kdump.service"
_KDUMP_TOOLS_UNIT = "kdump-tools.service"
_GUARD_UNIT = "fadump-capture-guard.service"
_MARK = "/run/fadump-capture"
"""What keeps others from a dump, in the boot in which it is there."""
OUR_CONFIG = "/etc/fadump.toml"
KDUMP_TOOLS_CONFIG = "/etc/default/kdump-tools"
_KDUMP_UTILS_CONFIG = "/etc/kdump.conf"
_SUSE_CONFIG = "/etc/sysconfig/kdump"
_UNIT_DIRECTORIES = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
_DEFAULT_DIRECTORY = "/var/crash"
_DEFAULT_LEVEL = 31
_SETTING = re.compile(r"^\s*(?:export\s+)?(\w+)=(.*)$", re.MULTILINE)
_LEVEL = re.compile(r"(?:^|\s)-d\s*(\d+)")
_TRUE = frozenset(("1", "true", "yes", "on"))
_ADDRESS = re.compile(r"(?:[^@/]*@)?(?:\[(?P<ipv6>[^]]+)\]|(?P<host>[^@:/\s]+))(?::(?P<port>\d+))?")
_PORTS = {"ssh": 22, "sftp": 22, "ftp": 21, "nfs": 2049, "cifs": 445}
_DISK_WORDS = frozenset(("raw", "ext2", "ext3", "ext4", "xfs", "btrfs", "minix", "virtiofs"))


class Service(StrEnum):
    """A service that saves dumps."""

    OURS = "fadump-capture"
    KDUMP_TOOLS = "kdump-tools"
    KDUMP_UTILS = "kdump-utils"
    SUSE = "openSUSE's kdump"


class UnitState(StrEnum):
    """What systemd would do with a unit."""

    MISSING = "not installed"
    DISABLED = "disabled"
    ENABLED = "enabled"
    MASKED = "masked"


@dataclass(frozen=True, slots=True)
class Saver:
    """A service that is installed.

    ``places`` are where it saves to, the first one that takes the dump; none if that can't be told. ``level`` is
    makedumpfile's -d. ``reboots``: it ends with another reboot. ``goes_alone``: a service of the running system that
    comes after it is not started as long as the dump isn't saved. ``obstacle`` is why it would save nothing, None if
    it would, and ``mend`` is what changes that.
    """

    service: Service
    unit: str
    config: str
    places: tuple[Place, ...]
    level: int = _DEFAULT_LEVEL
    reboots: bool = True
    obstacle: str | None = None
    mend: str | None = None
    goes_alone: bool = False

    @property
    def place(self) -> str:
        """Where it saves to, in words."""
        return ", or else to ".join(place.name for place in self.places)

    @property
    def name(self) -> str:
        """What it is called in sentences: ours by its unit."""
        return self.unit if self.service is Service.OURS else str(self.service)

    @property
    def saves(self) -> bool:
        """Whether it would save a dump that it finds."""
        return self.obstacle is None


def savers(files: SystemFiles) -> list[Saver]:
    """The services that are installed, in the order in which they look for a dump.

    kdump-utils and openSUSE's kdump do that in the initrd; our first unit comes before kdump-tools, which comes before
    basic.target. Our second one waits for the network: then kdump-tools comes first, if nothing prevents that.
    """
    ours = _ours(files)
    found = [_kdump(files), ours, _kdump_tools(files)]
    if ours is not None and ours.unit == _NETWORK_UNIT and not ours.goes_alone:
        found = [_kdump(files), _kdump_tools(files), ours]
    return [saver for saver in found if saver is not None]


def saves_in_initrd(files: SystemFiles) -> bool:
    """Whether a service is enabled that saves dumps before the system's own root is mounted."""
    return unit_state(files, _KDUMP_UNIT) is UnitState.ENABLED


def unit_state(files: SystemFiles, unit: str) -> UnitState:
    """What systemd would do with a unit."""
    places = [f"{directory}/{unit}" for directory in _UNIT_DIRECTORIES]
    installed = [place for place in places if files.is_named(place)]
    if not installed:
        return UnitState.MISSING
    if files.is_masking(installed[0]):
        return UnitState.MASKED
    wanted = any(unit in files.names(place) for place in _wanting(files))
    return UnitState.ENABLED if wanted else UnitState.DISABLED


def _wanting(files: SystemFiles) -> Iterator[str]:
    for directory in _UNIT_DIRECTORIES:
        for name in files.names(directory):
            if name.endswith((".wants", ".requires")):
                yield f"{directory}/{name}"


def shell_settings(text: str) -> dict[str, str]:
    """The variables that a shell would have that reads such a file; what it would work out itself isn't."""
    return {name: _unquoted(value) for name, value in _SETTING.findall(text)}


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value, comments=True)[:1])
    except ValueError:
        return value


def _state(files: SystemFiles, unit: str) -> tuple[str | None, str | None]:
    """Why a unit's service wouldn't run, and what changes that."""
    match unit_state(files, unit):
        case UnitState.ENABLED:
            return None, None
        case UnitState.MASKED:
            return f"{unit} is masked", f"systemctl unmask {unit} && systemctl enable --now {unit}"
        case state:
            return f"{unit} is {state}", f"systemctl enable --now {unit}"


def _ours(files: SystemFiles) -> Saver | None:
    states = {unit: unit_state(files, unit) for unit in _OUR_UNITS}
    if set(states.values()) == {UnitState.MISSING}:
        return None
    enabled = [unit for unit, state in states.items() if state is UnitState.ENABLED]
    unit = (enabled or _OUR_UNITS)[0]
    obstacle, mend = _state(files, unit)
    try:
        configured = read_configuration(files.path(OUR_CONFIG), may_be_missing=True)
    except SetupError as error:
        return Saver(Service.OURS, unit, OUR_CONFIG, (), reboots=False, obstacle=obstacle or str(error), mend=mend)
    if configured.problems:
        obstacle, mend = f"{OUR_CONFIG}: {with_others(configured.problems)}", f"fadump doctor --config {OUR_CONFIG}"
    elif configured.lacks is not None and files.is_running_system:
        obstacle, mend = f"{OUR_CONFIG}: {configured.lacks}", None
    elif enabled and all(place.server is not None for place in configured.places):
        unit = _NETWORK_UNIT
        if unit not in enabled:
            obstacle = f"{enabled[0]} comes before the network, where all of its targets are"
            mend = f"systemctl enable {unit}"
    return Saver(
        Service.OURS, unit, OUR_CONFIG, configured.places, configured.level, False, obstacle, mend,
        goes_alone=_goes_alone(files, unit),
    )  # fmt: skip


def _goes_alone(files: SystemFiles, unit: str) -> bool:
    if unit == _NETWORK_UNIT and unit_state(files, _GUARD_UNIT) is not UnitState.ENABLED:
        return False
    return any(_MARK in text for text in _drop_ins(files, _KDUMP_TOOLS_UNIT))


def uses_kdump_tools(files: SystemFiles) -> Mapping[str, str] | None:
    """The settings of kdump-tools; None if it isn't installed, or is switched off by them."""
    text = files.text(KDUMP_TOOLS_CONFIG)
    settings = {} if text is None else shell_settings(text)
    return None if settings.get("USE_KDUMP", "0") == "0" else settings


def _kdump_tools(files: SystemFiles) -> Saver | None:
    unit = _KDUMP_TOOLS_UNIT
    text = files.text(KDUMP_TOOLS_CONFIG)
    if text is None or unit_state(files, unit) is UnitState.MISSING:
        return None
    settings = shell_settings(text)
    obstacle, mend = _state(files, unit)
    if uses_kdump_tools(files) is None:
        obstacle = f"USE_KDUMP in {KDUMP_TOOLS_CONFIG} is 0"
        mend = f"echo USE_KDUMP=1 >>{KDUMP_TOOLS_CONFIG} && systemctl restart {unit}"
    protocol = next((name for name in ("FTP", "SSH", "NFS") if settings.get(name)), None)
    if protocol is None:
        place = _directory(settings.get("KDUMP_COREDIR") or _DEFAULT_DIRECTORY)
    else:
        place = _server(protocol.lower(), settings[protocol])
    level = _level(settings.get("MAKEDUMP_ARGS", ""))
    reboots = not any("/kernel/fadump/release_mem" in text for text in _drop_ins(files, unit))
    return Saver(Service.KDUMP_TOOLS, unit, KDUMP_TOOLS_CONFIG, (place,), level, reboots, obstacle, mend)


def _drop_ins(files: SystemFiles, unit: str) -> Iterator[str]:
    """What is added to a unit: see systemd.unit(5)."""
    for directory in (f"{place}/{unit}.d" for place in _UNIT_DIRECTORIES):
        for name in files.names(directory):
            if name.endswith(".conf"):
                yield files.text(f"{directory}/{name}") or ""


def _kdump(files: SystemFiles) -> Saver | None:
    """kdump.service, which kdump-utils and openSUSE both have."""
    unit = _KDUMP_UNIT
    if unit_state(files, unit) is UnitState.MISSING:
        return None
    obstacle, mend = _state(files, unit)
    text = files.text(_KDUMP_UTILS_CONFIG)
    if text is not None:
        words = dict(line.split(maxsplit=1) for line in text.splitlines() if re.match(r"[a-z]\S*\s+\S", line))
        level = _level(words.get("core_collector", ""))
        place = _place_of_kdump_utils(words)
        return Saver(Service.KDUMP_UTILS, unit, _KDUMP_UTILS_CONFIG, (place,), level, True, obstacle, mend)
    text = files.text(_SUSE_CONFIG)
    if text is None:
        return None
    settings = shell_settings(text)
    if obstacle is None and not _is_true(settings.get("KDUMP_FADUMP", "false")) and _has_fadump(files):
        obstacle = f"KDUMP_FADUMP in {_SUSE_CONFIG} is not true, so its initrd has nothing that saves a dump"
        mend = f"echo KDUMP_FADUMP=true >>{_SUSE_CONFIG} && mkdumprd -f && systemctl restart {unit}"
    url = settings.get("KDUMP_SAVEDIR") or _DEFAULT_DIRECTORY
    scheme, _colon, rest = url.partition("://")
    place = _directory(url.removeprefix("file://")) if url.startswith(("file://", "/")) else _server(scheme, rest)
    digits = settings.get("KDUMP_DUMPLEVEL", "")
    level = int(digits) if digits.isdecimal() else _DEFAULT_LEVEL
    reboots = _is_true(settings.get("KDUMP_IMMEDIATE_REBOOT", "true"))
    return Saver(Service.SUSE, unit, _SUSE_CONFIG, (place,), level, reboots, obstacle, mend)


def _has_fadump(files: SystemFiles) -> bool:
    return files.number("/sys/kernel/fadump/enabled") == 1


def _is_true(value: str) -> bool:
    return value.lower() in _TRUE


def _place_of_kdump_utils(words: Mapping[str, str]) -> Place:
    path = words.get("path", _DEFAULT_DIRECTORY).strip()
    for word in ("ssh", "nfs"):
        if word in words:
            place = _server(word, words[word].strip())
            return replace(place, name=f"{place.name} {path}")
    disk = next((word for word in words if word in _DISK_WORDS), None)
    if disk is None:
        return _directory(path)
    return Place(words[disk].strip() if disk == "raw" else f"{words[disk].strip()} {path}")


def _server(protocol: str, address: str) -> Place:
    """A place on another machine, as USER@HOST, HOST:/DIRECTORY, HOST:PORT/DIRECTORY or [IPV6]."""
    found = _ADDRESS.match(address)
    port = int(found["port"] or _PORTS.get(protocol, 0)) if found else 0
    host = "" if found is None else found["ipv6"] or found["host"]
    return Place(f"{protocol}://{address}", server=Server(host, port) if host and port else None)


def _directory(path: str) -> Place:
    return Place(path, path)


def _level(arguments: str) -> int:
    found = _LEVEL.search(arguments)
    return int(found[1]) if found else _DEFAULT_LEVEL
