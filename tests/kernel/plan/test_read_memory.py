import os

import pytest

from fadump.errors import FormatError
from fadump.kernel.plan.map_text import parse_map
from fadump.kernel.plan.read_memory import read_memory
from fadump.kernel.plan.system import system_of
from tests.kernel.trees import dynamic_v2, guest_tree, memory_node, opal_tree, write_directory

TREES = [guest_tree(), opal_tree(), guest_tree(memory_node(0, 1 << 30), dynamic_v2(1 << 28, (4, 1 << 32, 0x108)))]


@pytest.mark.parametrize("tree", TREES, ids=["guest", "powernv", "blocks"])
def test_a_blob_is_a_system(tmp_path, tree):
    blob = tmp_path / "tree.dtb"
    blob.write_bytes(tree.encode())
    assert read_memory(blob) == system_of(tree)


@pytest.mark.parametrize("tree", TREES, ids=["guest", "powernv", "blocks"])
def test_a_directory_is_the_same_system_but_for_reservations(tmp_path, tree):
    write_directory(tmp_path / "device-tree", tree.root)
    tree = type(tree)(tree.root)  # Linux's directory doesn't show the header's reservations
    assert read_memory(tmp_path / "device-tree") == system_of(tree)


def test_links_in_a_directory_are_not_followed(tmp_path):
    write_directory(tmp_path / "device-tree", guest_tree().root)
    (tmp_path / "device-tree" / "again").symlink_to(tmp_path / "device-tree")
    assert read_memory(tmp_path / "device-tree").system.supported


def test_a_pipe_in_a_directory_is_named(tmp_path):
    write_directory(tmp_path / "device-tree", guest_tree().root)
    os.mkfifo(tmp_path / "device-tree" / "pipe")
    with pytest.raises(FormatError, match="device-tree/pipe is neither a directory nor a file"):
        read_memory(tmp_path / "device-tree")


def test_a_directory_without_end_is_refused(tmp_path):
    path = tmp_path
    for _ in range(70):
        path /= "a"
    path.mkdir(parents=True)
    (tmp_path / "#address-cells").touch()
    with pytest.raises(FormatError, match="nested too deep"):
        read_memory(tmp_path)


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(FormatError, match="is not a device tree: it has no file #address-cells"):
        read_memory(tmp_path)


def test_a_text_is_a_map(tmp_path):
    path = tmp_path / "map"
    path.write_text("0..2G\n")
    assert read_memory(path) == parse_map("0..2G")


def test_something_else_is_refused(tmp_path):
    path = tmp_path / "map"
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(FormatError, match="neither a device tree nor a text"):
        read_memory(path)
    with pytest.raises(FileNotFoundError):
        read_memory(tmp_path / "missing")
