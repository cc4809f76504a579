"""``fadump image`` from the command to the cache, with an archive made here; only the machine is a stand-in.

tests/real_linux/whole_systems builds a real image. Here a script takes QEMU's place, and says what ``data/install``
would: what is tested is what lies around it.
"""

import re
import subprocess
from dataclasses import replace

import pytest

from fadump import progress
from fadump.errors import SetupError, UsageError
from fadump.kit import debian
from fadump.systems import debian_image_install, image
from fadump.systems.image import build_image, list_images
from tests.kit.conftest import is_alive
from tests.systems.image.parts import FAILING, content, left_in, thing

pytestmark = pytest.mark.usefixtures("cache")


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
