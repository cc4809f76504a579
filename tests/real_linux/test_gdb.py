"""A real gdb looks into a guest while the firmware goes on serving it."""

from tests.machine.qemu.gdb_script import free_port
from tests.real_linux.fadump_command import StartedRun
from tests.real_linux.gdb_session import GDB_SECONDS, functions, gdb_session

SCRIPT = """
set pagination off
set remotetimeout 60
target remote :{port}
break rtas_fadump_register
break rtas_fadump_invalidate
break panic
info threads
detach
echo == attached again\\n
target remote :{port}
continue
echo == handover\\n
p/x $pc
continue
echo == registering\\n
bt
step
delete 1
continue
echo == panic\\n
bt
info threads
x/i $pc
p linux_banner
continue
echo == invalidating\\n
bt
delete
continue
"""


def test_gdb_stops_in_a_registration_a_panic_and_a_release_and_the_dump_is_right(tmp_path, kernel):
    port = free_port()
    options = ["--gdb", str(port), "--stop-at", "handover", "--verify"]
    with StartedRun(tmp_path / "run", *options) as run:
        run.wait_for("power on")
        said = gdb_session(tmp_path, kernel.vmlinux, SCRIPT.format(port=port))
        stdout, stderr = run.process.communicate(timeout=GDB_SECONDS)
    assert run.process.returncode == 0, stderr
    assert "verified: " in stdout
    assert "= 0x400000\n" in said["handover"]
    assert functions(said["registering"])[:2] == ["rtas_fadump_register", "register_fadump"]
    assert functions(said["panic"])[:2] == ["panic", "sysrq_handle_crash"]
    assert "* 1 " in said["panic"] or "* 2 " in said["panic"]
    assert "<panic+" in said["panic"]
    assert 'linux_banner> "Linux version ' in said["panic"]
    assert "rtas_fadump_invalidate" in functions(said["invalidating"])
    assert "exited normally" in said["invalidating"]
