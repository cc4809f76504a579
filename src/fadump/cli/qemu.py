"""``fadump qemu``: fetch a newer QEMU from a later Debian suite into the cache, list those that are there."""

import argparse
import json
import sys

from fadump.cli.help_text import HelpFormatter
from fadump.kit.qemu import Qemu, fetch_qemu, list_qemus

_EPILOG = """example:
  fadump qemu fetch                                  a QEMU with SMT and with a FADump of its own
  fadump run --machine qemu --qemu newest --cpus 8 --smt 2     use it; this fetches it too, if need be
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``qemu`` with its own two commands; each sets ``func``, which returns the exit status."""
    qemu = subparsers.add_parser(
        "qemu",
        help="fetch a newer QEMU into the cache, list those that are there",
        description="Fetch a newer QEMU from a later Debian suite into the cache, with its libraries; "
        "nothing is installed.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    commands = qemu.add_subparsers(metavar="COMMAND", required=True)
    fetch = commands.add_parser(
        "fetch",
        help="fetch a QEMU, unless it is there",
        description="Fetch a QEMU and all that it depends on, about 40 MB, unless it is there.",
        epilog='example:\n  fadump run --machine qemu --qemu "$(fadump qemu fetch --json | jq -r .path)"\n',
        formatter_class=HelpFormatter,
    )
    fetch.add_argument("--json", action="store_true", help="print one JSON object about the QEMU")
    fetch.set_defaults(func=_fetch)
    show = commands.add_parser(
        "list",
        help="list the QEMUs that have been fetched",
        description="List the QEMUs that have been fetched, one a line: version, suite, what --qemu takes.",
        epilog="example:\n  fadump qemu list --json\n",
        formatter_class=HelpFormatter,
    )
    show.add_argument("--json", action="store_true", help='print one JSON object, {"qemus": [...]}')
    show.set_defaults(func=_list)


def _fetch(arguments: argparse.Namespace) -> int:
    qemu = fetch_qemu()
    if arguments.json:
        print(f"{qemu.title}: {qemu.path}", file=sys.stderr)
        print(json.dumps(qemu.as_json()))
    else:
        print(_line(qemu))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    qemus = list_qemus()
    if arguments.json:
        print(json.dumps({"qemus": [qemu.as_json() for qemu in qemus]}))
    else:
        for qemu in qemus:
            print(_line(qemu))
    return 0


def _line(qemu: Qemu) -> str:
    return f"{qemu.version}  {qemu.suite}  {qemu.path}"
