"""``fadump report``: a crash report for people, from a dump alone."""

import argparse
from dataclasses import replace
from pathlib import Path

from fadump.cli.dump_argument import dump_files
from fadump.cli.found_vmlinux import found_module_lines, found_vmlinux
from fadump.cli.output import Answer, ExitCode, Output
from fadump.cli.parser import Commands, add_command
from fadump.cli.paths import path
from fadump.cli.report_file import shown
from fadump.errors import FadumpError, UsageError
from fadump.given import check_file, is_same_file, write_whole
from fadump.kit.debuginfod import check_servers
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem, open_system
from fadump.linux.vmlinux.source_lines import lines_of_crash, modules_on
from fadump.printable import with_others
from fadump.report.findings import Findings, find
from fadump.report.redact import Words, hosts_of
from fadump.report.sections import tell
from fadump.report.verdict import judge

_EXAMPLE = """example:
  fadump report vmcore                         on the terminal, in 100 columns
  fadump report vmcore -o report.html          one page for a browser, to mail or to print
  fadump report /var/crash/202611291148 --redact -o report.html
                                               without names, network addresses and command lines
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    parser = add_command(
        commands,
        "report",
        _report,
        summary="tell what crashed and why, as text or as one HTML page",
        description="Tell what crashed and why, by the dump alone: a verdict and how sure it is, the stack that "
        "crashed, the log's end, CPUs, blocked tasks, modules, memory as a picture, and what the dump lacks. The page "
        "needs no network and no script, and only its owner can read it. "
        "It has neither programs' memory nor their environment.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "files", type=path, nargs="+", metavar="FILE", help="a dump; of a split one, all of its files; or its directory"
    )
    parser.add_argument("-o", "--out", type=path, metavar="FILE", help="write it there: a page if it ends in .html")
    parser.add_argument(
        "--redact",
        action="store_true",
        help="hide names of hosts and users, network addresses, serial numbers and command lines",
    )
    parser.add_argument("--vmlinux", type=path, metavar="FILE", help="the crashed kernel's vmlinux")
    parser.add_argument(
        "--debuginfod",
        action="store_true",
        help="ask the servers in $DEBUGINFOD_URLS for debug information that isn't here, by the build ids of the kernel"
        " and of the modules on the stack that crashed",
    )


def _report(options: argparse.Namespace, output: Output) -> Answer:
    files = dump_files(options.files)
    if options.debuginfod:
        check_servers()
    if options.vmlinux is not None:
        check_file("--vmlinux", options.vmlinux)
    if options.out is not None and any(is_same_file(options.out, file) for file in files):
        raise UsageError(f"--out {options.out} is the dump itself: name another file")
    with open_system(files, vmlinux=options.vmlinux) as system:
        if system.dump.opal_entry is not None:
            raise FadumpError(f"{with_others(files)} is OPAL's core, and no dump of Linux: fadump show knows it")
        findings = _with_lines(find(system), system, options.vmlinux, asks_servers=options.debuginfod)
        summary = findings.summary
        node = None if summary.kernel is None else summary.kernel.node
        servers = hosts_of(mount.source for mount in findings.mounts or ())
        words = Words.of(redacts=options.redact, names=[node, *servers])
        story = tell(findings, words)
    verdict = judge(findings)
    text = shown(story, options.out)
    if options.out is not None:
        write_whole("--out", options.out, text.encode())
    for sentence in summary.missing:
        output.remark(sentence)
    told = {
        "result": "incomplete" if summary.missing else "complete",
        "what": words.tell(verdict.what),
        "where": words.tell(verdict.where),
        "blame": None if verdict.blame is None else words.tell(verdict.blame),
        "certainty": verdict.certainty.name.lower(),
        "report": None if options.out is None else str(options.out),
        "missing": [words.tell(sentence) for sentence in summary.missing],
    }
    return Answer(
        told,
        text=f"{words.tell(verdict.what)}\n{options.out}: the report" if options.out is not None else "",
        listing=text.rstrip("\n") if options.out is None else "",
        exit_code=ExitCode.FAILED if summary.missing else ExitCode.DONE,
        error=f"{with_others(files)}: {with_others(summary.missing)}" if summary.missing else None,
    )


def _with_lines(findings: Findings, system: CrashedSystem, given: Path | None, *, asks_servers: bool) -> Findings:
    """The same with source lines, as far as a vmlinux and modules' files are given or found that have them."""
    cpus = findings.summary.cpus
    if not cpus:
        return findings
    try:
        vmlinux = given or found_vmlinux(system, asks_servers=asks_servers)
        modules = found_module_lines(system, modules_on(cpus), vmlinux, asks_servers=asks_servers)
        if vmlinux is None and not modules:
            return findings
        return replace(findings, lines=lines_of_crash(cpus, system.vmcoreinfo, vmlinux, modules))
    except UNREADABLE_KERNEL:
        return findings
    except FadumpError as error:
        return replace(findings, missing=[*findings.missing, f"source lines: {error}"])
