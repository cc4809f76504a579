"""A kernel's tree in git, with a bug in fadump.c among 16 commits, and one commit that doesn't build."""

import os
import subprocess
from dataclasses import dataclass

from fadump.kit.cache import cache_directory, lock, private_directory, scratch_directory
from tests.real_linux.more_kernels.repaired import SERIES, unpack_source

FADUMP = "arch/powerpc/kernel/fadump.c"
BUG = "fadump: keep a page of distance"
DOES_NOT_BUILD = "fadump: name the area"
BOOT_MEMORY = "\tboot_mem_dest_offset = fw_dump.boot_mem_dest_addr"
SETUP = "int __init setup_fadump(void)\n{\n"
START = "char *after_dashes;\n\n"
HARMLESS = (
    *("kernel/panic.c", "kernel/reboot.c", "fs/proc/vmcore.c", "arch/powerpc/kernel/rtas.c", "lib/string.c"),
    *("arch/powerpc/platforms/pseries/setup.c", "include/linux/crash_dump.h", FADUMP, "mm/memblock.c"),
    *("arch/powerpc/platforms/pseries/rtas-fadump.c", "kernel/vmcore_info.c", "drivers/tty/hvc/hvc_console.c", FADUMP),
)


@dataclass(frozen=True)
class Edit:
    """One text in a file in place of another; without an old one, at its end."""

    subject: str
    file: str
    old: str
    new: str


COMMITS = [
    *(Edit(f"{path}: comment {number}", path, "", f"/* {number} */\n") for number, path in enumerate(HARMLESS[:7], 1)),
    Edit(DOES_NOT_BUILD, FADUMP, SETUP, SETUP + "\tname_fadump_area();\n"),
    Edit("fadump: don't name the area", FADUMP, SETUP + "\tname_fadump_area();\n", SETUP),
    Edit(f"{HARMLESS[7]}: comment 8", HARMLESS[7], "", "/* 8 */\n"),
    Edit(BUG, FADUMP, BOOT_MEMORY + ";", BOOT_MEMORY + " + PAGE_SIZE;"),
    *(Edit(f"{path}: comment {number}", path, "", f"/* {number} */\n") for number, path in enumerate(HARMLESS[8:], 9)),
]
"""In their order. The eighth is the first that ``git bisect`` looks at."""
BRANCHES = {
    "silent": Edit("init: hang", "init/main.c", START, START + "\tfor (;;)\n\t\tbarrier();\n"),
    "panicking": Edit("fadump: panic", FADUMP, SETUP, SETUP + '\tpanic("no luck");\n'),
}
"""Each is one commit on top of the first."""


def git(tree, *words):
    """Run git in a tree, without anybody's configuration; returns what it prints."""
    name = "A Developer"
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", "a@b"))
    }
    environment = os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *words], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree_in_git():
    """The tree, at the last commit of branch main; what a build of it leaves in the cache is used again."""
    tree = private_directory(cache_directory() / "bisected") / f"linux-{SERIES}"
    with lock(f"bisected-{tree.name}"):
        if not tree.exists():
            with scratch_directory(tree.parent, ".new-") as scratch:
                unpacked = unpack_source(scratch)
                git(unpacked, "init", "--quiet")
                git(unpacked, "config", "gc.auto", "0")
                git(unpacked, "add", "--all", "--force")
                git(unpacked, "commit", "--quiet", "--message", f"Linux {SERIES}")
                git(unpacked, "branch", "upstream")
                unpacked.rename(tree)
    git(tree, "checkout", "--quiet", "--force", "--detach", "upstream")
    for branch, edits in {**{name: [edit] for name, edit in BRANCHES.items()}, "main": COMMITS}.items():
        git(tree, "checkout", "--quiet", "-B", branch, "upstream")
        for edit in edits:
            _commit(tree, edit)
    return tree


def _commit(tree, edit):
    file = tree / edit.file
    text = file.read_text()
    assert text.count(edit.old) == 1 or not edit.old, edit
    file.write_text(text.replace(edit.old, edit.new) if edit.old else text + edit.new)
    git(tree, "commit", "--quiet", "--all", "--message", edit.subject)
