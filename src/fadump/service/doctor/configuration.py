"""The configuration of ``fadump-capture.service``, as far as it matters before a crash: is it right, where do dumps go.

What reads it (:mod:`.places`) needs the packages that the service needs; all else of an examination does without.
"""

from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError


@dataclass(frozen=True, slots=True)
class Server:
    """Another machine, and the TCP port that it listens on."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where dumps go: its name for people, and what it is, if that is known: a directory or a block device of this
    system, or a server."""

    name: str
    directory: str | None = None
    device: str | None = None
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """``places`` are tried in turn. ``problems`` are why the service can't run with this; then there are no places.
    ``lacks`` is what this computer lacks for it, as a sentence, and ``hooks`` are sentences about programs of the
    administrator's that can't be run."""

    places: tuple[Place, ...]
    level: int
    problems: tuple[str, ...] = ()
    lacks: str | None = None
    hooks: tuple[str, ...] = ()


def read_configuration(path: Path, *, may_be_missing: bool = False) -> Configured:
    """What a configuration says; of a file that isn't there the defaults.

    :raises SetupError: the file can't be read, or the service's packages aren't there.
    """
    try:
        from fadump.service.doctor.places import configured  # noqa: PLC0415 - optional packages
    except ImportError as error:
        raise SetupError(f"this Python has no {error.name}, which the service needs: pip install fadump") from error
    return configured(path, may_be_missing=may_be_missing)
