"""``fadump image`` from the command to the cache, with an archive made here; only the machine is a stand-in.

tests/real_linux/whole_systems builds a real image. Here a script takes QEMU's place, and says what ``data/install``
would: what is tested is what lies around it.
"""

import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fadump import progress
from fadump.cli import main
from fadump.errors import FadumpError, SetupError, UsageError
from fadump.kit import debian
from fadump.kit.kernel import Kernel
from fadump.kit.packages import require
from fadump.systems import debian_image_install, debian_image_packages, image
from fadump.systems.debian_image_packages import Added
from fadump.systems.image import build_image, list_images
from tests.kit.conftest import is_alive, make_deb, wait_until

WHOLE = """\
echo 'fadump-install: step prepare'
echo 'fadump-install: step configure'
echo 'Setting up thing (1-1) ...'
echo 'fadump-install: step kernel'
echo 'fadump-install: step system'
echo 'fadump-install: done'
"""
FAILING = """\
echo 'fadump-install: step configure'
echo 'Setting up thing (1-1) ...'
echo 'dpkg: error processing package thing (--configure):'
"""


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True, scope="module")
def tools():
    require("running the tests", {"debugfs": "e2fsprogs"})


@pytest.fixture
def archive(archive, monkeypatch):
    """The archive, of which an image has "thing" and what that depends on."""
    monkeypatch.setattr(debian_image_packages, "WANTED", ("?essential", "thing"))
    return archive


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Puts a script in QEMU's place."""

    def put(script=WHOLE):
        program = tmp_path / "bin" / "qemu-system-ppc64"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{tmp_path}/arguments\n{script}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    put()
    return put


@pytest.fixture
def kernel(tmp_path):
    """A kernel that is only files."""
    directory = tmp_path / "kernel"
    directory.mkdir()
    for name in ("vmlinux", "vmlinux.stripped", "config"):
        (directory / name).write_text(f"{name}\n")
    modules = directory / "modules/lib/modules/9.9.1-fadump"
    modules.mkdir(parents=True, mode=0o700)
    (modules / "thing.ko").write_text("module\n")
    (directory / "config").write_text("".join(f"CONFIG_{option}=y\n" for option in image.NEEDED_OPTIONS))
    return Kernel(
        release="9.9.1-fadump",
        series="9.9",
        page_size="64K",
        bootable=directory / "vmlinux.stripped",
        vmlinux=directory / "vmlinux",
        config=directory / "config",
        modules=directory / "modules",
        debian_version="9.9.1-1",
        compiler="gcc",
        fragment_sha256="0",
        build_seconds=1.0,
    )


@pytest.fixture
def command(kernel, monkeypatch):
    """Starts ``fadump image`` in a process that sees what this one does."""
    monkeypatch.setattr("fadump.cli.image.build_kernel", lambda *_: kernel)

    started = []

    def start(*words):
        process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main(["image", *words])))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def thing(directory, version="1-1", depends=""):
    return make_deb(directory, "thing", version, "ppc64el", {"usr/bin/thing": b"ELF"}, depends=depends)


def content(image, name):
    """A file in an image."""
    command = ["debugfs", "-R", f"cat {name}", f"{image.path}?offset=9437184"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def left_in(cache):
    return sorted(path.name for path in (cache / "images").iterdir())


def test_an_image_is_built_listed_and_found_again_without_the_archive(archive, machine, kernel, tmp_path, monkeypatch):
    assert list_images() == []
    archive.publish("trixie", thing(tmp_path))
    built = build_image(kernel)
    assert (built.suite, built.release, built.page_size, built.packages) == (
        *("trixie", "9.9.1-fadump", "64K"),
        {"thing": "1-1"},
    )
    assert built.command_line == "console=hvc0 fadump=on crashkernel=512M"
    assert content(built, "/usr/bin/thing") == "ELF"
    assert content(built, "/boot/vmlinux-9.9.1-fadump") == "vmlinux.stripped\n"
    assert content(built, "/usr/lib/modules/9.9.1-fadump/thing.ko") == "module\n"
    assert "command_line='console=hvc0 fadump=on crashkernel=512M'\n" in content(built, "/fadump/settings")
    assert built.path.stat().st_size == 3 << 30
    assert built.path.stat().st_mode & 0o777 == 0o600
    assert list_images() == [built]
    monkeypatch.setattr(debian, "find_debian_source", lambda: pytest.fail("asked the archive"))
    machine("exit 1")
    assert build_image(kernel) == built


def test_the_machine_boots_the_kernel_from_the_disk_that_is_kept(archive, machine, kernel, tmp_path):
    archive.publish("trixie", thing(tmp_path))
    build_image(kernel)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[arguments.index("-kernel") + 1] == str(kernel.bootable)
    assert "root=/dev/vda2 rw init=/fadump/install" in arguments[arguments.index("-append") + 1]


def test_a_kernel_without_modules_has_a_place_for_them(archive, machine, kernel, tmp_path):
    archive.publish("trixie", thing(tmp_path))
    built = build_image(replace(kernel, modules=None))
    command = ["debugfs", "-R", "stat /usr/lib/modules/9.9.1-fadump", f"{built.path}?offset=9437184"]
    assert "Type: directory" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("change", ["kernel", "command line", "recipe", "packages"])
def test_what_an_image_is_made_from_names_it(archive, machine, kernel, tmp_path, monkeypatch, change):
    archive.publish("trixie", thing(tmp_path))
    archive.publish("bookworm", thing(tmp_path, "2-1"))
    first = build_image(kernel)
    options = {}
    match change:
        case "kernel":
            kernel.bootable.write_text("another\n")
        case "command line":
            options = {"crashkernel": "1G"}
        case "recipe":
            monkeypatch.setattr(image, "_RECIPE", image._RECIPE + 1)
        case "packages":
            options = {"suites": ["bookworm"]}
    second = build_image(kernel, **options)
    assert second.key != first.key
    assert sorted(list_images(), key=lambda each: each.key) == sorted([first, second], key=lambda each: each.key)


def test_a_suite_that_is_not_whole_is_named_and_the_next_one_taken(archive, machine, kernel, tmp_path, capsys):
    archive.publish("trixie", thing(tmp_path, "3-1"))
    (archive.root / "pool/thing_3-1_ppc64el.deb").unlink()
    archive.publish("bookworm", thing(tmp_path))
    assert build_image(kernel).suite == "bookworm"
    told = capsys.readouterr().err
    assert "Debian trixie can't be taken: fetching 1 package from file:" in told
    assert build_image(kernel).suite == "bookworm"  # and it is not asked again
    assert "trixie" not in capsys.readouterr().err


def test_no_suite_at_all_is_told_in_one_sentence(archive, machine, kernel, cache):
    with pytest.raises(SetupError, match="no suite of Debian has all that an image needs; trixie: reading") as caught:
        build_image(kernel)
    assert "\n" not in str(caught.value)
    assert not (cache / "images").exists()


def test_newer_packages_are_taken_when_they_are_asked_for(archive, machine, kernel, tmp_path):
    archive.publish("trixie", thing(tmp_path))
    first = build_image(kernel)
    archive.publish("trixie", thing(tmp_path, "1-2"))
    assert build_image(kernel) == first
    assert build_image(kernel, update=True).packages == {"thing": "1-2"}
    assert build_image(kernel).packages == {"thing": "1-2"}


def test_a_package_is_added_with_what_it_depends_on(archive, machine, kernel, tmp_path, cache, monkeypatch):
    library = make_deb(tmp_path, "library", "7", "all", {"usr/lib/library": b"text"})
    archive.publish("trixie", thing(tmp_path), library, make_deb(tmp_path, "tool", "5", "all", {}, depends="library"))
    plain = build_image(kernel)
    built = build_image(kernel, added=Added.of(["tool"]))
    assert (built.packages, built.added) == ({"library": "7", "thing": "1-1", "tool": "5"}, ["tool"])
    assert content(built, "/usr/lib/library") == "text"
    assert plain.added == []
    monkeypatch.setattr(debian, "find_debian_source", lambda: pytest.fail("asked the archive"))
    assert build_image(kernel, added=Added.of(["tool"])) == built
    assert build_image(kernel) == plain


def test_a_package_of_ones_own_is_added_from_its_file(archive, machine, kernel, tmp_path, monkeypatch):
    library = make_deb(tmp_path, "library", "7", "all", {"usr/lib/library": b"text"})
    archive.publish("trixie", thing(tmp_path), library)

    def mine(content):
        made = make_deb(tmp_path / content, "mine", "1:2-1", "all", {"usr/share/mine": content.encode()}, "library")
        return str(made.rename(tmp_path / "any name.deb"))

    first = build_image(kernel, added=Added.of([mine("first")]))
    assert (first.packages, first.added) == ({"library": "7", "mine": "1:2-1", "thing": "1-1"}, ["mine"])
    assert content(first, "/usr/share/mine") == "first"
    second = build_image(kernel, added=Added.of([mine("second")]))
    assert content(second, "/usr/share/mine") == "second"
    monkeypatch.setattr(debian, "find_debian_source", lambda: pytest.fail("asked the archive"))
    assert build_image(kernel, added=Added.of([str(tmp_path / "any name.deb")])) == second


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("kernel-", "'kernel-' is no Debian package's name; a file's ends in .deb"),
        ("-o", "'-o' is no Debian package's name; a file's ends in .deb"),
        ("nowhere.deb", "nowhere.deb, to be added to the image, isn't there"),
        ("./text.deb", "text.deb is no Debian package: "),
        ("./other_1_amd64.deb", "other_1_amd64.deb is a package for amd64, and the image is for ppc64el"),
        ("odd.deb", "odd.deb is no Debian package: its architecture is '../up'"),
        ("none.deb", "none.deb is no Debian package: its architecture is ''"),
        ("long.deb", r"long.deb is no Debian package: its architecture is 'all\n more'"),
        ("nameless.deb", "invalid package name"),
    ],
)
def test_what_can_not_be_added_is_refused_in_one_sentence(tmp_path, monkeypatch, word, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.deb").write_text("text")
    make_deb(tmp_path, "other", "1", "amd64", {})
    known = (tmp_path / "other_1_amd64.deb").read_bytes()
    for name, field in (
        ("odd", b"Architecture: ../up"),
        ("none", b"Other: amd64"),
        ("long", b"Architecture: all\n more"),
    ):
        with_control(tmp_path / f"{name}.deb", known, b"Architecture: amd64", field)
    with_control(tmp_path / "nameless.deb", known, b"Package: other", b"Package: ../other")
    with pytest.raises(FadumpError, match=re.escape(sentence)) as caught:
        Added.of([word])
    assert "\n" not in str(caught.value)


def with_control(path, deb, old, new):
    """Write a package whose control file is another one."""
    shown = subprocess.run(["dpkg-deb", "--ctrl-tarfile", "/dev/stdin"], input=deb, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(shown.stdout)) as tar:
        text = tar.extractfile("./control").read().replace(old, new)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("./control")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    directory = path.with_suffix(".parts")
    directory.mkdir()
    (directory / "debian-binary").write_text("2.0\n")
    (directory / "control.tar").write_bytes(stream.getvalue())
    (directory / "data.tar").write_bytes(b"")
    subprocess.run(["ar", "rcS", path, "debian-binary", "control.tar", "data.tar"], cwd=directory, check=True)


def test_a_package_is_added_once(tmp_path):
    first, second = make_deb(tmp_path, "mine", "1", "all", {}), make_deb(tmp_path, "mine", "2", "all", {})
    for words in ([str(first), str(second)], ["mine", str(first)]):
        with pytest.raises(UsageError, match="the package mine is to be added 2 times: give it once"):
            Added.of(words)
    assert Added.of([str(first), str(first), "other", "other"]).packages == ["mine", "other"]


def test_a_name_is_no_regular_expression(archive, machine, kernel, tmp_path):
    archive.publish("trixie", thing(tmp_path), make_deb(tmp_path, "tool1", "5", "all", {}))
    with pytest.raises(SetupError, match=r"Debian trixie has no package to\.l1 for ppc64el"):
        build_image(kernel, suites=["trixie"], added=Added.of(["to.l1"]))


def test_what_does_not_fit_together_is_named(archive, machine, kernel, tmp_path):
    archive.publish("trixie", thing(tmp_path))
    mine = make_deb(tmp_path, "mine", "1", "all", {}, fields="Conflicts: thing\n")
    with pytest.raises(SetupError, match="mine : Conflicts: thing but 1-1 is to be installed"):
        build_image(kernel, suites=["trixie"], added=Added.of([str(mine)]))


def test_an_added_package_that_no_suite_has_is_named(archive, machine, kernel, tmp_path, capsys):
    built = thing(tmp_path)
    archive.publish("trixie", built)
    with pytest.raises(SetupError) as raised:
        build_image(kernel, suites=["trixie"], added=Added.of(["nonesuch"]))
    assert str(raised.value) == "Debian trixie has no package nonesuch for ppc64el: see how its name is written"
    archive.publish("forky", built)
    with pytest.raises(SetupError) as raised:
        build_image(kernel, suites=["trixie", "forky"], added=Added.of(["nonesuch"]))
    assert str(raised.value) == (
        "Debian trixie has no package nonesuch for ppc64el, nor has forky: see how its name is written"
    )
    assert not re.search("can't be taken|Unable to locate", capsys.readouterr().err)


def test_an_added_package_is_taken_from_the_suite_that_has_it(archive, machine, kernel, tmp_path, capsys):
    built = thing(tmp_path)
    archive.publish("trixie", built)
    archive.publish("forky", built, make_deb(tmp_path, "newer", "1", "all", {}))
    assert build_image(kernel, suites=["trixie", "forky"], added=Added.of(["newer"])).suite == "forky"
    assert "Debian trixie has no package newer for ppc64el: taking forky\n" in capsys.readouterr().err


def test_a_package_that_has_changed_in_the_cache_is_fetched_again(archive, machine, kernel, tmp_path, cache):
    archive.publish("trixie", thing(tmp_path))
    first = build_image(kernel)
    (kept,) = (cache / "debian/trixie").glob("*.deb")
    kept.write_bytes(b"damaged")
    assert build_image(kernel) == first
    assert kept.read_bytes() == (archive.root / "pool/thing_1-1_ppc64el.deb").read_bytes()


def test_a_step_that_fails_is_told_and_leaves_nothing(archive, machine, kernel, tmp_path, cache):
    archive.publish("trixie", thing(tmp_path))
    machine(FAILING)
    with pytest.raises(
        SetupError, match=r"installing Debian failed \(configure\): dpkg: error processing.*; the log is"
    ):
        build_image(kernel)
    assert left_in(cache) == []


def test_packages_are_counted_as_they_are_configured(archive, machine, kernel, tmp_path, monkeypatch, capsys):
    archive.publish("trixie", thing(tmp_path))
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_SECONDS", 0)
    machine(f"echo 'Setting up nothing yet'\n{FAILING}")
    with pytest.raises(SetupError):
        build_image(kernel)
    assert re.search(r": 1 of 1 packages, ", capsys.readouterr().err)


def test_a_machine_that_falls_silent_is_ended(archive, machine, kernel, tmp_path, monkeypatch, cache):
    archive.publish("trixie", thing(tmp_path))
    machine(f"echo 'fadump-install: step configure'\necho $$ >{tmp_path}/pid\nexec sleep 1000")
    monkeypatch.setattr(debian_image_install, "SILENCE_SECONDS", 1.0)
    with pytest.raises(
        SetupError, match="installing Debian failed .configure.: it has said nothing for 1 seconds; the log"
    ):
        build_image(kernel)
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert left_in(cache) == []


def test_a_disk_without_room_is_told_before_anything_is_fetched(archive, machine, kernel, monkeypatch, cache):
    monkeypatch.setattr(image, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(SetupError, match=rf"needs 1099511627776 MiB in {cache}, which has \d+ MiB free: make room"):
        build_image(kernel)
    assert not (cache / "apt").exists()


def test_a_kernel_that_systemd_cannot_start_on_is_refused(kernel, cache):
    kernel.config.write_text(kernel.config.read_text().replace("CONFIG_CGROUPS=y", "# CONFIG_CGROUPS is not set"))
    with pytest.raises(SetupError, match=r"Linux 9.9.1-fadump, 64K pages, can't .* its configuration lacks CGROUPS: "):
        build_image(kernel)
    assert not (cache / "apt").exists()


def test_a_crashkernel_that_fadump_does_not_take_is_refused(kernel):
    with pytest.raises(UsageError, match=r"crashkernel=100M: '100M' is too little: FADump on pseries takes 320M or "):
        build_image(kernel, crashkernel="100M")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_process_and_no_image(
    archive, machine, kernel, tmp_path, cache, command, number
):
    archive.publish("trixie", thing(tmp_path))
    pid_file = tmp_path / "pid"
    machine(
        f"echo 'fadump-install: step configure'\necho $$ >{pid_file}.new; mv {pid_file}.new {pid_file}\nexec sleep 1000"
    )
    building = command("build")
    pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text()))
    os.kill(building.pid, number)
    building.join()
    assert building.exitcode == (-number if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not is_alive(pid))
    assert list_images() == []
    machine()
    again = command("build")
    again.join()
    assert again.exitcode == 0
    assert left_in(cache) == [list_images()[0].path.parent.name]


def test_the_command_answers_with_json(archive, machine, kernel, tmp_path, command, capfd):
    archive.publish("trixie", thing(tmp_path))
    command("build", "--json").join()
    built = json.loads(capfd.readouterr().out)
    assert (built["result"], built["suite"], built["size_bytes"]) == ("done", "trixie", 3 << 30)
    directory = Path(built["path"]).parent
    assert (built["name"], built["release"], built["page_size"]) == (directory.name, "9.9.1-fadump", "64K")
    du = subprocess.run(["du", "--block-size=1", built["path"]], check=True, capture_output=True, text=True)
    assert built["disk_bytes"] == int(du.stdout.split()[0]) < built["size_bytes"]
    assert json.loads(Path(built["facts"]).read_text())["packages"] == {"thing": "1-1"}
    command("list", "--json").join()
    (listed,) = json.loads(capfd.readouterr().out)["images"]
    assert {"result": "done"} | listed == built


def test_an_image_is_listed_with_its_size_and_date(archive, machine, kernel, tmp_path, command, capfd):
    archive.publish("trixie", thing(tmp_path))
    built = build_image(kernel)
    os.utime(built.facts, (0, 1795953725))
    os.truncate(built.path, 0)
    with built.path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 5 << 19)
    command("list").join()
    assert capfd.readouterr().out == (
        f"{built.name}  trixie  9.9.1-fadump  64K  2.5 MiB  2026-11-29 12:02  {built.path}\n"
    )
    command("list", "--json").join()
    (listed,) = json.loads(capfd.readouterr().out)["images"]
    assert listed["built"] == "2026-11-29T12:02:05+00:00"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--crashkernel", "1X"], "--crashkernel '1X' is not a size; write it as 2G or 0x80000000"),
        (["--crashkernel", "100M"], "--crashkernel '100M' is too little: FADump on pseries takes 320M or more"),
        (["--suite", "trixe"], "--suite trixe: choose trixie, forky or bookworm; did you mean trixie?"),
        (["--page-size", "8K"], "--page-size 8K: choose 64K or 4K; did you mean 4K?"),
    ],
)
def test_a_wrong_option_is_said_before_a_kernel_is_built(command, monkeypatch, capfd, options, sentence):
    monkeypatch.setattr("fadump.cli.image.build_kernel", lambda *_: pytest.fail("built a kernel"))
    building = command("build", *options)
    building.join()
    assert building.exitcode == 2
    assert capfd.readouterr() == ("", f"fadump image build: {sentence}\n")


def test_the_command_says_what_an_image_lacks_and_ends_with_125(archive, machine, kernel, command, capfd):
    building = command("build", "--json")
    building.join()
    answer = json.loads(capfd.readouterr().out)
    assert building.exitcode == 125
    assert answer["result"] == "failed"
    assert answer["error"].startswith("no suite of Debian has all that an image needs; trixie: ")
