"""Debian's source of a Linux, unpacked once in the cache, for kernels and modules that are built from it."""

from fadump.kit.cache import cache_directory, lock, private_directory, scratch_directory
from tests.real_linux.more_kernels.repaired import unpack_source


def source_tree(series):
    """The tree; what the cache has is used again."""
    tree = cache_directory() / "sources" / f"linux-{series}"
    with lock(f"source-{series}"):
        if not tree.exists():
            with scratch_directory(private_directory(tree.parent), ".new-") as scratch:
                unpack_source(scratch, series).rename(tree)
    return tree
