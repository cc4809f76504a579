"""The units: systemd itself reads them, and they are in the order that saves memory and dumps."""

import configparser
import os
import subprocess
import sys
from importlib.resources import files

import pytest

UNITS = ["fadump-capture.service", "fadump-capture-network.service"]
GUARD = "fadump-capture-guard.service"


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
    for name in [*UNITS, GUARD]:
        (directory / name).write_text(text_of(name).replace("/usr/bin/fadump", sys.executable))


@pytest.mark.parametrize("name", [*UNITS, GUARD])
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
    wanted = " ".join([*UNITS, GUARD, "kdump-tools.service", "basic.target", "network-online.target"])
    (tmp_path / "all.target").write_text(f"[Unit]\nWants={wanted}\nAfter={wanted}\n")
    assert verify(tmp_path, "all.target") == (0, "")


def test_systemd_understands_the_drop_in_for_kdump_tools(tmp_path):
    (tmp_path / "kdump-tools.service").write_text(KDUMP_TOOLS)
    (tmp_path / "kdump-tools.service.d").mkdir()
    (tmp_path / "kdump-tools.service.d" / "fadump.conf").write_text(text_of("kdump-tools.conf"))
    assert verify(tmp_path, "kdump-tools.service") == (0, "")


@pytest.mark.parametrize("name", [*UNITS, GUARD])
def test_a_unit_starts_nothing_in_a_boot_without_a_dump(name):
    assert text_of(name).count("ConditionPathExists=") == 2
    assert "ConditionPathExists=/proc/vmcore\n" in text_of(name)
    assert "ConditionPathExists=/sys/kernel/fadump/release_mem\n" in text_of(name)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_waits_as_long_as_a_dump_takes(name):
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


def test_nobody_else_is_started_before_a_dump_that_waits_for_the_network():
    section = unit(GUARD)["Unit"]
    assert {"basic.target", "kdump-tools.service", "kdump.service"} <= {*section["Before"].split()}
    assert unit("fadump-capture-network.service")["Install"]["Also"] == GUARD


def test_systemd_understands_what_keeps_kdump_tools_away(tmp_path):
    (tmp_path / "kdump-tools.service").write_text(KDUMP_TOOLS)
    (tmp_path / "kdump-tools.service.d").mkdir()
    (tmp_path / "kdump-tools.service.d" / "fadump-capture.conf").write_text(text_of("before-kdump.conf"))
    assert verify(tmp_path, "kdump-tools.service") == (0, "")


@pytest.mark.parametrize("name", ["fadump-capture.service", GUARD])
def test_the_mark_by_which_kdump_tools_is_kept_away_stays_for_that_boot(name):
    section = unit(name)["Service"]
    assert (section["RuntimeDirectory"], section["RuntimeDirectoryPreserve"]) == ("fadump-capture", "yes")
    assert "ConditionPathExists=|!/run/fadump-capture\n" in text_of("before-kdump.conf")
