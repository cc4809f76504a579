"""The Debian package says what pyproject.toml does; make test-install builds and installs it."""

import re
import tomllib
from pathlib import Path

import fadump

ROOT = Path(__file__).parents[1]
DEBIAN = ROOT / "debian"
EPOCHS = {"numpy": "1:"}


def test_the_package_has_the_version():
    assert (DEBIAN / "changelog").read_text().startswith(f"fadump ({fadump.__version__}) ")


def test_it_needs_what_pip_would_install_and_recommends_what_may_be_missing():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    control = (DEBIAN / "control").read_text()
    depends, more = control.partition("Depends:\n ${misc")[2].split("Recommends:")
    assert f"python3 ({project['requires-python'].replace('>=', '>= ')})" in depends
    for needed in project["dependencies"]:
        name, version, marker = re.fullmatch(r"([\w.]+)>=([\d.]+)(; .*)?", needed).groups()
        if marker is None:
            assert f"python3-{name} (>= {EPOCHS.get(name, '')}{version})" in depends
        else:
            assert f"python3-{name}," in more
