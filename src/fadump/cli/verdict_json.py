"""A proof's verdict in a command's object, the same for all commands that prove a dump."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fadump.proof.verify import Verdict


def verdict_as_json(verdict: "Verdict") -> dict[str, Any]:
    """What was compared, what differs and where, what was left out and why."""
    memory = verdict.memory
    opal = {} if verdict.opal is None else {"opalcore": asdict(verdict.opal)}
    table = {} if verdict.hash_table is None else {"hash_table": asdict(verdict.hash_table)}
    remark = {} if verdict.remark is None else {"remark": verdict.remark}
    return (
        opal
        | table
        | remark
        | {
            "bytes_compared": memory.bytes_compared,
            "bytes_different": memory.bytes_different,
            "bytes_excluded": memory.bytes_excluded,
            "excluded": [{"range": str(left_out.range), "reason": left_out.reason} for left_out in memory.excluded],
            "differences": [str(difference) for difference in memory.differences],
            "registers_different": None if verdict.registers is None else list(verdict.registers),
        }
    )
