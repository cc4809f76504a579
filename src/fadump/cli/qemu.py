"""``fadump qemu``: fetch a newer QEMU from a later Debian suite into the cache, list those that are there."""

import argparse

from fadump.cli.output import Answer, Output
from fadump.cli.parser import Commands, add_command, add_group
from fadump.kit.qemu import Qemu, fetch_qemu, list_qemus

_EXAMPLE = """example:
  fadump qemu fetch                                  a QEMU with SMT and with a FADump of its own
  fadump run --machine qemu --qemu newest --cpus 8 --smt 2     use it; this fetches it too, if need be
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser, with its own two."""
    group = add_group(
        commands,
        "qemu",
        summary="fetch a newer QEMU into the cache, list those that are there",
        description="Fetch a newer QEMU from a later Debian suite into the cache, with its libraries; "
        "nothing is installed.",
        example=_EXAMPLE,
    )
    add_command(
        group,
        "fetch",
        _fetch,
        summary="fetch a QEMU, unless it is there",
        description="Fetch a QEMU and all that it depends on, about 40 MB, unless it is there.",
        example='example:\n  fadump run --machine qemu --qemu "$(fadump qemu fetch --json | jq -r .path)"\n',
    )
    add_command(
        group,
        "list",
        _list,
        summary="list the QEMUs that have been fetched",
        description="List the QEMUs that have been fetched, one a line: version, suite, what --qemu takes.",
        example="example:\n  fadump qemu list --json\n",
    )


def _fetch(_options: argparse.Namespace, _output: Output) -> Answer:
    qemu = fetch_qemu()
    return Answer(qemu.as_json(), _line(qemu))


def _list(_options: argparse.Namespace, _output: Output) -> Answer:
    qemus = list_qemus()
    return Answer({"qemus": [qemu.as_json() for qemu in qemus]}, listing="\n".join(map(_line, qemus)))


def _line(qemu: Qemu) -> str:
    return f"{qemu.version}  {qemu.suite}  {qemu.path}"
