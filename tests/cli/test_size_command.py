"""fadump size: what is refused before anything is started, and what is predicted from a Power system's files."""

import json

import pytest

from fadump.cli import main
from fadump.memory.ranges import Range
from tests.service.doctor.trees import booted, powervm

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def size(capsys):
    def run(*words):
        status = main(["size", *map(str, words)])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def power(tmp_path):
    """A partition with 16 GiB, of which its kernel has taken 80 MiB beside FADump's area before anything ran."""
    tree = booted(tmp_path, "fadump=nocma", on_tree=powervm, memory=(Range(0, 16 * GIB),))
    reserved = int((tmp_path / "sys/kernel/fadump/mem_reserved").read_text())
    tree.put("/proc/meminfo", f"MemTotal: {(16 * GIB - 80 * MIB - reserved) >> 10} kB\n")
    return tree.directory


def test_a_machine_that_is_no_power_system_says_so(size, tmp_path):
    status, out, err = size("--root", tmp_path, "--json")
    assert status == 125 and "is no Power system" in err
    assert json.loads(out)["error"].endswith("and --disk FILE measures a system anywhere")


@pytest.mark.parametrize(("words", "said"), [
    (["--kernel", "vmlinux"], "give the system's --disk"),
    (["--disk", "disk", "--root", "/"], "give --disk to measure a system, or --root to predict"),
    (["--disk", "disk", "--memory", "1G"], "--memory must be 1280 MiB or more"),
    (["--disk", "disk", "--gdb", "12345"], "--gdb goes with a single crash"),
    (["--disk", "disk", "--for", "1G"], "--for must be 1280 MiB or more"),
])  # fmt: skip
def test_what_cannot_be_is_refused_and_leaves_nothing(size, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    status, out, err = size(*words, "--json")
    assert status == 2 and said in err and said in json.loads(out)["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


def test_a_power_system_is_predicted_by_its_own_numbers(size, power):
    status, out, err = size("--root", power, "--for", "160G", "--for-cpus", "10", "--json")
    assert status == 0, err
    told = json.loads(out)
    model = told["model"]
    assert told["measured"] == [] and told["needed_bytes"] == sum(model.values())
    assert model["struct_pages_bytes"] == 16 * MIB
    # less struct pages, 320 KiB of each CPU, and hash tables for nearly 16 GiB: 2 and 1 Mi buckets of 8 bytes
    assert model["kernel_bytes"] == pytest.approx(80 * MIB - 16 * MIB - 640 * 1024 - 24 * MIB, abs=1024)
    assert (told["minimum_bytes"], told["recommended_bytes"]) == (320 * MIB, 320 * MIB)
    assert told["recommended_crashkernel"] == "320M"
    assert told["linux_default_bytes"] == 768 * MIB  # 5 % are 819.2
    tables = {table["distribution"].split()[0]: table["size_bytes"] for table in told["distributions"]}
    assert tables == {"Fedora,": 1024 * MIB, "Debian,": 512 * MIB, "SUSE": 819 * MIB}
    (larger,) = told["predicted"]
    assert larger["model"]["struct_pages_bytes"] == 160 * MIB
    assert larger["model"]["per_cpu_bytes"] == 5 * model["per_cpu_bytes"]
    assert larger["model"]["kernel_bytes"] == model["kernel_bytes"]
    assert larger["minimum_bytes"] == max(320 * MIB, sum(larger["model"].values()))


def test_doctor_and_size_never_disagree(size, power, capsys):
    _status, out, _err = size("--root", power)
    needed = json.loads(size("--root", power, "--json")[1])["needed_bytes"]
    main(["doctor", "--root", str(power), "--json", "-v"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    (boot_memory,) = [finding["text"] for finding in findings if finding["check"] == "boot-memory"]
    assert f"a capture boot needs about {needed / MIB:.1f} MiB" in boot_memory
    assert "\n     16.0 MiB  for struct pages of all RAM\n" in out and "initrd" not in out  # there is none
    assert "Debian" in out and " 768 MiB  Linux (5 % of RAM, in steps of 256 MiB, at least 320 MiB)\n" in out


def test_what_is_taken_for_other_pages_is_said_aloud(size, power):
    asked = ("--root", power, "--for", "16G", "--for-page-size")
    _status, same, _err = size(*asked, "64K")
    _status, other, _err = size(*asked, "4K")
    note = "with pages of 4 KiB user space was not measured"
    assert note in other and "was not measured" not in same
    told = json.loads(size(*asked, "4K", "--json")[1])
    (predicted,) = told["predicted"]
    assert (told["page_bytes"], predicted["page_bytes"]) == (64 << 10, 4 << 10)
    assert predicted["model"]["struct_pages_bytes"] == 256 * MIB
    assert predicted["model"]["user_space_bytes"] < told["model"]["user_space_bytes"]
