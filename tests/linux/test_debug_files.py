import subprocess

import pytest

from fadump.linux.vmlinux.debug_files import find_module_lines, find_modules, find_vmlinux, module_directories
from tests.linux.test_symbols import vmlinux

ID, OTHER = b"\x12\x34\x56", b"\x99\x99\x99"
RELEASE = "6.12.0-fake"
TOOLS = "powerpc64le-linux-gnu-"


def put(path, build_id=ID):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(vmlinux(build_id=build_id))
    return path


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/debug/.build-id/12/3456.debug",
        f"usr/lib/debug/boot/vmlinux-{RELEASE}",
        f"usr/lib/debug/lib/modules/{RELEASE}/vmlinux",
        f"usr/lib/debug/usr/lib/modules/{RELEASE}/vmlinux",
        f"lib/modules/{RELEASE}/build/vmlinux",
        f"boot/vmlinux-{RELEASE}",
    ],
)
def test_a_vmlinux_is_found_where_distributions_have_it(tmp_path, place):
    path = put(tmp_path / place)
    assert find_vmlinux(ID.hex(), RELEASE, root=tmp_path) == path


def test_files_of_ones_own_go_first_and_another_kernel_is_none(tmp_path):
    put(tmp_path / f"boot/vmlinux-{RELEASE}")
    own = [put(tmp_path / "a", OTHER), tmp_path / "missing", put(tmp_path / "b")]
    assert find_vmlinux(ID.hex(), RELEASE, own, root=tmp_path) == own[2]
    assert find_vmlinux("abcdef", RELEASE, own, root=tmp_path) is None


@pytest.mark.parametrize("release", ["../../etc", "..", "a\0b", "", None, "x" * 5000])
def test_a_release_leads_to_no_other_directory(tmp_path, release):
    put(tmp_path / "boot" / "vmlinux-x" / "etc")
    assert find_vmlinux(ID.hex(), release, root=tmp_path) is None
    assert find_vmlinux("../" * 3, release, root=tmp_path) is None


def test_modules_are_found_by_name_and_build_id(tmp_path):
    (beside, *_others) = module_directories(RELEASE, tmp_path / "vmlinux", root=tmp_path)
    wanted = put(beside / "kernel" / "snd-usb.ko")
    put(beside / "kernel" / "ext4.ko", OTHER)
    (beside / "kernel" / "packed.ko.zst").write_bytes(b"x")
    debug = put(tmp_path / "usr/lib/debug/lib/modules" / RELEASE / "ext4.ko.debug")
    modules = {"snd_usb": ID.hex(), "ext4": ID.hex(), "packed": None, "gone": None}
    directories = list(module_directories(RELEASE, tmp_path / "vmlinux", root=tmp_path))
    assert find_modules(modules, directories) == [wanted, debug]


@pytest.mark.parametrize(
    "place", [f"usr/lib/debug/lib/modules/{RELEASE}/my-own.ko", "usr/lib/debug/.build-id/12/3456.debug"]
)
def test_a_module_without_debug_information_is_passed_over(tmp_path, place):
    whole = tmp_path / place
    whole.parent.mkdir(parents=True)
    (tmp_path / "own.c").write_text("int own(void) { return 1; }")
    link = f"-r -nostdlib -Wl,--build-id=0x{ID.hex()}".split()
    subprocess.run([f"{TOOLS}gcc", "-g", *link, tmp_path / "own.c", "-o", whole], check=True)
    installed = tmp_path / f"lib/modules/{RELEASE}/my-own.ko"
    installed.parent.mkdir(parents=True)
    subprocess.run([f"{TOOLS}strip", "-g", whole, "-o", installed], check=True)
    directories = [installed.parent, *module_directories(RELEASE, None, root=tmp_path)]
    assert find_modules({"my_own": ID.hex()}, directories) == [installed]
    assert find_module_lines("my_own", ID.hex(), directories, root=tmp_path) == whole
    assert find_module_lines("my_own", OTHER.hex(), directories, root=tmp_path) is None
