"""``fadump kernel`` from the command to the cache, with a "Linux" that is only a Makefile, and all else real."""

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fadump import progress
from fadump.errors import SetupError, UsageError
from fadump.kit import kernel as kernel_module
from fadump.kit import kernel_build
from fadump.kit.kernel import Kernel, build_kernel, find_kernel, list_kernels, newest_series
from fadump.kit.kernel_config import NEEDED_OPTIONS, configuration_fragment, preserve_options
from fadump.kit.private_apt import PackageMissingError
from tests.kit.conftest import into_cache, is_alive, make_deb, make_source_deb, out_of_cache, wait_until

COMMAND = [sys.executable, "-m", "fadump", "kernel"]

# What make does in a kernel's tree, as far as a build can see: options that nobody knows are dropped, steps are
# printed, vmlinux is an object file of the target.
MAKEFILE = """\
allnoconfig:
\tgrep -v -x -e CONFIG_UNKNOWN=y $(KCONFIG_ALLCONFIG) >.config
\techo 'CONFIG_CC_VERSION_TEXT="$(ARCH) gcc 12"' >>.config
vmlinux:
\t@echo "  CC      init/main.o"
\t@echo "builder $$(id -u) in $$PWD with [$$MAKEFLAGS$$ENVIRONMENT]"
\t@mkdir -p include/config; echo 9.9.1-fadump >include/config/kernel.release
\t{during}
\t$(CROSS_COMPILE)ld -r -b binary -o $@ Makefile
modules: vmlinux
\t@echo "  CC [M]  fs/fat.o"
\tcp vmlinux fat.ko
modules_install:
\ttest $(INSTALL_MOD_STRIP) = 1
\tmkdir -p $(INSTALL_MOD_PATH)/lib/modules/9.9.1-fadump/kernel/fs
\tcp fat.ko $(INSTALL_MOD_PATH)/lib/modules/9.9.1-fadump/kernel/fs
\tln -s $$PWD $(INSTALL_MOD_PATH)/lib/modules/9.9.1-fadump/build
\techo kernel/fs/fat.ko: >$(INSTALL_MOD_PATH)/lib/modules/9.9.1-fadump/modules.dep
"""


@pytest.fixture
def linux(cache, tmp_path):
    """Puts the source of a Linux 9.9 into the cache, whose build does ``during`` in the middle."""

    def put(during="true", makefile=MAKEFILE):
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        into_cache(cache, make_source_deb(directory, "9.9", makefile.format(during=during)))

    return put


@pytest.fixture
def log(cache):
    """The build's log."""
    return cache / "logs" / f"{kernel_module._entry('9.9', '64K', {}).name}.log"


def start(*options):
    return subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command(*options):
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)


def build_directory(log):
    return Path(re.search(r"builder \d+ in (\S+)", log.read_text())[1])


def entries(cache):
    directory = cache / "kernels"
    return list(directory.iterdir()) if directory.exists() else []


def test_a_kernel_is_built_listed_and_found_again(linux, log, monkeypatch):
    assert command("list").stdout == ""
    assert json.loads(command("list", "--json").stdout) == {"result": "done", "kernels": []}
    linux()
    monkeypatch.setenv("MAKEFLAGS", "k")
    monkeypatch.setenv("ENVIRONMENT", "outside")
    built = command("build", "--version", "9.9", "--json")
    assert built.returncode == 0, built.stderr
    about = json.loads(built.stdout)
    assert about.pop("result") == "done"
    assert (about["release"], about["series"], about["page_size"]) == ("9.9.1-fadump", "9.9", "64K")
    assert (about["debian_version"], about["compiler"]) == ("9.9.1-1", "powerpc gcc 12")
    assert "Building Linux 9.9 with 64K pages: done in " in built.stderr
    elf = [Path(about[name]).read_bytes()[:6] for name in ("vmlinux", "bootable")]
    assert elf == [b"\x7fELF\x02\x01"] * 2
    assert "CONFIG_FA_DUMP=y" in Path(about["config"]).read_text().splitlines()
    assert "outside" not in log.read_text()
    assert not build_directory(log).exists()
    modules = Path(about["modules"])
    files = sorted(str(path.relative_to(modules)) for path in modules.rglob("*") if not path.is_dir())
    of_this_kernel = "lib/modules/9.9.1-fadump"
    assert files == [f"{of_this_kernel}/kernel/fs/fat.ko", f"{of_this_kernel}/modules.dep"]

    listed = command("list").stdout
    assert listed == f"9.9.1-fadump  64K  current  {about['bootable']}\n"
    assert json.loads(command("list", "--json").stdout) == {"result": "done", "kernels": [about]}
    again = command("build", "--version", "9.9")
    assert (again.returncode, again.stdout, again.stderr) == (0, listed, "")


def test_the_files_are_private_and_the_build_is_not_roots(linux, log, cache):
    linux()
    kernel = build_kernel("9.9")
    files = [path for path in kernel.bootable.parent.rglob("*") if not path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert kernel.bootable.parent.stat().st_mode & 0o777 == 0o700
    builder = int(re.search(r"builder (\d+)", log.read_text())[1])
    assert builder == (os.getuid() or pwd.getpwnam("nobody").pw_uid)


def test_the_steps_of_make_are_counted(linux, log, monkeypatch, capsys):
    linux()
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_SECONDS", 0)
    build_kernel("9.9")
    assert "Building Linux 9.9 with 64K pages: 2 of 2070 steps, " in capsys.readouterr().err


def test_both_page_sizes_stand_side_by_side(linux):
    linux()
    small, large = build_kernel("9.9", "4K"), build_kernel("9.9", "64K")
    assert "CONFIG_PPC_4K_PAGES=y" in small.config.read_text()
    assert "CONFIG_PPC_64K_PAGES=y" in large.config.read_text()
    assert list_kernels() == [small, large]
    assert find_kernel("9.9", "4K") == small


def test_options_on_top_of_ours_make_another_kernel_which_is_found_again(linux, log, tmp_path):
    linux()
    ours = build_kernel("9.9")
    fragment = tmp_path / "mine.config"
    fragment.write_text("CONFIG_NR_CPUS=2048\nCONFIG_PPC_4K_PAGES=y\nCONFIG_CPU_BIG_ENDIAN=y\nCONFIG_BTRFS_FS=y\n")
    build = ("build", "--version", "9.9", "--config", str(fragment), "--json")
    done = command(*build)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["page_size"] == "4K"
    configured = Path(about["config"]).read_text().splitlines()
    assert {"CONFIG_NR_CPUS=2048", "CONFIG_PPC_4K_PAGES=y", "CONFIG_CPU_BIG_ENDIAN=y", "CONFIG_CMA=y"} < {*configured}
    assert not {"CONFIG_NR_CPUS=64", "CONFIG_PPC_64K_PAGES=y", "CONFIG_CPU_LITTLE_ENDIAN=y"} & {*configured}
    fragment.write_text("\n".join(sorted(fragment.read_text().splitlines())))
    again = command(*build)
    assert again.stdout == done.stdout and "Building" not in again.stderr
    fragment.write_text("CONFIG_NR_CPUS=512\n")
    other = json.loads(command(*build).stdout)
    assert len({about["bootable"], other["bootable"], str(ours.bootable)}) == 3
    assert (ours.state, about["state"], other["state"]) == ("current",) * 3
    assert other["options"] == {"NR_CPUS": "512"}
    assert find_kernel("9.9") == ours
    assert {line.split("  ")[2] for line in command("list").stdout.splitlines()} == {
        "current", "current with CONFIG_NR_CPUS=512", "current with CONFIG_NR_CPUS=2048 (and 3 more)",
    }  # fmt: skip


def test_a_kernel_that_only_preserves_dumps_is_another_one_and_takes_a_users_options_too(linux, tmp_path):
    linux()
    build = ("build", "--version", "9.9", "--preserve", "--json")
    done = command(*build)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    configured = {*Path(about["config"]).read_text().splitlines()}
    assert {"CONFIG_PRESERVE_FA_DUMP=y", "CONFIG_FA_DUMP=n", "CONFIG_PPC_POWERNV=y", "CONFIG_KEXEC_FILE=y"} < configured
    assert find_kernel("9.9") is None and find_kernel("9.9", options=preserve_options()).config == Path(about["config"])
    (tmp_path / "mine.config").write_text("CONFIG_NR_CPUS=512\n")
    other = json.loads(command(*build, "--config", str(tmp_path / "mine.config")).stdout)
    assert other["options"] == about["options"] | {"NR_CPUS": "512"}
    refused = command("build", "--source", str(tmp_path), "--preserve")
    assert refused.returncode == 2 and "--preserve goes with Debian's source, not with a --source" in refused.stderr


def test_an_option_on_top_of_ours_that_a_linux_drops_is_named(linux, tmp_path, cache):
    linux()
    (tmp_path / "mine.config").write_text("CONFIG_UNKNOWN=y\n")
    failed = command("build", "--version", "9.9", "--config", str(tmp_path / "mine.config"))
    assert failed.returncode == 125
    assert "fadump: Linux 9.9 can't be configured with CONFIG_UNKNOWN=y (it has n): it has no such" in failed.stderr
    assert entries(cache) == []


def test_another_fragment_is_another_kernel_and_the_old_one_stays(linux, monkeypatch):
    linux()
    old = build_kernel("9.9")
    monkeypatch.setattr(kernel_module, "configuration_fragment", "CONFIG_{}=y".format)
    assert find_kernel("9.9") is None
    assert list_kernels() == [old]
    new = build_kernel("9.9")
    assert [kernel.state for kernel in (old, new)] == ["outdated", "current"]
    assert [kernel["state"] for kernel in map(Kernel.as_json, list_kernels())].count("outdated") == 1


def test_the_default_kernel_is_listed_as_that(linux, monkeypatch):
    monkeypatch.setattr(kernel_module, "DEFAULT_SERIES", "9.9")
    linux()
    assert [build_kernel("9.9", page_size).state for page_size in ("64K", "4K")] == ["default", "current"]


@pytest.mark.parametrize("series", ["5.0", "6.1"])
def test_a_series_that_debian_does_not_have_is_told_with_those_that_it_has(archive, tmp_path, monkeypatch, series):
    monkeypatch.setattr(kernel_module, "native_architecture", lambda: "ppc64el")
    others = [make_source_deb(tmp_path, name, "") for name in ("6.12", "6.9")]
    archive.publish("trixie", *others, make_deb(tmp_path, "linux-source", "1", "all", {}))
    archive.publish("bookworm", make_source_deb(tmp_path, "5.10", ""))
    with pytest.raises(UsageError) as caught:
        build_kernel(series)
    assert str(caught.value) == f"Debian has no source of Linux {series}, but of 5.10, 6.9, 6.12"


def test_an_archive_without_any_source_is_told(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_module, "native_architecture", lambda: "ppc64el")
    archive.publish("trixie", make_deb(tmp_path, "thing", "1", "all", {}))
    with pytest.raises(PackageMissingError, match=r"has no linux-source-9\.9 for ppc64el"):
        build_kernel("9.9")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(linux, log, cache, number):
    linux("@echo sleeper $$$$; exec sleep 1000")
    with start("build", "--version", "9.9") as building:
        wait_until(lambda: log.exists() and "sleeper" in log.read_text())
        building.send_signal(number)
        _stdout, stderr = building.communicate()
    assert building.returncode == 128 + number
    assert "Building Linux 9.9 with 64K pages: not finished after" in stderr
    assert "Traceback" not in stderr
    sleeper = int(re.search(r"sleeper (\d+)", log.read_text())[1])
    assert not is_alive(sleeper)
    assert not build_directory(log).exists()
    assert entries(cache) == []
    assert command("list").stdout == ""


def test_a_build_that_was_killed_ends_and_is_cleaned_up_by_the_next(linux, log, cache):
    linux("@echo sleeper $$$$; exec sleep 1000")
    with start("build", "--version", "9.9") as building:
        wait_until(lambda: log.exists() and "sleeper" in log.read_text())
        building.kill()
    sleeper = int(re.search(r"sleeper (\d+)", log.read_text())[1])
    abandoned = build_directory(log)
    wait_until(lambda: not is_alive(sleeper))
    out_of_cache(cache, "linux-source-9.9")
    linux()
    build_kernel("9.9")
    assert not abandoned.exists()
    assert len(entries(cache)) == 1


def test_a_failed_build_is_one_sentence_and_its_log_is_kept(linux, log, cache):
    linux("@echo 'init/main.c:1: error: no such luck'; false")
    failed = command("build", "--version", "9.9")
    assert failed.returncode == 125
    sentence = failed.stderr.splitlines()[-1]
    assert sentence.startswith(
        "fadump: building Linux 9.9 failed with exit status 2: init/main.c:1: error: no such luck"
    )
    assert sentence.endswith(f"the log is {log}")
    assert "no such luck" in log.read_text()
    assert entries(cache) == []
    assert not build_directory(log).exists()


def test_a_second_build_waits_and_takes_the_firsts_result(linux, log):
    linux("@until [ -e go ]; do sleep 0.05; done")
    with start("build", "--version", "9.9") as first:
        wait_until(lambda: log.exists() and "builder" in log.read_text())
        with start("build", "--version", "9.9") as second:
            said = second.stderr.readline()
            (build_directory(log) / "go").touch()
            results = [process.communicate()[0] for process in (first, second)]
    assert said == "Waiting for another fadump, which is building Linux 9.9 with 64K pages\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert results[0] == results[1] != ""
    assert log.read_text().count("builder") == 1


def test_options_that_a_linux_does_not_have_stop_the_build(linux, cache):
    linux(makefile=MAKEFILE.replace("CONFIG_UNKNOWN=y", "CONFIG_FA_DUMP=y -e CONFIG_CMA=y"))
    with pytest.raises(SetupError, match=r"^Linux 9\.9 can't be configured with FA_DUMP, CMA, which FADump, its gu"):
        build_kernel("9.9")
    assert entries(cache) == []


def test_every_needed_option_is_in_the_fragment():
    fragment = configuration_fragment("64K").splitlines()
    built = {f"CONFIG_{option}={how}" for option in NEEDED_OPTIONS for how in "ym"}
    assert len(built & set(fragment)) == len(NEEDED_OPTIONS)
    assert len({line.partition("=")[0] for line in fragment if line.startswith("CONFIG_")}) == sum(
        line.startswith("CONFIG_") for line in fragment
    )


def test_an_option_that_is_a_module_where_it_must_be_built_in_stops_the_build(linux, cache):
    linux(makefile=MAKEFILE.replace("vmlinux:\n", "\tsed -i s/CONFIG_CMA=y/CONFIG_CMA=m/ .config\nvmlinux:\n", 1))
    with pytest.raises(SetupError, match=r"^Linux 9\.9 can't be configured with CMA, which .* needs: build anot"):
        build_kernel("9.9")


def test_debug_information_is_turned_on_in_a_linux_whose_other_options_need_that(linux, cache):
    before_5_18 = "\tgrep -q -x CONFIG_DEBUG_INFO=y $(KCONFIG_ALLCONFIG) || sed -i /_DEBUG_INFO/d .config\nvmlinux:\n"
    linux(makefile=MAKEFILE.replace("vmlinux:\n", before_5_18, 1))
    assert "CONFIG_DEBUG_INFO_DWARF4=y" in build_kernel("9.9").config.read_text().splitlines()


def test_a_build_that_installs_no_modules_is_refused(linux, cache):
    linux(makefile=MAKEFILE.replace(">$(INSTALL_MOD_PATH)/lib/modules/9.9.1-fadump/modules.dep", ""))
    with pytest.raises(SetupError, match=r"^building Linux 9\.9 left no modules\.dep in "):
        build_kernel("9.9")
    assert entries(cache) == []


def test_a_tree_that_offers_a_link_as_its_kernel_is_refused(linux, cache):
    linux(makefile=MAKEFILE + "\tmv vmlinux real; ln -s real vmlinux\n")
    with pytest.raises(SetupError, match="left no plain file"):
        build_kernel("9.9")
    assert entries(cache) == []


def test_a_source_package_without_its_source_is_told(cache, tmp_path):
    deb = make_source_deb(tmp_path, "8.8", "")
    into_cache(cache, deb)
    (path,) = (cache / "packages").rglob("*.deb")
    (path.parent.parent / "linux-source-9.9").mkdir()
    path.rename(path.parent.parent / "linux-source-9.9" / "linux-source-9.9_1_all.deb")
    with pytest.raises(SetupError, match=r"has no usr/src/linux-source-9\.9\.tar\.xz"):
        build_kernel("9.9")


def test_a_full_disk_is_told_before_the_build(linux, monkeypatch):
    linux()
    monkeypatch.setattr(kernel_build, "NEEDED_FREE_BYTES", 1 << 60)
    with pytest.raises(SetupError, match=r"needs 1048576\.0 TiB in /.*, which has .* free: make room"):
        build_kernel("9.9")


@pytest.mark.parametrize(
    ("series", "page_size", "sentence"),
    [
        ("6.12.5", "64K", "'6.12.5' is not a Linux series: give two numbers, as in 6.12"),
        ("6.12", "16K", "'16K' is not a page size of a Linux on Power: give 64K or 4K"),
    ],
)
def test_what_is_no_version_or_page_size_is_told(series, page_size, sentence):
    with pytest.raises(UsageError) as caught:
        find_kernel(series, page_size)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("damage", ["kernel.json", "vmlinux.stripped"])
def test_a_damaged_entry_is_named(linux, damage):
    linux()
    directory = build_kernel("9.9").bootable.parent
    (directory / damage).unlink()
    with pytest.raises(
        SetupError, match=rf"the kernel in {directory} is damaged \(.*{damage}.*\): remove that directory"
    ):
        list_kernels()


def test_kernels_are_listed_by_version_not_by_letters(cache):
    for series in ("6.12", "6.1", "6.9"):
        directory = cache / "kernels" / f"linux-{series}-64K-0"
        directory.mkdir(parents=True)
        for name in ("vmlinux", "vmlinux.stripped", "config"):
            (directory / name).touch()
        about = {"release": f"{series}.1", "series": series, "page_size": "64K", "debian_version": "1"}
        about |= {"compiler": "gcc", "fragment_sha256": "0", "build_seconds": 1.0}
        (directory / "kernel.json").write_text(json.dumps(about))
    assert [(kernel.series, kernel.modules) for kernel in list_kernels()] == [
        ("6.1", None),
        ("6.9", None),
        ("6.12", None),
    ]


@pytest.mark.parametrize("options", [["--help"], ["build", "--help"], ["list", "--help"]])
def test_help_has_an_example(options):
    done = command(*options)
    assert done.returncode == 0
    assert "example:\n  fadump kernel" in done.stdout


def test_wrong_usage_is_2():
    assert command().returncode == 2
    assert command("build", "--page-size", "16K").returncode == 2
    for option in ("--version", "--kernel-version"):
        for series in ("", "6.12.5", "six", "06.12", "\uff16.\uff11"):
            done = command("build", option, series)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == f"fadump: {series!r} is not a Linux series: give two numbers, as in 6.12\n"


def test_the_newest_series_counts_numbers_not_letters(monkeypatch):
    names = ["linux-source-6.9", "linux-source-6.12", "linux-source-6.12-rt", "linux-source-x"]
    monkeypatch.setattr(kernel_module, "package_names", lambda *_: names)
    assert newest_series() == "6.12"
    monkeypatch.setattr(kernel_module, "find_kernel", lambda *words: words)
    assert build_kernel("newest") == ("6.12", "64K", {})
    monkeypatch.setattr(kernel_module, "package_names", lambda *_: ["linux-source-x"])
    with pytest.raises(SetupError, match=r"has no package linux-source-X\.Y"):
        newest_series()
