"""What a worker is asked first: whether it has our fadump. It may have another one, or none.

So this function is sent as it stands, and not by its name; nothing of ours is imported before it is there.
"""

import socket
from collections.abc import Sequence
from importlib import import_module


def look(sources: str, programs: Sequence[str], artifacts: Sequence[tuple[str, str, int]]) -> tuple[object, ...]:
    """The fields of a :class:`fadump.campaign.worker.Look`; ``sources`` is the hash of the campaign's own code."""
    try:
        worker = import_module("fadump.campaign.worker")
        is_same = worker.sources_hash() == sources
    except (ImportError, AttributeError) as error:
        return f"it has no fadump that knows campaigns ({error})", socket.gethostname()
    if not is_same:
        return "it has another version of fadump", socket.gethostname()
    answer: tuple[object, ...] = worker.look(programs, artifacts)
    return answer
