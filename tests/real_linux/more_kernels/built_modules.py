"""Modules built outside of a kernel's tree, as a vendor's are, for a kernel of the cache: with debug information.

Its tree is Debian's source with that kernel's configuration, prepared for such a build and no more, so no symbol of the
kernel's is known to the build: a module that names one that isn't there fails when it is loaded.
"""

import hashlib
import os
import shutil
import subprocess

from fadump.kit.cache import cache_directory, lock, new_entry
from fadump.kit.kernel_make import COMPILER
from tests.real_linux.more_kernels.source_tree import source_tree

CROSS = ["ARCH=powerpc", f"CROSS_COMPILE={COMPILER.removesuffix('gcc')}"]
OWN_NULL_DEVICE = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/null && exec "$@"', "sh"]
"""As root, a kernel's makefiles have replaced /dev/null by a file."""
WITHOUT_TYPES = ["KBUILD_MODPOST_WARN=1", "CONFIG_DEBUG_INFO_BTF=", "CONFIG_DEBUG_INFO_BTF_MODULES="]
"""No BTF, as vendors' modules have none: it needs the kernel's own. The code is compiled as that is configured."""
OF_CRASHES = "drivers/misc/lkdtm"
"""Linux's own module that provokes crashes."""


def module_of_crashes(kernel):
    """lkdtm.ko for that kernel, built once."""
    files = {path.name: path.read_bytes() for path in _sources(source_tree(kernel.series) / OF_CRASHES)}
    return build_module(kernel, "lkdtm", files, "CONFIG_LKDTM=m")


def build_module(kernel, name, files, *settings):
    """The module ``name``.ko of these files, a Makefile among them, built once."""
    key = hashlib.sha256(repr((kernel.bootable, sorted(files.items()), settings)).encode()).hexdigest()[:12]
    entry = cache_directory() / "modules" / f"{name}-{key}"
    with lock(f"module-{name}-{key}"):
        if not entry.exists():
            with new_entry(entry) as new:
                _build(kernel, new, name, files, settings)
    return entry / f"{name}.ko"


def _build(kernel, directory, name, files, settings):
    source = source_tree(kernel.series)
    objects = directory / "objects"
    objects.mkdir()
    shutil.copyfile(kernel.config, objects / ".config")
    for title, content in files.items():
        (directory / title).write_bytes(content)
    make = ["make", f"-j{len(os.sched_getaffinity(0))}", "-C", source, f"O={objects}", *CROSS, *WITHOUT_TYPES]
    for words in (["modules_prepare"], [f"M={directory}", *settings, "modules"]):
        command = [*(OWN_NULL_DEVICE if os.geteuid() == 0 else []), *map(str, [*make, *words])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    shutil.rmtree(objects)
    assert (directory / f"{name}.ko").is_file()


def _sources(directory):
    return [path for path in directory.iterdir() if path.is_file()]
