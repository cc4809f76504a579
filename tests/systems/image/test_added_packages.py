"""Packages that are added to an image: Debian's, and those of a file."""

import io
import re
import subprocess
import tarfile

import pytest

from fadump.errors import FadumpError, SetupError, UsageError
from fadump.kit import debian
from fadump.systems.debian_image_packages import Added
from fadump.systems.image import build_image
from tests.kit.conftest import make_deb
from tests.systems.image.parts import content, thing

pytestmark = pytest.mark.usefixtures("cache")


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
