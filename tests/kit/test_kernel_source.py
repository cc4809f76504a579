"""A kernel from a user's tree, with a "Linux" that is only a Makefile and one file, and all else real."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.errors import SetupError, UsageError
from fadump.kit.kernel_source import build_tree
from fadump.run.inputs import check_kernel

FADUMP = [sys.executable, "-m", "fadump"]
COMMAND = [*FADUMP, "kernel", "build"]

# As far as a build can see, what make does in a Linux whose objects go elsewhere: it refuses a tree that was built in
# place, drops options that nobody knows, and makes vmlinux anew only if its source has changed.
MAKEFILE = """\
.PHONY: allnoconfig vmlinux modules modules_install
allnoconfig:
\ttest ! -e .config -a ! -e include/config -a ! -e arch/powerpc/include/generated
\ttest -e include/linux/fs.h -a -e arch/powerpc/include/asm/page.h -a -e arch/x86/Kconfig
\tgrep -v -x -e CONFIG_UNKNOWN=y $(KCONFIG_ALLCONFIG) >$(O)/.config
\techo 'CONFIG_CC_VERSION_TEXT="$(ARCH) gcc 12"' >>$(O)/.config
vmlinux: $(O)/vmlinux
$(O)/vmlinux: init/main.c
\t@echo "  CC      init/main.o"
\t@echo "builder $$(id -u), $$(grep -c ' /dev/null ' /proc/self/mountinfo) mounts"
\t@mkdir -p $(O)/include/config; echo 9.9.1-mine >$(O)/include/config/kernel.release
\t$(CROSS_COMPILE)ld -r -b binary -o $@ init/main.c
modules: vmlinux
modules_install:
\tmkdir -p $(INSTALL_MOD_PATH)/lib/modules/9.9.1-mine
\ttouch $(INSTALL_MOD_PATH)/lib/modules/9.9.1-mine/modules.dep
"""
FILES = {
    "Makefile": MAKEFILE,
    "Kconfig": "",
    "init/main.c": "int main;",
    "include/linux/fs.h": "",
    "arch/powerpc/include/asm/page.h": "",
    "arch/x86/Kconfig": "",
}
IN_PLACE = {
    ".config": "CONFIG_MINE=y\n",
    ".config.old": "",
    "vmlinux": "",
    "include/config/auto.conf": "",
    "include/generated/autoconf.h": "",
    "arch/powerpc/include/generated/asm/x.h": "",
}


@pytest.fixture
def tree(tmp_path):
    """A Linux that nobody has built."""
    return make_tree(tmp_path / "linux", FILES)


def make_tree(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


def fragment(tmp_path, text):
    path = tmp_path / "mine.config"
    path.write_text(text)
    return path


def command(*options):
    return subprocess.run([*COMMAND, *map(str, options)], capture_output=True, text=True, check=False)


def state(tree):
    return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in tree.rglob("*")}


def log(cache):
    (path,) = (cache / "logs").glob("kernel-linux-*.log")
    return path.read_text()


def test_a_tree_is_built_and_the_kernel_is_one_to_run(tree, cache):
    done = command("--source", tree, "--json")
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert (about["release"], about["page_size"], about["compiler"]) == ("9.9.1-mine", "64K", "powerpc gcc 12")
    assert about["source"] == str(tree)
    assert "CONFIG_FA_DUMP=y" in Path(about["config"]).read_text().splitlines()
    assert Path(about["modules"], "lib/modules/9.9.1-mine/modules.dep").is_file()
    assert Path(about["vmlinux"]).read_bytes()[:6] == b"\x7fELF\x02\x01"
    check_kernel(Path(about["bootable"]))
    assert command("--source", tree).stdout == f"9.9.1-mine  64K  {about['bootable']}\n"


def test_a_second_build_makes_what_has_changed(tree, cache):
    build_tree(tree, None, "64K")
    assert log(cache).count("CC ") == 1
    kernel = build_tree(tree, None, "64K")
    assert log(cache).count("CC ") == 0
    (tree / "init/main.c").write_text("int changed;")
    assert build_tree(tree, None, "64K") == kernel
    assert log(cache).count("CC ") == 1
    assert b"int changed;" in kernel.bootable.read_bytes()


@pytest.mark.parametrize("files", [FILES, FILES | IN_PLACE], ids=["clean", "built in place"])
def test_the_tree_is_left_as_it_is(tmp_path, files):
    tree = make_tree(tmp_path / "linux", files)
    before = state(tree)
    build_tree(tree, None, "64K")
    assert state(tree) == before


def test_a_file_that_was_added_or_removed_is_noticed(tree, cache):
    build_tree(tree, None, "64K")
    (tree / "arch/x86/Kconfig").rename(tree / "new")
    with pytest.raises(SetupError, match="configuring Linux in .* failed"):
        build_tree(tree, None, "64K")
    (tree / "arch/x86").rename(tree / "arch/sparc")
    (tree / "arch/x86").mkdir()
    (tree / "new").rename(tree / "arch/x86/Kconfig")
    build_tree(tree, None, "64K")


def test_the_builder_is_the_caller_and_can_not_replace_dev_null_as_root(tree, cache):
    build_tree(tree, None, "64K")
    builder, mounts = map(int, re.search(r"builder (\d+), (\d+) mounts", log(cache)).groups())
    before = sum(" /dev/null " in line for line in Path("/proc/self/mountinfo").read_text().splitlines())
    assert (builder, mounts) == (os.getuid(), before + (os.getuid() == 0))


def test_what_is_built_is_private(tree, cache):
    kernel = build_tree(tree, None, "64K")
    assert all((cache / part).stat().st_mode & 0o777 == 0o700 for part in ("trees", kernel.vmlinux.parent))


def test_two_trees_of_one_name_stand_side_by_side(tmp_path):
    trees = [make_tree(tmp_path / user / "linux", FILES) for user in ("one", "two")]
    first, second = (build_tree(tree, None, "64K") for tree in trees)
    assert first.vmlinux != second.vmlinux
    assert build_tree(tmp_path / "two" / ".." / "one" / "linux", None, "64K") == first


def test_a_fragment_goes_on_top_of_ours(tree, tmp_path):
    mine = '# mine\nCONFIG_EXTRA=m\nCONFIG_PPC_4K_PAGES=y\n\n# CONFIG_OPAL_CORE is not set\nCONFIG_LOCALVERSION="-x"\n'
    kernel = build_tree(tree, fragment(tmp_path, mine), "64K")
    assert kernel.page_size == "4K"
    configured = kernel.config.read_text().splitlines()
    assert {"CONFIG_EXTRA=m", "CONFIG_PPC_4K_PAGES=y", 'CONFIG_LOCALVERSION="-x"', "CONFIG_FA_DUMP=y"} < {*configured}
    assert not {"CONFIG_PPC_64K_PAGES=y", "CONFIG_OPAL_CORE=y", 'CONFIG_LOCALVERSION="-fadump"'} & {*configured}


def test_a_kernel_without_modules_has_none_of_an_earlier_build(tree, tmp_path):
    modules = build_tree(tree, None, "64K").modules
    assert build_tree(tree, fragment(tmp_path, "CONFIG_MODULES=n\n"), "64K").modules is None
    assert not modules.exists()


def test_options_that_a_tree_drops_are_named(tree, tmp_path):
    done = command("--source", tree, "--config", fragment(tmp_path, "CONFIG_EXTRA=y\nCONFIG_UNKNOWN=y\n"))
    assert done.returncode == 125
    assert done.stderr == (
        f"fadump: Linux in {tree} can't be configured with CONFIG_UNKNOWN=y (it has n): it has no such option, or one "
        "that this depends on or excludes is set otherwise\n"
    )


def test_options_that_fadump_needs_and_a_tree_drops_are_named(tree):
    (tree / "Makefile").write_text(MAKEFILE.replace("CONFIG_UNKNOWN=y", "CONFIG_CMA=y -e CONFIG_MODULES=y"))
    with pytest.raises(SetupError, match=r"can't be configured with CMA, MODULES, which FADump, its guest or a dist"):
        build_tree(tree, None, "64K")


def test_a_build_that_fails_is_one_sentence(tree):
    (tree / "Makefile").write_text(
        MAKEFILE.replace("\t$(CROSS", "\t@echo 'main.c:1: error: no luck'; false\n\t$(CROSS")
    )
    done = command("--source", tree)
    assert done.returncode == 125
    assert f"fadump: building Linux in {tree} failed with exit status 2: main.c:1: error: no luck" in done.stderr


@pytest.mark.parametrize(
    ("recipe", "options", "error"),
    [
        ("echo 'main.c:1: error: no luck'; false", [], "building Linux in {tree} failed with exit status 2: main.c:1"),
        (
            "exec tail -f /dev/null",
            ["--timeout", "3"],
            "Linux has not come to its console, so it could not be tried: not done within the 3 seconds of --timeout",
        ),
    ],
    ids=["fails", "takes too long"],
)
def test_a_run_of_a_tree_whose_build_fails_or_takes_too_long_is_no_verdict(tree, tmp_path, recipe, options, error):
    (tree / "Makefile").write_text(MAKEFILE.replace("\t$(CROSS", f"\t@{recipe}\n\t$(CROSS"))
    words = ["run", "--machine", "qemu", "--source", tree, "--out", tmp_path / "out", "--json", *options]
    done = subprocess.run([*FADUMP, *map(str, words)], capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["phase"]) == (125, "power_on")
    assert told["error"].startswith(error.format(tree=tree))
    assert not (tmp_path / "out").exists()
    running = subprocess.run(["pgrep", "-f", str(tree)], capture_output=True, text=True, check=False)
    assert running.stdout == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("CONFIG_A=y\nFA_DUMP=y\n", "line 2: 'FA_DUMP=y' sets no option: write it as CONFIG_NAME=y"),
        ("CONFIG_A=\n", "line 1: 'CONFIG_A=' sets no option"),
    ],
)
def test_a_fragment_that_is_none_is_refused(tree, tmp_path, text, what):
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path}/mine.config, {what}")):
        build_tree(tree, fragment(tmp_path, text), "64K")


def test_a_fragment_that_is_no_text_or_not_there_is_refused(tree, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=f"--config {tmp_path}/binary is no text: give a kernel's options, as CONFIG_"):
        build_tree(tree, tmp_path / "binary", "64K")
    with pytest.raises(SetupError, match=f"--config {tmp_path}/nowhere can't be read: "):
        build_tree(tree, tmp_path / "nowhere", "64K")


def test_a_fragment_without_end_is_refused(tree, tmp_path):
    with pytest.raises(SetupError, match="--config /dev/zero is no file: give a file"):
        build_tree(tree, Path("/dev/zero"), "64K")
    large = tmp_path / "large"
    large.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(UsageError, match=f"--config {large} has more than 1 MiB: give a kernel's options"):
        build_tree(tree, large, "64K")


def test_what_is_no_linux_is_refused(tree, tmp_path):
    for path, kind, sentence in (
        (tmp_path / "nowhere", SetupError, f"--source {tmp_path}/nowhere can't be read: No such file"),
        (tree / "Makefile", SetupError, f"--source {tree}/Makefile is not a directory"),
        (tree / "init", UsageError, f"--source {tree}/init has no Makefile: give the top directory of a Linux source"),
    ):
        with pytest.raises(kind, match=f"^{re.escape(sentence)}"):
            build_tree(path, None, "64K")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--source", ".", "--version", "6.12"], "--version is Debian's source, and --source a tree of yours"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, sentence):
    done = command(*options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fadump: {sentence}")
