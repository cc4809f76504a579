"""A kernel with the watchdogs and checks of a distribution's, and the modules of its tree, with debug information."""

from pathlib import Path

from fadump.kit.kernel_source import build_tree
from tests.real_linux.more_kernels.source_tree import source_tree

FRAGMENT = Path(__file__).parent / "crashing.config"


def crashing_kernel(series):
    """Debian's Linux of a series, built once."""
    return build_tree(source_tree(series), FRAGMENT, "64K")


def own_module(kernel, name):
    """One of that kernel's modules, as it was built."""
    (path,) = kernel.vmlinux.parent.rglob(f"{name}.ko")
    return path
