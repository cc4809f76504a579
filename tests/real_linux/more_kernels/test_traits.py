"""The model's traits are what is in Linux's sources: each by a text that is there if it is so. `make test-kernels`."""

import re
import subprocess
from dataclasses import fields

import pytest

from fadump.kernel.traits import KERNEL_VERSIONS, KernelTraits
from fadump.kit.debian import fetch, native_architecture

CONFIGURED = {"page_bytes", "nr_cpus", "huge_pages"}
"""By Linux's configuration, and not by its sources."""
FADUMP = "arch/powerpc/kernel/fadump.c"
RTAS_FADUMP = "arch/powerpc/platforms/pseries/rtas-fadump.c"
RTAS = "arch/powerpc/kernel/rtas.c"
PROM = "arch/powerpc/kernel/prom.c"
CRASH_RESERVE = "kernel/crash_reserve.c"
TEXTS = {
    "parameter_area": (FADUMP, r"fadump_setup_param_area"),
    "region_per_range": (RTAS_FADUMP, r"fdm\.rgn\["),
    "first_kernel_writes_elfcorehdr": (FADUMP, r"fadump_create_elfcore_headers"),
    "sized_cmdline": ("fs/proc/cmdline.c", r"size = saved_command_line_len"),
    "extends_memory_limit": (FADUMP, r"Adjusted memory_limit for firmware-assisted"),
    "limits_to_16_mib": (PROM, r"ALIGN_DOWN\(memory_limit"),
    "bounded_wait": (RTAS_FADUMP, r"RTAS_FADUMP_MAX_WAIT_MS"),
    "typed_pages": ("include/linux/page-flags.h", r"PGTY_slab"),
    "small_interrupt_frames": ("arch/powerpc/include/asm/ptrace.h", r"STACK_INT_FRAME_MARKER\s+STACK_FRAME_MIN_SIZE"),
    "exports_mmu": ("arch/powerpc/kexec/vmcore_info.c", r"NUMBER\(RADIX_MMU\)"),
    "os_term_without_text": (RTAS, r"rtas_call_unlocked\(&args, token, 1, 1, NULL, __pa\(rtas_os_term_buf\)"),
    "names_rtas": (RTAS, r"pr_fmt\(fmt\)\s+\"rtas: \""),
    "refuses_crashkernel_of_all_ram": (CRASH_RESERVE, r"crash_size >= system_ram"),
    "skips_cma_suffix": (CRASH_RESERVE, r"SUFFIX_CMA"),
    "lends_aligned_part": (FADUMP, r"ALIGN_DOWN\(end, CMA_MIN_ALIGNMENT_BYTES\)"),
    "lends_late": ("arch/powerpc/mm/mem.c", r"fadump_cma_init\(\)"),
    "parameters_above_min_rma": (FADUMP, r"range_start = MIN_RMA"),
    "parameters_if_enabled": (FADUMP, r"fadump_setup_param_area\(void\)\s*\{[^}]*?if \(!fw_dump\.fadump_enabled\)"),
    "dumps_log_first": ("arch/powerpc/kernel/setup-common.c", r"should_fadump_crash\(\)\)\s*kmsg_dump"),
    "generic_crashkernel": ("arch/powerpc/kexec/core.c", r"reserve_crashkernel_generic\("),
    "wraps_cmdline": ("init/main.c", r"print_kernel_cmdline"),
    "kexec_directory": ("kernel/kexec_core.c", r"kobject_create_and_add\(\"kexec\""),
    "has_relative_base": ("kernel/kallsyms.c", r"kallsyms_relative_base"),
    "says_compound_head": ("include/linux/mm_types.h", r"unsigned long compound_head;"),
    "counts_buffers": (FADUMP, r"free_pages_exact\("),
}
"""By the trait's name: the file, and a regular expression that is found in it if a kernel has the trait."""
LACKED = {"lists_vmemmap": ("arch/powerpc/mm/book3s64/radix_pgtable.c", r"int __meminit radix__vmemmap_populate\(")}
"""The same for a trait that a kernel has if it is not found."""


@pytest.fixture(scope="module", params=list(KERNEL_VERSIONS))
def sources(request, tmp_path_factory):
    """A series, and what Debian's source package has of the files that tell."""
    package = fetch(f"linux-source-{request.param}", (native_architecture(), "ppc64el"))
    directory = tmp_path_factory.mktemp("linux")
    root = f"linux-source-{request.param}"
    names = sorted({name for name, _text in (*TEXTS.values(), *LACKED.values())})
    inner = f"dpkg-deb --fsys-tarfile {package.path} | tar xO ./usr/src/{root}.tar.xz"
    wanted = " ".join(f"{root}/{name}" for name in names)
    subprocess.run(
        ["bash", "-c", f"{inner} | tar xJ --directory {directory} --strip-components=1 {wanted} 2>missing"],
        cwd=directory,
        check=False,  # some files are not in all kernels
    )
    assert (directory / FADUMP).is_file(), (directory / "missing").read_text()
    return request.param, directory


def has(directory, where):
    name, text = where
    path = directory / name
    return path.is_file() and re.search(text, path.read_text()) is not None


def test_every_trait_is_told_by_a_text():
    assert {field.name for field in fields(KernelTraits)} == CONFIGURED | set(TEXTS) | set(LACKED)


def test_a_kernel_has_the_traits_of_its_sources(sources):
    series, directory = sources
    found = {name: has(directory, where) for name, where in TEXTS.items()}
    found |= {name: not has(directory, where) for name, where in LACKED.items()}
    assert found == {name: getattr(KERNEL_VERSIONS[series], name) for name in found}
