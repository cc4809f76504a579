"""The command line that QEMU gets: the caller's own, with guest RAM that is shared and connections to us."""

import json

from fadump.emulator.command_line import parse
from fadump.emulator.guest import find_guest
from fadump.emulator.rewrite import monitor_configuration, rewrite

OURS = ["-chardev", "socket,id=fadump-gdb,fd=20", "-gdb", "chardev:fadump-gdb", "-readconfig", "/proc/self/fd/21"]


def rewritten(words):
    guest = find_guest(parse(words))
    return rewrite(words, guest, range(10, 10 + len(guest.backends)), 20, 21)


def test_all_words_stay_and_ours_come_behind_them():
    words = ["-m", "1G", "-nographic", "disk.img"]
    assert rewritten(words) == [
        *words,
        *("-object", "memory-backend-file,id=ppc_spapr.ram,size=1073741824,mem-path=/proc/self/fd/10,share=on"),
        *("-machine", "memory-backend=ppc_spapr.ram", "-S"),
        *OURS,
    ]


def test_what_is_said_of_gdb_goes():
    words = ["-S", "-m", "1G", "-machine", "memory-backend=r", "-object", "memory-backend-ram,id=r,size=1G"]
    *kept, backend = rewritten([*words[:3], "-s", *words[3:5], "--gdb", "tcp::1", "-gdb", "none", *words[5:]])
    assert rewritten(words) == [*kept, backend]


def test_a_directory_for_guest_ram_goes_if_ours_is_there(tmp_path):
    words = ["-S", "-m", "1G", "-nographic"]
    assert rewritten([*words, "-mem-path", str(tmp_path)]) == rewritten(words)
    words += ["-mem-path", str(tmp_path), "-machine", "memory-backend=r", "-object", "memory-backend-ram,id=r,size=1G"]
    assert rewritten(words)[: len(words) - 1] == words[:-1]  # which QEMU doesn't take


def test_a_backend_keeps_what_its_owner_says_of_it():
    described = "memory-backend-memfd,id=r,size=1G,prealloc=on,host-nodes=0-1,seal=off,share=off"
    words = ["-S", "-m", "1G", "-machine", "memory-backend=r", "-object", described]
    assert rewritten(words) == [
        *words[:-1],
        "memory-backend-file,id=r,size=1G,prealloc=on,host-nodes=0-1,mem-path=/proc/self/fd/10,share=on",
        *OURS,
    ]


def test_a_backend_in_json_stays_json():
    described = '{"qom-type":"memory-backend-ram","id":"r","size":1073741824,"host-nodes":[0],"policy":"bind"}'
    words = ["-S", "-m", "1G", "-machine", "memory-backend=r", "-object", described]
    *before, backend = rewritten(words)[: len(words)]
    assert before == words[:-1]
    assert json.loads(backend) == {
        "qom-type": "memory-backend-file",
        "id": "r",
        "size": 1 << 30,
        "host-nodes": [0],
        "policy": "bind",
        "mem-path": "/proc/self/fd/10",
        "share": True,
    }


def test_each_node_gets_its_file():
    words = ["-S", "-m", "2G"]
    for node in ("1", "0"):
        words += ["-object", f"memory-backend-ram,id=r{node},size=1G", "-numa", f"node,nodeid={node},memdev=r{node}"]
    backends = [word for word in rewritten(words) if word.startswith("memory-backend-file")]
    assert backends == [
        "memory-backend-file,id=r1,size=1G,mem-path=/proc/self/fd/11,share=on",
        "memory-backend-file,id=r0,size=1G,mem-path=/proc/self/fd/10,share=on",
    ]


def test_our_monitor_is_a_section_of_a_configuration_file():
    assert monitor_configuration(7).splitlines() == [
        '[chardev "fadump-qmp"]',
        '  backend = "socket"',
        '  fd = "7"',
        '[mon "fadump-qmp"]',
        '  chardev = "fadump-qmp"',
        '  mode = "control"',
    ]
