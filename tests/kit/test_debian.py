"""The private apt, with a signed archive made here; apt itself does the work, so its own checks are tested."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fadump.errors import SetupError
from fadump.kit import debian, private_apt
from fadump.kit.debian import fetch, fetch_system, fetched_with_dependencies, package_names
from fadump.kit.package_file import unpack
from fadump.kit.private_apt import PackageMissingError
from tests.kit.conftest import make_deb


@pytest.fixture
def busybox(tmp_path):
    """A package."""
    return make_deb(tmp_path, "busybox-static", "1:1.37-1", "ppc64el", {"usr/bin/busybox": b"ELF"})


def untouched():
    """The times of what belongs to the machine's own apt."""
    paths = ("/var/lib/apt/lists", "/var/cache/apt", "/var/cache/apt/archives", "/var/lib/dpkg/status", "/etc/apt")
    return {path: Path(path).stat().st_mtime_ns for path in paths if Path(path).exists()}


def test_a_package_is_fetched_and_unpacked_and_the_machines_apt_stays_as_it_was(archive, busybox, cache, tmp_path):
    archive.publish("trixie", busybox)
    before = untouched()
    package = fetch("busybox-static", suites=["trixie"])
    assert untouched() == before
    assert package.path.read_bytes() == busybox.read_bytes()
    assert package.path.is_relative_to(cache)
    assert (package.version, package.suite, package.architecture) == ("1:1.37-1", "trixie", "ppc64el")
    (tmp_path / "files").mkdir()
    unpack(package, tmp_path / "files")
    assert (tmp_path / "files/usr/bin/busybox").read_bytes() == b"ELF"


def test_progress_ends_with_all_bytes_of_the_package(archive, busybox, progress):
    archive.publish("trixie", busybox)
    fetch("busybox-static", suites=["trixie"])
    (counted,) = (done for label, done in progress.items() if label.startswith("Fetching busybox"))
    assert counted[-1] == busybox.stat().st_size


def test_the_second_time_no_archive_is_needed(archive, busybox, monkeypatch):
    archive.publish("trixie", busybox)
    first = fetch("busybox-static", suites=["trixie"])
    monkeypatch.setattr(debian, "find_debian_source", lambda: pytest.fail("asked the archive"))
    assert fetch("busybox-static", suites=["trixie"]) == first


def test_the_first_suite_that_has_it_is_taken(archive, busybox, tmp_path):
    archive.publish("trixie", make_deb(tmp_path, "other", "1", "all", {}))
    archive.publish("bookworm", busybox)
    assert fetch("busybox-static", suites=["trixie", "no-such-suite", "bookworm"]).suite == "bookworm"


def test_of_two_versions_the_newer_is_taken(archive, busybox, tmp_path):
    older = make_deb(tmp_path, "busybox-static", "1:1.36-9", "ppc64el", {"usr/bin/busybox": b"old"})
    archive.publish("trixie", busybox, older)
    assert fetch("busybox-static", suites=["trixie"]).version == "1:1.37-1"


def test_a_package_that_is_nowhere_is_told(archive, busybox, tmp_path):
    archive.publish("trixie", busybox, make_deb(tmp_path, "linux-source-9.12", "9.12.1-1", "all", {}))
    archive.publish("bookworm", busybox)
    with pytest.raises(PackageMissingError) as caught:
        fetch("linux-source-9.1", suites=["trixie", "bookworm"])  # as a pattern it would match
    assert str(caught.value) == (
        f"file:{archive.root} has no linux-source-9.1 for ppc64el in the main part of trixie or bookworm"
    )


def test_a_suite_that_could_not_be_read_is_told_when_the_package_is_missing(archive, busybox):
    archive.publish("trixie", busybox)
    with pytest.raises(
        PackageMissingError, match=r"not all of them could be read \(reading Debian forky's package list"
    ):
        fetch("linux-source-9.9", suites=["trixie", "forky"])


def test_a_package_for_all_architectures_is_found_under_any_that_can_be_read(archive, tmp_path):
    archive.publish("trixie", make_deb(tmp_path, "linux-source-9.9", "9.9.1-1", "all", {}))
    package = fetch("linux-source-9.9", ["no-such-architecture", "ppc64el"], ["trixie"])
    assert (package.suite, package.architecture) == ("trixie", "ppc64el")
    assert fetch("linux-source-9.9", ["no-such-architecture", "ppc64el"], ["trixie"]) == package


def test_an_archive_that_is_not_there_is_told(archive):
    with pytest.raises(SetupError, match=r"reading Debian trixie's package list for ppc64el from file:.* failed"):
        fetch("busybox-static", suites=["trixie"])


def test_an_unsigned_archive_is_refused(archive, busybox, cache):
    archive.publish("trixie", busybox, signed=False)
    with pytest.raises(SetupError, match=r"is not signed"):
        fetch("busybox-static", suites=["trixie"])
    assert list(cache.rglob("*.deb")) == []


def test_an_archive_that_someone_else_signed_is_refused(archive, busybox, cache):
    archive.publish("trixie", busybox)
    archive.keyring.write_bytes(b"")
    with pytest.raises(SetupError, match=r"is not signed|not available|NO_PUBKEY"):
        fetch("busybox-static", suites=["trixie"])
    assert list(cache.rglob("*.deb")) == []


def test_a_package_that_was_changed_is_refused(archive, busybox, cache):
    archive.publish("trixie", busybox)
    with (archive.root / "pool" / busybox.name).open("r+b") as deb:
        deb.write(b"changed!")
    with pytest.raises(SetupError, match=r"fetching busybox-static from file:.* failed: E: .*; try again"):
        fetch("busybox-static", suites=["trixie"])
    assert list((cache / "packages").glob("*/*/*.deb")) == []


def test_what_a_killed_download_left_is_finished(archive, busybox, cache):
    archive.publish("trixie", busybox)
    partial = cache / "packages/trixie-ppc64el/busybox-static/partial"
    partial.mkdir(parents=True)
    (partial / busybox.name.replace(":", "%3a")).write_bytes(busybox.read_bytes()[:100])
    assert fetch("busybox-static", suites=["trixie"]).path.read_bytes() == busybox.read_bytes()
    assert [path.suffix for path in partial.parent.iterdir()] == [".deb"]


def test_the_way_to_the_mirror_is_kept_and_what_weakens_signatures_is_not(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "apt-config"
    tool.write_text(
        "#!/bin/sh\ncat <<'E'\n"
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::CaInfo "/etc/ca.pem";\n'
        'Acquire::Retries "5";\n'
        'Acquire::AllowInsecureRepositories "1";\n'
        'APT::Get::AllowUnauthenticated "1";\n'
        'APT::Update::Post-Invoke:: "rm -rf /";\n'
        'Dir::State "/elsewhere";\nE\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    configuration = private_apt._configuration(tmp_path, "ppc64el")
    assert configuration.splitlines()[:3] == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::https::CaInfo "/etc/ca.pem";',
        'Acquire::Retries "5";',
    ]
    assert not any(word in configuration for word in ("Insecure", "Unauthenticated", "Invoke", "elsewhere"))


def test_a_package_comes_with_all_that_it_depends_on(archive, tmp_path, cache):
    library = make_deb(tmp_path, "libthing", "2:1-1", "ppc64el", {"usr/lib/libthing.so": b"library"})
    program = make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF"}, depends="libthing")
    archive.publish("forky", program, library, make_deb(tmp_path, "other", "1", "all", {}))
    before = untouched()
    for _again in range(2):  # what was left of the first time makes no difference
        with fetched_with_dependencies("thing", "ppc64el", ["forky"]) as found:
            assert {(package.name, package.version) for package in found} == {("thing", "1-1"), ("libthing", "2:1-1")}
            assert all(package.path.is_relative_to(cache) and package.path.exists() for package in found)
        assert not any(package.path.exists() for package in found)
    assert untouched() == before


def test_packages_that_are_in_use_are_not_taken_away_by_whoever_fetches_next(archive, tmp_path, capsys):
    archive.publish("forky", make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF"}))

    def fetch_next():
        with fetched_with_dependencies("thing", "ppc64el", ["forky"]) as found:
            return found[0].path.exists()

    with ThreadPoolExecutor() as pool:
        with fetched_with_dependencies("thing", "ppc64el", ["forky"]) as found:
            another = pool.submit(fetch_next)
            while "Waiting for another fadump" not in capsys.readouterr().err:
                assert not another.done()
            assert found[0].path.exists()
        assert another.result()


def test_a_dependency_that_is_nowhere_is_told(archive, tmp_path):
    archive.publish("forky", make_deb(tmp_path, "thing", "1-1", "ppc64el", {}, depends="libthing"))
    with (
        pytest.raises(SetupError, match="finding what thing of Debian forky depends on failed"),
        fetched_with_dependencies("thing", "ppc64el", ["forky"]),
    ):
        pass


def test_a_system_has_what_its_pattern_stands_for_and_all_that_depends_on(archive, tmp_path):
    library = make_deb(tmp_path, "libthing", "2:1-1", "ppc64el", {"usr/lib/libthing.so": b"library"})
    shell = make_deb(tmp_path, "shell", "1-1", "ppc64el", {"bin/sh": b"ELF"}, fields="Essential: yes\n")
    program = make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF"}, depends="libthing")
    archive.publish("forky", program, library, shell, make_deb(tmp_path, "other", "1", "all", {}))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "older_1_ppc64el.deb").write_bytes(b"older")
    (tmp_path / "kept" / "shell_1-1_ppc64el.deb").write_bytes(b"damaged")
    before = untouched()
    words = ["?essential", "?exact-name(no-such-package)", "thing"]
    found = debian.fetch_system(words, "forky", tmp_path / "kept")
    assert [(package.name, package.version) for package in found] == [
        ("libthing", "2:1-1"), ("shell", "1-1"), ("thing", "1-1"),
    ]  # fmt: skip
    assert sorted(tmp_path.glob("kept/*.deb")) == [package.path for package in found]
    assert found[1].path.read_bytes() == shell.read_bytes()
    assert untouched() == before


def test_what_is_there_of_a_system_is_not_fetched_again(archive, tmp_path):
    archive.publish("forky", make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF"}))
    first = debian.fetch_system(["thing"], "forky", tmp_path / "kept")
    (archive.root / "pool" / "thing_1-1_ppc64el.deb").unlink()
    assert debian.fetch_system(["thing"], "forky", tmp_path / "kept") == first


def test_a_mirror_that_lists_what_it_has_not_is_told(archive, tmp_path):
    archive.publish("forky", make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF"}))
    (archive.root / "pool" / "thing_1-1_ppc64el.deb").unlink()
    with pytest.raises(SetupError, match=r"fetching 1 package from file:.* failed: E: .*thing_1-1_ppc64el.deb"):
        debian.fetch_system(["thing"], "forky", tmp_path / "kept")


def test_package_names_are_those_of_real_packages(archive, tmp_path):
    archive.publish(
        "sid", *(make_deb(tmp_path, f"linux-source-{series}", "1", "all", {}) for series in ("6.12", "9.9"))
    )
    assert debian.package_names("linux-source-", "sid", "ppc64el") == ["linux-source-6.12", "linux-source-9.9"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda _directory: fetch("busybox-static"),
        lambda _directory: fetched_with_dependencies("busybox-static", "ppc64el", ["trixie"]).__enter__(),
        lambda directory: fetch_system(["busybox-static"], "trixie", directory),
        lambda _directory: package_names("linux-source-", "trixie", "all"),
    ],
)
def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch, cache, ask):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="needs apt-get, apt-cache, dpkg-deb, which are not on this machine: install "):
        ask(tmp_path)
