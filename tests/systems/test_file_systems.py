"""File systems in a disk image: found, and a directory copied out of one, without booting it."""

import os
import subprocess
from contextlib import ExitStack, contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fadump.errors import SetupError
from fadump.systems.file_systems import UnreadableError, check_readable, copy_directory, file_systems

MIB = 1 << 20
NO_CHECKSUMS = ["-O", "^metadata_csum"]
TABLE = "label: dos\nstart=2048, size=8192, type=41\nstart=16384, type=83\n"


def make(image, root, *, partitioned, options=()):
    with image.open("wb") as file:
        file.truncate(40 * MIB)
    offset = 0
    if partitioned:
        subprocess.run(["sfdisk", "-q", image], input=TABLE, text=True, check=True)
        offset = 16384 * 512
    options = ["-q", "-t", "ext4", *options, "-E", f"offset={offset}", "-d", root]
    subprocess.run(["mke2fs", *options, image, f"{(40 * MIB - offset) // 1024}k"], check=True)
    return image


@contextmanager
def opened(*images):
    """What lies on these images, all at once: their file systems, and why others can't be read."""
    with ExitStack() as ends:
        disks = [ends.enter_context(image.open("r+b")).fileno() for image in images]
        yield file_systems(disks, images[0].parent)


def copied(image, target, directory="/var/crash"):
    """Whether a directory was found on the image's only file system; what is beside the image is as before."""
    before = set(image.parent.iterdir())
    with opened(image) as systems:
        (found,) = [copy_directory(system, directory, target) for system in systems]
    assert set(image.parent.iterdir()) - before <= {target}
    return found


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_directory_is_copied_out_with_its_times_and_kept_private(tmp_path, root, partitioned):
    image = make(tmp_path / "disk.img", root, partitioned=partitioned)
    with opened(image) as systems:
        (kind,) = [(system.kind, system.name) for system in systems]
    assert kind == ("ext4", "partition 2 of disk 1" if partitioned else "disk 1")
    assert copied(image, tmp_path / "out")
    check_copy(tmp_path / "out")


@pytest.mark.parametrize("name", ["my dumps", "it's", 'so "called"', "a\nb", "$HOME", "back\\slash", "*", "-R", "#1"])
@pytest.mark.parametrize("file_system", ["ext4", "btrfs"])
def test_a_directory_may_have_any_name_here_and_there(tmp_path, name, file_system):
    (tmp_path / "root/var" / name).mkdir(parents=True)
    (tmp_path / "root/var" / name / "dump").write_bytes(b"text")
    (tmp_path / name).mkdir()
    if file_system == "btrfs":
        image = tmp_path / name / "disk.img"
        with image.open("wb") as file:
            file.truncate(120 * MIB)
        subprocess.run(["mkfs.btrfs", "-q", "-f", "--rootdir", tmp_path / "root", image], check=True)
    else:
        image = make(tmp_path / name / "disk.img", tmp_path / "root", partitioned=False)
    assert copied(image, tmp_path / name / "out", f"/var/{name}")
    assert (tmp_path / name / "out/dump").read_bytes() == b"text"


def check_copy(out):
    dump = out / "202611291200/dump it's"
    assert dump.read_bytes() == b"KDUMP   " * 1000
    assert dump.stat().st_mtime == 1_000_000_000
    assert dump.stat().st_mode & 0o777 == 0o600 and dump.parent.stat().st_mode & 0o777 == 0o700
    assert dump.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_system_that_was_not_shut_down_has_its_journal_replayed(tmp_path, root, partitioned):
    image = make(tmp_path / "disk.img", root, partitioned=partitioned)
    start = 16384 * 512 if partitioned else 0
    file = f"{image}?offset={start}"
    shown = subprocess.run(["debugfs", "-R", "blocks /var/crash/now", file], capture_output=True, text=True, check=True)
    block = shown.stdout.split()[0]
    (tmp_path / "later").write_bytes(b"later".ljust(1024, b"\0"))
    journal = f"jo\njw -b {block} {tmp_path / 'later'}\njc\n"
    if partitioned:  # debugfs writes a journal to a whole disk only
        whole = tmp_path / "whole.img"
        whole.write_bytes(image.read_bytes()[start:])
        subprocess.run(["debugfs", "-w", whole], input=journal, text=True, capture_output=True, check=True)
        image.write_bytes(image.read_bytes()[:start] + whole.read_bytes())
    else:
        subprocess.run(["debugfs", "-w", image], input=journal, text=True, capture_output=True, check=True)
    assert copied(image, tmp_path / "out")
    assert (tmp_path / "out/now").read_bytes() == b"later"


def test_a_directory_that_is_not_there_is_none(tmp_path, root):
    image = make(tmp_path / "disk.img", root, partitioned=False)
    assert not copied(image, tmp_path / "out", "/var/none")
    assert not copied(image, tmp_path / "out", "/var/crash/link")
    assert not (tmp_path / "out").exists()


def test_a_disk_without_a_file_system_has_none(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(MIB))
    with opened(image) as systems:
        assert list(systems) == []


def test_a_disk_with_the_marks_of_two_kinds_is_not_read_as_either(tmp_path, root):
    image, xfs = make(tmp_path / "disk.img", root, partitioned=False), tmp_path / "xfs.img"
    with xfs.open("wb") as file:
        file.truncate(XFS_BYTES)
    subprocess.run(["mkfs.xfs", "-q", xfs], check=True)
    with image.open("r+b") as file:  # whose own begins at 1024
        file.write(xfs.read_bytes()[:512])
    with opened(image) as systems:
        (found,) = map(str, systems)
    assert found.startswith("disk 1 is of several kinds at once, which can't be looked into")


@given(st.lists(st.tuples(st.integers(1024, 2 * MIB), st.binary(min_size=1, max_size=300)), min_size=1, max_size=5))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_system_ends_in_a_sentence_at_worst(tmp_path_factory, root, damage):
    directory = tmp_path_factory.mktemp("damaged")
    image = make(directory / "disk.img", root, partitioned=False)
    with image.open("r+b") as file:
        for at, junk in damage:
            file.seek(at)
            file.write(junk)
    with opened(image) as systems:
        for system in systems:
            with suppress(SetupError):
                copy_directory(system, "/var/crash", directory / "out")


def test_a_name_that_leads_out_of_the_target_does_not(tmp_path, root):
    (root / "var/crash/..XoutsideX").write_bytes(b"hostile")
    image = make(tmp_path / "disk.img", root, partitioned=False, options=NO_CHECKSUMS)
    content = image.read_bytes()
    assert b"..XoutsideX" in content
    image.write_bytes(content.replace(b"..XoutsideX", b"../outside/"))
    (tmp_path / "into").mkdir()
    (tmp_path / "into/outside").mkdir()
    assert copied(image, tmp_path / "into/out")
    assert not list((tmp_path / "into/outside").iterdir())
    assert {path.name for path in (tmp_path / "into").iterdir()} == {"outside", "out"}


def test_a_link_and_a_file_of_one_name_overwrite_nothing(tmp_path, root):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (root / "var/crash/aaaaaaaa").symlink_to(victim)
    (root / "var/crash/bbbbbbbb").write_bytes(b"hostile")
    image = make(tmp_path / "disk.img", root, partitioned=False, options=NO_CHECKSUMS)
    image.write_bytes(image.read_bytes().replace(b"bbbbbbbb", b"aaaaaaaa"))
    copied(image, tmp_path / "out")
    assert victim.read_bytes() == b"mine"


BTRFS_BYTES, XFS_BYTES = 200 * MIB, 320 * MIB


@pytest.fixture
def btrfs(tmp_path, root):
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(BTRFS_BYTES)
    subprocess.run(["mkfs.btrfs", "-q", "-f", "--rootdir", root, image], check=True, capture_output=True)
    return image


def test_btrfs_is_read_by_anybody(tmp_path, btrfs):
    assert copied(btrfs, tmp_path / "out")
    check_copy(tmp_path / "out")
    assert not (tmp_path / "out/link").exists()
    assert not copied(btrfs, tmp_path / "none", "/var/none") and not (tmp_path / "none").exists()


def test_btrfs_names_lead_nowhere_else(tmp_path, root, btrfs):
    """A name with a slash in it: no tool makes one, so a name of the same length is overwritten and summed anew."""
    (root / "var/crash/..X..X..XescapedX").write_bytes(b"hostile")
    subprocess.run(["mkfs.btrfs", "-q", "-f", "--csum", "crc32c", "--rootdir", root, btrfs], check=True)
    content = bytearray(btrfs.read_bytes())
    assert b"..X..X..XescapedX" in content
    for start in range(0, len(content), NODE_BYTES):
        node = content[start : start + NODE_BYTES]
        if b"..X..X..XescapedX" in node:
            node = node.replace(b"..X..X..XescapedX", b"../../../escapedX")
            node[:4] = crc32c(node[32:]).to_bytes(4, "little")
            content[start : start + NODE_BYTES] = node
    btrfs.write_bytes(content)
    (tmp_path / "into").mkdir()
    assert copied(btrfs, tmp_path / "into/out")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "into/out").iterdir()} == {"202611291200", "now"}


NODE_BYTES = 16384


def crc32c(data):
    """CRC-32C, as btrfs sums its nodes."""
    value = 0xFFFF_FFFF
    for byte in data:
        value ^= byte
        for _bit in range(8):
            value = value >> 1 ^ (0x82F6_3B78 if value & 1 else 0)
    return value ^ 0xFFFF_FFFF


def test_xfs_and_what_nobody_reads_are_named_with_what_to_do(tmp_path, root, monkeypatch):
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(XFS_BYTES)
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    luks = tmp_path / "luks.img"
    luks.write_bytes((b"LUKS\xba\xbe" + b"\0\2").ljust(4 * MIB, b"\0"))
    with opened(image, luks) as systems:
        assert [str(system) for system in systems] == [
            "disk 1 is xfs, which only root can look into: run this as root",
            "disk 2 is crypto_LUKS, which can't be looked into: have the system save its dumps on ext4, btrfs or XFS",
        ]
    with ExitStack() as ends:
        disks = [ends.enter_context(path.open("rb")).fileno() for path in (image, luks)]
        with pytest.raises(UnreadableError, match=r"^disk 1 is xfs, .* root; disk 2 is crypto_LUKS"):
            check_readable(disks, tmp_path)
        ext4 = make(tmp_path / "ext4.img", root, partitioned=False)
        check_readable([*disks, ends.enter_context(ext4.open("rb")).fileno()], tmp_path)
