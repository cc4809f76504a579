"""The hook for other services' initramfs, run as their scripts run it, with a root file system and little else.

/proc and /sys are those of a modelled machine after its crash, in a mount namespace of its own (``fadump shell``).

kdump-utils (dracut/99kdumpbase/kdump.sh, do_kdump_post) runs each file of /etc/kdump/post.d with the exit status of its
save, and reboots whatever it returns. openSUSE's kdump (dracut/kdump-save) gives KDUMP_POSTSCRIPT to eval, in the shell
that writes release_mem after it if KDUMP_IMMEDIATE_REBOOT is false. Both have their settings in /etc/kdump.conf.
"""

import json
import subprocess
import sys
from importlib.resources import files

import pytest

from tests.real_linux.fadump_command import COMMAND

SECONDS = 600
HOOK = files("fadump.service") / "data" / "after-kdump.sh"
SYSTEM = """
set -e
echo c >/proc/sysrq-trigger
{save}
initramfs={directory}/initramfs
mount -t tmpfs tmpfs "$initramfs"
mkdir -p "$initramfs"/proc "$initramfs"/sys "$initramfs"/dev "$initramfs"/run "$initramfs"/bin "$initramfs"/etc \\
    "$initramfs"/host "$initramfs"{root}
for directory in proc sys dev run; do mount --rbind /$directory "$initramfs/$directory"; done
mount --bind /usr "$initramfs/host"
ln -s host/lib "$initramfs/lib"
[ ! -e /usr/lib64 ] || ln -s host/lib64 "$initramfs/lib64"
for program in sh sed tail mount umount chroot; do
    ln -s "/host/$(realpath --relative-to=/usr "$(command -v $program)")" "$initramfs/bin/$program"
done
cp {hook} "$initramfs/hook"
cp {directory}/kdump.conf "$initramfs/etc"
mount --rbind / "$initramfs{root}"
mount --make-rprivate "$initramfs{root}"
mount --bind /usr/bin "$initramfs{root}/mnt"
mount -t tmpfs tmpfs "$initramfs{root}/usr/bin"
(cd /usr/bin && printf '/mnt/%s\\0' *) | xargs -0 ln -s -t "$initramfs{root}/usr/bin"
cp {directory}/fadump "$initramfs{root}/usr/bin/fadump"
set +e
before=$(grep -c "$initramfs{root}" /proc/self/mountinfo)
chroot "$initramfs" /bin/sh -c {their_script}
echo "status $?"
cat /sys/kernel/fadump/registered
ls /proc/vmcore
[ "$before" -eq "$(grep -c "$initramfs{root}" /proc/self/mountinfo)" ] || echo mounts stay
"""
KDUMP_UTILS = ("path {crash}\ncore_collector makedumpfile -l -d 31\n", "/hook 0; status=$?; echo reboots; exit $status")
SUSE = (
    "KDUMP_SAVEDIR='file://{crash}'\nKDUMP_DUMPLEVEL='31'\n",
    '. /etc/kdump.conf; eval "/hook || exit 1"; echo goes on',
)


@pytest.fixture
def run_hook(tmp_path):
    """Runs it after a crash of which a service has, or hasn't, saved a dump; what is said, to both outputs."""

    def run(conf, script, *, root, saved=True, save_to=None):
        crash = tmp_path / "crash"
        (tmp_path / "initramfs").mkdir()
        crash.mkdir()
        dump = crash / "127.0.0.1-2026-11-29-16:05:34" / "vmcore"
        dump.parent.mkdir()
        (tmp_path / "kdump.conf").write_text(conf.format(crash=crash))
        (tmp_path / "fadump.toml").write_text(f'[[target]]\ntype = "directory"\npath = "{save_to or crash}"\n')
        (tmp_path / "script").write_text(f"export PATH=/bin; {script}")
        wrapped = f'#!/bin/sh\nexec {sys.executable} -m fadump "$@" --config {tmp_path}/fadump.toml --json\n'
        (tmp_path / "fadump").write_text(wrapped)
        (tmp_path / "fadump").chmod(0o755)
        save = f"{sys.executable} -m fadump save /proc/vmcore {dump} --quiet" if saved else f": >{dump}-incomplete"
        system = SYSTEM.format(
            directory=tmp_path, save=save, root=root, hook=HOOK, their_script=f'"$(cat {tmp_path}/script)"'
        )
        done = subprocess.run(
            [*COMMAND, "shell", "--memory", "1G", "-c", system],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done, dump

    return run


def told(done):
    """What capture says."""
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


@pytest.mark.parametrize(
    ("conf", "script", "root", "says"),
    [(*KDUMP_UTILS, "/sysroot", "reboots"), (*SUSE, "/kdump/mnt", "goes on")],
    ids=["kdump-utils", "openSUSE"],
)
def test_what_they_have_saved_is_proven_and_released(run_hook, conf, script, root, says):
    done, dump = run_hook(conf, script, root=root)
    assert f"\n{says}\nstatus 0\n1\n" in done.stdout and "mounts stay" not in done.stdout, done.stdout + done.stderr
    result = told(done)
    assert (result["result"], result["where"], result["already"]) == ("saved", str(dump), True)
    assert (result["proof"], result["released"], result["registered"]) == ("every page", True, True)
    assert "/proc/vmcore: No such file or directory" in done.stderr.replace("'", "")


def test_what_they_have_not_saved_is_saved(run_hook):
    done, dump = run_hook(*KDUMP_UTILS, root="/sysroot", saved=False)
    result = told(done)
    assert (result["result"], result["already"], result["released"]) == ("saved", False, True), done.stderr
    assert not dump.exists() and result["where"].startswith(str(dump.parent.parent))


def test_a_dump_that_nobody_has_saved_is_not_released_by_them(run_hook):
    done, _dump = run_hook(*SUSE, root="/kdump/mnt", saved=False, save_to="/nowhere/at/all")
    assert "goes on" not in done.stdout and "status 1\n" in done.stdout, done.stdout + done.stderr
    assert "/proc/vmcore\n" in done.stdout


def test_in_a_boot_of_kdump_s_it_does_nothing():
    done = subprocess.run(["sh", HOOK, "0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_root_file_system_that_has_fadump_it_says_so():
    script = f"echo c >/proc/sysrq-trigger; sh {HOOK} 0; echo status $?; ls /proc/vmcore"
    done = subprocess.run(
        [*COMMAND, "shell", "--memory", "1G", "-c", script],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.stdout == "status 1\n/proc/vmcore\n"
    assert done.stderr == "fadump: no root file system that has fadump is mounted: the dump is not proven\n"
