"""A save that was interrupted is gone on with, wherever that was; what is there is compared before it is kept."""

import errno
import fcntl
import os
from contextlib import contextmanager

import pytest

from fadump.capture.files import HostFiles
from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.capture.target import SaveError
from fadump.errors import SetupError
from fadump.linux.pages.page_class import DumpLevel
from fadump.vmcore import codecs
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages
from tests.capture.saving import save_file

LEVELS = (DumpLevel(17),)
FORMS = {
    "kdump": {},
    "elf": {"format": Format.ELF},
    "split": {"split": 3},
}


class KilledError(Exception):
    """What stands for SIGKILL: nothing is done after it."""


class DyingFiles(HostFiles):
    """Dies at a call: nothing is written any more."""

    def __init__(self, calls):
        self.left = calls

    def pwrite(self, fd, data, offset):
        self._count()
        return super().pwrite(fd, data, offset)

    def fsync(self, fd):
        self._count()
        super().fsync(fd)

    def unlink(self, path):
        if self.left < 0:
            raise KilledError
        super().unlink(path)

    def rename(self, source, destination):
        self._count()
        super().rename(source, destination)

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise KilledError


def save(source, destination, files=None, **options):
    with open_dump(source) as dump:
        return save_file(dump, destination, SaveOptions(levels=LEVELS, **options), files=files or HostFiles())


@pytest.fixture
def small_checkpoints(monkeypatch):
    for writer in ("kdump_writer", "elf_writer"):
        monkeypatch.setattr(f"fadump.capture.{writer}.CHECKPOINT_BYTES", 1 << 20)


@pytest.mark.usefixtures("small_checkpoints")
@pytest.mark.parametrize("form", list(FORMS))
def test_wherever_it_died_it_is_gone_on_with(vmcore, tmp_path, form):
    once = save(vmcore, tmp_path / "once", **FORMS[form])
    kept = set()
    for calls in (3, 5, 7, 8, 10, 14, 18, 24, 32, 60):  # the log is safe by then
        out = tmp_path / f"out{calls}"
        try:
            save(vmcore, out, DyingFiles(calls), **FORMS[form])
            break
        except KilledError:
            pass
        with open_dump(vmcore) as source:
            for path in tmp_path.glob(f"out{calls}*.incomplete"):
                if path.read_bytes()[:512].strip(b"\0"):
                    with open_dump(path) as dump:
                        assert differing_pages(dump, source) == []
        saved = save(vmcore, out, continued=True, **FORMS[form])
        kept.add(saved.kept_bytes)
        assert saved.pages == once.pages
        with open_dump(saved.files) as dump, open_dump(vmcore) as source:
            assert check_dump(dump).whole and differing_pages(dump, source) == []
            assert State.MISSING not in {piece.state for memory in dump.memory for piece in dump.mapping(memory)}
        for new, old in zip(saved.files, once.files, strict=True):
            assert new.stat().st_size <= old.stat().st_size * 1.01
            new.unlink()
    assert len(kept) > 2 and min(kept) == 0


@pytest.mark.usefixtures("small_checkpoints")
@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_a_file_that_has_lost_its_head_is_written_anew(vmcore, tmp_path, form):
    with pytest.raises(KilledError):
        save(vmcore, tmp_path / "out", DyingFiles(18), **FORMS[form])
    (incomplete,) = tmp_path.glob("out*.incomplete")
    with incomplete.open("r+b") as file:
        file.write(bytes(512))
    saved = save(vmcore, tmp_path / "out", continued=True, **FORMS[form])
    assert saved.kept_bytes == 0
    with open_dump(saved.files) as dump, open_dump(vmcore) as source:
        assert check_dump(dump).whole and differing_pages(dump, source) == []


@pytest.fixture
def half_named(vmcore, tmp_path):
    """A set of three files that was killed when the first two had got their names."""

    class DiesAtTheThirdName(HostFiles):
        def rename(self, source, destination):
            if destination.name == "out.3":
                raise KilledError
            super().rename(source, destination)

    with pytest.raises(KilledError):
        save(vmcore, tmp_path / "out", DiesAtTheThirdName(), split=3)
    assert names(tmp_path) == ["out.1", "out.2", "out.3.incomplete"]
    return tmp_path / "out"


def names(directory):
    return sorted(path.name for path in directory.iterdir() if "dmesg" not in path.name)


def test_a_set_of_which_some_files_have_their_names_does_not_look_whole(vmcore, half_named):
    with open_dump([half_named.with_name("out.1"), half_named.with_name("out.2")]) as dump, open_dump(vmcore) as source:
        (damage,) = (finding.text for finding in check_dump(dump).findings if "split" in finding.text)
        assert "isn't here: name it too; if its name ends in .incomplete, go on with fadump save --continue" in damage
        assert differing_pages(dump, source) == []


def test_a_set_of_which_some_files_have_their_names_is_finished(vmcore, half_named, tmp_path):
    with pytest.raises(SetupError, match=r"out\.3\.incomplete is there from .*: go on with --continue, or remove it"):
        save(vmcore, half_named, split=3)
    saved = save(vmcore, half_named, continued=True, split=3)
    assert names(tmp_path) == ["out.1", "out.2", "out.3"]
    assert saved.kept_bytes == saved.pages.original * 4096 - sum(saved.pages.excluded.values()) * 4096
    with open_dump(saved.files) as dump, open_dump(vmcore) as source:
        assert check_dump(dump).whole and differing_pages(dump, source) == []


def test_a_file_of_a_set_that_the_power_cut_took_is_written_anew(vmcore, half_named, tmp_path):
    half_named.with_name("out.2").unlink()
    save(vmcore, half_named, continued=True, split=3)
    with open_dump([tmp_path / name for name in names(tmp_path)]) as dump, open_dump(vmcore) as source:
        assert len(dump.files) == 3 and check_dump(dump).whole and differing_pages(dump, source) == []


@pytest.mark.parametrize("other", [{"split": 4}, {"split": 3, "compression": Compression.ZSTD}])
def test_a_set_of_another_save_keeps_its_names(vmcore, half_named, tmp_path, other):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SetupError, match="is not of this dump, or was saved with other options"):
        save(vmcore, half_named, continued=True, **other)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_is_there_twice_is_left_alone(vmcore, half_named, tmp_path):
    half_named.with_name("out.1.incomplete").write_bytes(b"")
    with pytest.raises(SetupError, match=r"out\.1 exists and is not replaced"):
        save(vmcore, half_named, continued=True, split=3)
    assert names(tmp_path) == ["out.1", "out.1.incomplete", "out.2", "out.3.incomplete"]


def test_a_whole_set_is_not_gone_on_with(vmcore, tmp_path):
    save(vmcore, tmp_path / "out", split=2)
    with pytest.raises(SetupError, match=r"out\.1 exists and is not replaced"):
        save(vmcore, tmp_path / "out", continued=True, split=2)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_nothing_but_a_file_is_gone_on_with(vmcore, tmp_path, kind):
    incomplete, target = tmp_path / "out.incomplete", tmp_path / "target"
    target.write_bytes(b"")
    match kind:
        case "link":
            incomplete.symlink_to(target)
        case "pipe":
            os.mkfifo(incomplete)
        case "directory":
            incomplete.mkdir()
    with pytest.raises(
        SetupError, match=rf"^({incomplete} is not a file: remove it|can't go on with {incomplete}: Is a dir)"
    ):
        save(vmcore, tmp_path / "out", continued=True)
    assert names(tmp_path) == ["out.incomplete", "target"] and target.read_bytes() == b""


def test_a_file_that_others_can_read_is_private_from_then_on(vmcore, tmp_path):
    (tmp_path / "out.incomplete").touch(0o666)
    (tmp_path / "out.incomplete").chmod(0o666)
    (path,) = save(vmcore, tmp_path / "out", continued=True).files
    assert path.stat().st_mode & 0o777 == 0o600


def test_pages_that_were_damaged_meanwhile_are_not_kept(vmcore, tmp_path):
    with pytest.raises(KilledError):
        save(vmcore, tmp_path / "out", DyingFiles(12), compression=Compression.NONE)
    path = tmp_path / "out.incomplete"
    with open_dump(path) as dump:
        (file,) = dump.files
        place = file.data_offset + 3 * 4096
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"damage")
    saved = save(vmcore, tmp_path / "out", continued=True, compression=Compression.NONE)
    with open_dump(saved.files) as dump, open_dump(vmcore) as source:
        assert check_dump(dump).whole and differing_pages(dump, source) == []


@pytest.mark.parametrize(
    "other", [{"compression": Compression.ZSTD}, {"format": Format.ELF}, {"levels": (DumpLevel(31),)}]
)
def test_a_file_of_another_save_is_refused_and_left_alone(vmcore, tmp_path, other):
    with pytest.raises(KilledError):
        save(vmcore, tmp_path / "out", DyingFiles(12))
    before = (tmp_path / "out.incomplete").read_bytes()
    (tmp_path / "out-dmesg.txt").write_text("another dump's")
    with open_dump(vmcore) as dump, pytest.raises(SetupError, match="is not of this dump, or was saved with other"):
        save_file(dump, tmp_path / "out", SaveOptions(**({"levels": LEVELS, "continued": True} | other)))
    assert (tmp_path / "out.incomplete").read_bytes() == before
    assert (tmp_path / "out-dmesg.txt").read_text() == "another dump's"


@contextmanager
def no_lzo_library(monkeypatch):
    codecs.lzo_function.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(codecs, "_LZO_LIBRARY", "libno-such-thing.so.9")
        yield
    codecs.lzo_function.cache_clear()


def save_nameless(source, destination, files=None, **options):
    """Save a dump as if it said nothing of its kernel: nothing is read of it before its pages are."""
    with open_dump(source) as dump:
        dump.vmcoreinfo, dump.notes = None, ()
        return save_file(dump, destination, SaveOptions(levels=LEVELS, **options), files=files or HostFiles())


@pytest.mark.parametrize("save_it", [save, save_nameless])
def test_where_a_library_is_missing_that_the_source_needs_all_files_stay_as_they_are(
    vmcore, tmp_path, monkeypatch, save_it
):
    monkeypatch.setattr("fadump.capture.kdump_writer.CHECKPOINT_BYTES", 1 << 20)
    save(vmcore, tmp_path / "source", compression=Compression.LZO)
    with pytest.raises(KilledError):
        save_it(tmp_path / "source", tmp_path / "out", DyingFiles(24))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with no_lzo_library(monkeypatch), pytest.raises(SetupError, match="apt-get install liblzo2-2"):
        save_it(tmp_path / "source", tmp_path / "out", continued=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert save_it(tmp_path / "source", tmp_path / "out", continued=True).kept_bytes


def test_there_must_be_something_to_go_on_with(vmcore, tmp_path):
    with pytest.raises(SetupError, match=r"there is no .*out\.incomplete to go on with"):
        save(vmcore, tmp_path / "out", continued=True)


@pytest.mark.parametrize("continued", [False, True])
def test_nobody_is_told_to_remove_what_another_save_is_writing(vmcore, tmp_path, continued):
    with (tmp_path / "out.incomplete").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(
            SetupError, match=r"^another process is writing .*out\.incomplete: wait, or name another file$"
        ):
            save(vmcore, tmp_path / "out", continued=continued)
    assert names(tmp_path) == ["out.incomplete"]


def test_a_dump_that_another_save_finishes_meanwhile_is_left_alone(vmcore, tmp_path):
    with pytest.raises(KilledError):
        save(vmcore, tmp_path / "out", DyingFiles(12))

    class FinishedMeanwhile(HostFiles):
        def open(self, path, flags, mode):
            fd = super().open(path, flags, mode)
            path.rename(tmp_path / "out")
            return fd

    before = (tmp_path / "out.incomplete").read_bytes()
    with pytest.raises(SetupError, match="another process has just finished"):
        save(vmcore, tmp_path / "out", FinishedMeanwhile(), continued=True)
    assert [path.name for path in tmp_path.glob("out*") if "dmesg" not in path.name] == ["out"]
    assert (tmp_path / "out").read_bytes() == before


def test_an_error_of_the_disk_is_final_and_told(vmcore, tmp_path):
    class Broken(HostFiles):
        def fsync(self, fd):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(SaveError, match="Input/output error"):
        save(vmcore, tmp_path / "out", Broken())
    assert not (tmp_path / "out").exists()
