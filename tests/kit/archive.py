"""A signed Debian archive in a directory, which apt reads as any other; the fixtures are for all tests."""

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fadump.kit import debian
from fadump.kit.apt_sources import DebianSource
from fadump.kit.packages import require


@contextmanager
def signing_key(home: Path) -> Iterator:
    """Runs gpg with a key ring that has one signing key, in ``home``.

    gpg would start an agent that nobody ends if this process is killed. The one that is started here ends with its
    program, a cat, which ends when nobody writes to it any more.
    """
    require("the tests of fetching packages", {"gpg": "gpg", "gpg-agent": "gpg-agent", "gpgconf": "gpgconf"})
    home.chmod(0o700)

    def run(*options, text=None):
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-autostart", *options]
        return subprocess.run(command, input=text, check=True, capture_output=True).stdout

    agent = ["gpg-agent", "--homedir", str(home), "--quiet", "--daemon", "cat"]
    with subprocess.Popen(agent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        program.stdin.write(b"ready\n")
        program.stdin.flush()
        program.stdout.readline()  # the agent listens before its program starts
        try:
            run("--passphrase", "", "--quick-generate-key", "Test <test@example.org>", "rsa2048", "sign", "never")
            yield run
        finally:
            subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


@pytest.fixture(scope="session")
def gpg(tmp_path_factory):
    """Runs gpg with a key ring that has one signing key."""
    with signing_key(tmp_path_factory.mktemp("g")) as run:
        yield run


@pytest.fixture
def archive(tmp_path, gpg, monkeypatch):
    """An empty archive, which this machine's sources name."""
    archive = Archive(tmp_path / "archive", gpg)
    monkeypatch.setattr(debian, "find_debian_source", lambda: archive.source)
    return archive


class Archive:
    """A Debian archive in a directory: suites of packages, signed."""

    def __init__(self, root: Path, gpg) -> None:
        self.root = root
        self.gpg = gpg
        self.keyring = root / "keyring.gpg"
        root.mkdir()
        self.keyring.write_bytes(gpg("--export"))

    @property
    def source(self):
        return DebianSource(f"file:{self.root}", str(self.keyring))

    def publish(self, suite, *debs, signed=True):
        index = "".join(self._stanza(deb) for deb in debs).encode()
        directory = self.root / "dists" / suite
        (directory / "main/binary-ppc64el").mkdir(parents=True, exist_ok=True)
        (directory / "main/binary-ppc64el/Packages").write_bytes(index)
        release = (
            f"Suite: {suite}\nCodename: {suite}\nArchitectures: ppc64el\nComponents: main\n"
            "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} main/binary-ppc64el/Packages\n"
        )
        if signed:
            (directory / "InRelease").write_bytes(self.gpg("--clearsign", text=release.encode()))
        else:
            (directory / "Release").write_text(release)

    def _stanza(self, deb):
        fields = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
        (self.root / "pool").mkdir(exist_ok=True)
        (self.root / "pool" / deb.name).write_bytes(deb.read_bytes())
        size, digest = deb.stat().st_size, hashlib.sha256(deb.read_bytes()).hexdigest()
        return f"{fields}Filename: pool/{deb.name}\nSize: {size}\nSHA256: {digest}\n\n"
