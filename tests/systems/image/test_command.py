"""``fadump image`` as a command: what it prints, what it refuses, and how it ends when it is interrupted."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from fadump.kit.cache import lock
from fadump.systems.image import build_image, list_images
from tests.kit.conftest import is_alive, wait_until
from tests.systems.image.parts import left_in, thing

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_process_and_no_image(
    archive, machine, kernel, tmp_path, cache, command, number
):
    archive.publish("trixie", thing(tmp_path))
    pid_file = tmp_path / "pid"
    machine(
        f"echo 'fadump-install: step configure'\necho $$ >{pid_file}.new; mv {pid_file}.new {pid_file}\nexec sleep 1000"
    )
    building = command("build")
    pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text()))
    os.kill(building.pid, number)
    building.join()
    assert building.exitcode == (-number if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not is_alive(pid))
    assert list_images() == []
    machine()
    again = command("build")
    again.join()
    assert again.exitcode == 0
    assert left_in(cache) == [list_images()[0].path.parent.name]


def test_an_image_in_the_cache_does_not_wait_for_another_being_built(
    archive, machine, kernel, tmp_path, command, capfd
):
    archive.publish("trixie", thing(tmp_path))
    built = build_image(kernel)
    capfd.readouterr()
    with lock("images"):
        again = command("build", "--json")
        again.join(60)
        assert again.exitcode == 0
    assert json.loads(capfd.readouterr().out)["path"] == str(built.path)


def test_the_command_answers_with_json(archive, machine, kernel, tmp_path, command, capfd):
    archive.publish("trixie", thing(tmp_path))
    command("build", "--json").join()
    built = json.loads(capfd.readouterr().out)
    assert (built["result"], built["suite"], built["size_bytes"]) == ("done", "trixie", 3 << 30)
    directory = Path(built["path"]).parent
    assert (built["name"], built["release"], built["page_size"]) == (directory.name, "9.9.1-fadump", "64K")
    du = subprocess.run(["du", "--block-size=1", built["path"]], check=True, capture_output=True, text=True)
    assert built["disk_bytes"] == int(du.stdout.split()[0]) < built["size_bytes"]
    assert json.loads(Path(built["facts"]).read_text())["packages"] == {"thing": "1-1"}
    command("list", "--json").join()
    (listed,) = json.loads(capfd.readouterr().out)["images"]
    assert {"result": "done"} | listed == built


def test_an_image_is_listed_with_its_size_and_date(archive, machine, kernel, tmp_path, command, capfd):
    archive.publish("trixie", thing(tmp_path))
    built = build_image(kernel)
    os.utime(built.facts, (0, 1795953725))
    os.truncate(built.path, 0)
    with built.path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 5 << 19)
    command("list").join()
    assert capfd.readouterr().out == (
        f"{built.name}  trixie  9.9.1-fadump  64K  2.5 MiB  2026-11-29 12:02  {built.path}\n"
    )
    command("list", "--json").join()
    (listed,) = json.loads(capfd.readouterr().out)["images"]
    assert listed["built"] == "2026-11-29T12:02:05+00:00"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--crashkernel", "1X"], "--crashkernel '1X' is not a size; write it as 2G or 0x80000000"),
        (["--crashkernel", "100M"], "--crashkernel '100M' is too little: FADump on pseries takes 320M or more"),
        (["--suite", "trixe"], "--suite trixe: choose trixie, forky or bookworm; did you mean trixie?"),
        (["--page-size", "8K"], "--page-size 8K: choose 64K or 4K; did you mean 4K?"),
    ],
)
def test_a_wrong_option_is_said_before_a_kernel_is_built(command, monkeypatch, capfd, options, sentence):
    monkeypatch.setattr("fadump.cli.image.build_kernel", lambda *_: pytest.fail("built a kernel"))
    building = command("build", *options)
    building.join()
    assert building.exitcode == 2
    assert capfd.readouterr() == ("", f"fadump image build: {sentence}\n")


def test_the_command_says_what_an_image_lacks_and_ends_with_125(archive, machine, kernel, command, capfd):
    building = command("build", "--json")
    building.join()
    answer = json.loads(capfd.readouterr().out)
    assert building.exitcode == 125
    assert answer["result"] == "failed"
    assert answer["error"].startswith("no suite of Debian has all that an image needs; trixie: ")
