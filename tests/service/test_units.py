"""The units: systemd itself reads them, and they are in the order that saves memory and dumps."""

import configparser
import subprocess
import sys
from importlib.resources import files

import pytest

UNITS = ["fadump-capture.service", "fadump-capture-network.service"]


def text_of(name):
    return (files("fadump.service") / "data" / name).read_text()


def unit(name):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text_of(name))
    return parser


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(tmp_path, name):
    """The program has to be there, so another one that is stands in its place."""
    text = (
        text_of(name).replace("/usr/bin/fadump", sys.executable).replace("Documentation=man:", "Documentation=file:/")
    )
    (tmp_path / name).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_nothing_in_a_boot_without_a_dump_and_waits_as_long_as_one_takes(name):
    assert text_of(name).count("ConditionPathExists=") == 2
    assert "ConditionPathExists=/proc/vmcore\n" in text_of(name)
    assert "ConditionPathExists=/sys/kernel/fadump/release_mem\n" in text_of(name)
    assert unit(name)["Service"]["TimeoutStartSec"] == "infinity"
    assert "kdump-tools.service" in unit(name)["Unit"]["Before"].split()


def test_local_dumps_are_saved_before_any_ordinary_service_starts():
    section = unit("fadump-capture.service")["Unit"]
    assert section["DefaultDependencies"] == "no"
    assert {"sysinit.target", "local-fs.target"} <= {*section["After"].split()}
    assert {"basic.target", "shutdown.target"} <= {*section["Before"].split()}


def test_dumps_that_go_through_a_network_wait_for_it():
    section = unit("fadump-capture-network.service")["Unit"]
    assert {"network-online.target", "remote-fs.target"} <= {*section["After"].split()}
    assert "multi-user.target" in section["Before"].split()
