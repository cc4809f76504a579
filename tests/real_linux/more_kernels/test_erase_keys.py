"""A key that a program has added is in a dump, and with the rules for keys it isn't; crash says that it was erased."""

import base64
import subprocess
from pathlib import Path

from fadump.kit.kernel import build_kernel
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import COMMAND
from tests.real_linux.page_sets import crash_under_load
from tests.real_linux.readers import crash_environment

HERE = Path(__file__).parent
RULES = HERE.parents[2] / "examples" / "erase-keys.toml"
GCC = ["powerpc64le-linux-gnu-gcc", "-Os", "-Wall", "-Werror", "-ffreestanding", "-nostdlib", "-static", "-s"]
SECRET = bytes(ord("a") + (at * at + 7 * at + 3) % 26 for at in range(48))
ADD_KEY = """
mkdir -p /tmp && echo {program} | base64 -d >/tmp/add_key && chmod +x /tmp/add_key && /tmp/add_key || exit 1
"""


def test_a_key_is_gone_from_the_dump(tmp_path, crash):
    program = tmp_path / "add_key"
    subprocess.run([*GCC, HERE / "add_key.c", "-o", program], check=True)
    kernel = build_kernel("6.1", "4K")
    script = ADD_KEY.format(program=base64.b64encode(program.read_bytes()).decode())
    vmcore = crash_under_load(tmp_path / "crash", kernel, script, cpu_model="POWER8")

    plain, erased = tmp_path / "plain", tmp_path / "erased"
    save = [*COMMAND, "save", str(vmcore), "--level", "31", "--compress", "none"]
    subprocess.run([*save, str(plain)], check=True)
    done = subprocess.run([*save, str(erased), "--erase", str(RULES)], stdout=subprocess.PIPE, text=True, check=True)
    assert plain.read_bytes().count(SECRET) == 1
    assert SECRET not in erased.read_bytes()
    assert 'rule "keys of users", line 7: 48 bytes erased, in 1 piece\n' in done.stdout
    assert 'rule "random numbers"' in done.stdout
    with open_dump(erased) as dump:
        assert check_dump(dump).whole
        assert dump.erase_info == b"erase user_key_payload.data size 48\nerase base_crng size 32\n"

    commands = tmp_path / "commands"
    commands.write_text("help -D\nquit\n")
    with commands.open() as stdin:
        said = crash.run("-s", kernel.vmlinux, erased, stdin=stdin, env=crash_environment(tmp_path))
    assert "Kernel data has been erased from this dumpfile" in said
    assert "erase user_key_payload.data size 48\n" in said
