"""What a vmlinux says in place of VMCOREINFO, where neither the dump nor its memory has it.

After the last step of "follow one crash" in docs/architecture.md. That is where the kernel's symbols are, and by these
its release and its page size: enough for names, CPUs and backtraces. Offsets and numbers aren't there.
"""

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.linux.symbols.table import SymbolTable, UnknownSymbolError
from fadump.linux.vmcoreinfo import Facts
from fadump.linux.vmlinux.symbols import OtherKernelError, read_vmlinux
from fadump.vmcore.contract import UNREADABLE, Dump
from fadump.vmcore.source import StrPath

_BANNER_BYTES = 256
_BANNER = b"Linux version "
_SYMBOLS = ("_stext", "init_uts_ns", "swapper_pg_dir", "cur_cpu_spec", "vmemmap_list", "mmu_psize_defs", "mem_section")


def vmlinux_facts(dump: Dump, path: StrPath) -> Facts:
    """The facts that the vmlinux at ``path`` has, if it is the crashed kernel's.

    :raises OtherKernelError: the dump's memory doesn't have this kernel's banner where it should be.
    :raises FadumpError: as :func:`~fadump.linux.vmlinux.symbols.read_vmlinux`.
    :raises OSError: it can't be read.
    """
    symbols = read_vmlinux(path, Facts(b""))
    lines = [f"OSRELEASE={_release(dump, symbols, path)}", f"PAGESIZE={_page_bytes(symbols)}"]
    lines += [f"SYMBOL({name})={symbols.address(name):x}" for name in _SYMBOLS if name in symbols]
    return Facts("".join(f"{line}\n" for line in lines).encode())


def _release(dump: Dump, symbols: SymbolTable, path: StrPath) -> str:
    try:
        address = symbols.address("linux_banner") - PAGE_OFFSET
        banner = dump.read_physical(address, _BANNER_BYTES)
    except (UnknownSymbolError, *UNREADABLE):
        banner = b""
    words = banner.split(b"\0")[0].split()
    if not banner.startswith(_BANNER) or len(words) <= len(_BANNER.split()):
        raise OtherKernelError(f"{path} is another kernel: the dump's memory doesn't have its linux_banner")
    return words[len(_BANNER.split())].decode("ascii", "backslashreplace")


def _page_bytes(symbols: SymbolTable) -> int:
    """As crash knows it: kernels with pages of 64 KiB have a function to hash them."""
    return 1 << 16 if "__hash_page_64K" in symbols else 1 << 12
