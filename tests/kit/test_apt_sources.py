"""Which of a machine's apt sources is Debian's own."""

import pytest

from fadump.errors import SetupError
from fadump.kit.apt_sources import DebianSource, find_debian_source

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

DEB822 = f"""\
Types: deb
# a comment in the middle
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}
"""

OTHERS = """\
deb [arch=amd64 signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example/debian bookworm main
deb https://vendor.example/apt cloud-sdk-bookworm main
deb https://vendor.example/apt bookworm stable
deb-src http://mirror.example/debian bookworm main
deb cdrom:[Debian]/ bookworm main
# deb http://old.example/debian bookworm main
"""


@pytest.fixture
def sources(tmp_path):
    """Writes files under an /etc/apt and finds the source in it."""
    (tmp_path / "sources.list.d").mkdir()

    def find(files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return find_debian_source(tmp_path)

    return find


def test_a_deb822_file(sources):
    found = sources({"sources.list.d/debian.sources": DEB822})
    assert found == DebianSource("http://mirror.example/debian", KEYRING)


def test_a_one_line_file(sources):
    found = sources(
        {"sources.list": f"deb [ arch=amd64 signed-by={KEYRING} ] http://a.example/debian trixie main # ours\n"}
    )
    assert found == DebianSource("http://a.example/debian", KEYRING)


def test_apts_common_keyrings(sources):
    assert sources({"sources.list": "deb http://a.example/debian stable main\n"}).signed_by == ""


def test_a_key_in_the_file_is_kept_whole(sources):
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----"
    found = sources({"sources.list.d/debian.sources": DEB822.replace(f" {KEYRING}", key)})
    assert found.signed_by == key


def test_a_comment_does_not_end_the_field_that_it_stands_in(sources):
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n# Renewed: last year\n abc\n -----END PGP PUBLIC KEY BLOCK-----"
    found = sources({"sources.list.d/debian.sources": DEB822.replace(f" {KEYRING}", key)})
    assert found.signed_by == "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n abc\n -----END PGP PUBLIC KEY BLOCK-----"


def test_the_updates_of_a_release_serve_where_the_release_itself_is_not_listed(sources):
    updates = "deb http://a.example/debian bookworm-updates main\n"
    assert sources({"sources.list": updates}).uri == "http://a.example/debian"
    release = "deb http://b.example/debian bookworm main\n"
    assert sources({"sources.list": updates + release}).uri == "http://b.example/debian"


def test_others_are_not_debian(sources):
    found = sources({"sources.list.d/a.list": OTHERS, "sources.list.d/debian.sources": DEB822})
    assert found.uri == "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("line", "replacement"),
    [
        ("Types: deb\n#", "Types: deb-src\n#"),
        ("Types: deb\n#", "Enabled: no\nTypes: deb\n#"),
        ("Components: main", "Components: contrib"),
        ("Suites: bookworm ", "Suites: plum "),
    ],
)
def test_entries_that_do_not_serve(sources, line, replacement):
    text = DEB822.replace("bookworm-updates", "").replace(line, replacement)
    with pytest.raises(SetupError, match=r"no entry in .*sources\.list"):
        sources({"sources.list.d/debian.sources": text})


def test_files_that_apt_does_not_read(sources):
    with pytest.raises(SetupError, match="no entry"):
        sources({"sources.list.d/debian.sources.disabled": DEB822})
