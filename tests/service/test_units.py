"""The units: systemd itself reads them, and they are in the order that saves memory and dumps."""

import configparser
import os
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


def verify(directory, name):
    """What systemd says of a unit and of those that it wants, which are in a directory."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", directory / name],
        capture_output=True, text=True, check=False, env=os.environ | {"SYSTEMD_UNIT_PATH": f"{directory}:"},
    )  # fmt: skip
    return done.returncode, done.stderr


def write_units(directory):
    """The program has to be there, so another one that is stands in its place."""
    for name in UNITS:
        (directory / name).write_text(text_of(name).replace("/usr/bin/fadump", sys.executable))


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(tmp_path, name):
    write_units(tmp_path)
    assert verify(tmp_path, name) == (0, "")


KDUMP_TOOLS = """[Unit]
DefaultDependencies=no
After=local-fs.target networking.service
Before=basic.target
[Service]
Type=oneshot
ExecStart=/bin/true
"""
"""The order of Debian's, 1.8 to 1.10."""


def test_the_units_are_in_no_circle_with_kdump_tools_and_the_network(tmp_path):
    write_units(tmp_path)
    (tmp_path / "kdump-tools.service").write_text(KDUMP_TOOLS)
    wanted = " ".join([*UNITS, "kdump-tools.service", "basic.target", "network-online.target"])
    (tmp_path / "all.target").write_text(f"[Unit]\nWants={wanted}\nAfter={wanted}\n")
    assert verify(tmp_path, "all.target") == (0, "")


def test_systemd_understands_the_drop_in_for_kdump_tools(tmp_path):
    (tmp_path / "kdump-tools.service").write_text(KDUMP_TOOLS)
    (tmp_path / "kdump-tools.service.d").mkdir()
    (tmp_path / "kdump-tools.service.d" / "fadump.conf").write_text(text_of("kdump-tools.conf"))
    assert verify(tmp_path, "kdump-tools.service") == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_nothing_in_a_boot_without_a_dump_and_waits_as_long_as_one_takes(name):
    assert text_of(name).count("ConditionPathExists=") == 2
    assert "ConditionPathExists=/proc/vmcore\n" in text_of(name)
    assert "ConditionPathExists=/sys/kernel/fadump/release_mem\n" in text_of(name)
    assert unit(name)["Service"]["TimeoutStartSec"] == "infinity"


def test_local_dumps_are_saved_before_any_ordinary_service_starts():
    section = unit("fadump-capture.service")["Unit"]
    assert section["DefaultDependencies"] == "no"
    assert section["After"].split() == ["local-fs.target", "swap.target"]
    assert {"basic.target", "shutdown.target", "kdump-tools.service"} <= {*section["Before"].split()}


def test_dumps_that_go_through_a_network_wait_for_it():
    section = unit("fadump-capture-network.service")["Unit"]
    assert {"network-online.target", "remote-fs.target"} <= {*section["After"].split()}
    assert "multi-user.target" in section["Before"].split()
