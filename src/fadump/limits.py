"""How much is read of an input, whatever it claims: the budgets of all readers, each with its reason.

A file of a few KiB can claim anything: a table may be as long as a number says, many tables may share the same bytes,
and memory that is all zeros takes no room in a file. So the size of a file bounds nothing by itself. A reader's work
and memory are bounded by the bytes that are there, or by a budget of this module; limits that hold for two things hold
for their product too, as a :class:`Budget` counts all of it together. What is over a budget is left out, or refused, in
one sentence. Each budget is several times what the largest machines have.
"""

from fadump.errors import LimitError

MOST_SYMBOLS = 1 << 21
"""Of a kernel. Distributions' have 200,000, one with everything built in a million."""
MOST_NAME_BYTES = 1 << 14
"""One name: Linux has up to 512 bytes (KSYM_NAME_LEN), a compiler makes longer ones for C++ and Rust."""
MOST_NAMES_BYTES = 1 << 27
"""All names of a table together: 64 bytes each for as many symbols as there may be."""

MOST_KERNEL_IMAGE_BYTES = 1 << 27
"""How much memory, from a kernel's first function on, is searched for its list of symbols; a distribution's has it
within 32 MiB."""

MOST_NOTES = 1 << 18
MOST_NOTES_BYTES = 128 << 20
"""The notes of a dump: a few for each CPU, of up to 512 bytes."""
MOST_VMCOREINFO_BYTES = 1 << 20
"""Linux has one page for it."""
MOST_PROGRAM_NOTES_BYTES = 1 << 20
"""The notes of a vmlinux: its build id, and a few lines about the compiler."""
MOST_CPUS = 1 << 16
"""Linux for Power has 8192 at most (CONFIG_NR_CPUS)."""
MOST_SAVED_REGISTERS = 1 << 22
"""Entries of a register save area: 512 for each of 8192 CPUs, of which PAPR names 400 registers."""
MOST_CPU_DATA_BYTES = 1 << 28
"""The registers that OPAL saves: 4 KiB for each of so many CPUs."""
MOST_MPIPL_REGIONS = 1 << 16
"""Regions that OPAL has copied; Linux registers 128 at most."""
MOST_OPAL_IMAGE_BYTES = 16 << 20
"""How much of OPAL's memory is searched for its list of symbols, which lies within its first 3 MiB."""
MOST_STACK_FRAMES = 1 << 8
"""Of one stack; real ones have fewer than 100."""
MOST_FRAMES = 1 << 17
"""Of all stacks together: 64 for each of 2048 CPUs, which no machine has."""
MOST_MOUNTS = 1 << 17
"""Linux has 100,000 for a namespace at most (fs.mount-max)."""
MOST_PATH_DEPTH = 1 << 8
MOST_DENTRIES = 1 << 20
"""Names in a path, and in those of all mounts together."""
MOST_NETWORK_DEVICES = 1 << 14
MOST_NETWORK_ADDRESSES = 1 << 16
"""Network devices and addresses of all of them; a router has some thousands."""
MOST_INTERRUPTS = 1 << 18
"""Interrupts and the nodes of their tree; Linux for Power has some thousands."""
MOST_HUGE_PAGE_SIZES = 16
"""Sizes of huge pages; Linux for Power has 5 (HUGE_MAX_HSTATE)."""
MOST_SLAB_CACHES = 1 << 16
"""Caches of the slab allocator; a machine with many control groups had some thousands."""
MOST_MODULES = 1 << 14
"""Of a kernel; Debian has 4,000 in all, of which a machine uses some 100."""
MOST_TASK_FRAMES = 1 << 20
"""Of the stacks of all tasks: 20 for each of 50,000."""
MOST_TASKS = 1 << 18
"""Threads of a system; a database on a large machine has some 50,000."""
MOST_PER_CPU_VALUES = 1 << 22
"""What each CPU has its own of: three counters of a process's memory, of 2000 processes on 512 CPUs."""
MOST_OBJECTS = 1 << 22
"""Objects that lists, trees, arrays and members of the kernel lead to: four for each of as many threads as there may
be."""
MOST_ERASED_BYTES = 1 << 28
"""What is erased of a dump: keys, strings and structures take a few MiB."""
MOST_ERASED_PIECES = 1 << 20
"""In how many pieces; each is a line of the text that says so."""
MOST_STRING_BYTES = 1 << 20
"""One string of the kernel's: a command line has a few KiB."""
MOST_RULES_BYTES = 1 << 20
"""A file of rules that a person has written."""

MOST_MODULE_FILE_BYTES = 1 << 29
"""A module with debug information; the largest graphics driver has 200 MiB."""
MOST_DEBUG_FILE_BYTES = 4 << 30
"""What is fetched for one build id; a distribution's kernel has 1 GiB of debug information."""
MOST_DEBUG_ENTRIES = 1 << 24
"""Entries of debug information that are looked at for source lines; a function is found among some 10,000."""
MOST_INCIDENTS = 1 << 10
"""Messages of trouble in a log that are told one by one."""
MOST_LOG_RECORDS = 1 << 21
"""Those that Linux sets aside for a log of 64 MiB (PRB_AVGBITS)."""
MOST_LOG_BYTES = 1 << 28
"""The text of a log: log_buf_len= is rarely more than a few MiB."""
MOST_LOG_BUFFER_BYTES = 1 << 31
"""The ring of records of a log, which is read record by record; log_buf_len= has 2 GiB at most."""
MOST_FLAT_LOG_BYTES = 1 << 25
"""The ring of text of a log before v3.5, which is read at once."""

MOST_PAGE_TABLES = 1 << 14
MOST_MAPPED_PAGES = 1 << 24
"""Page tables that one look for virtual addresses walks, and pages that it finds; the largest is for 256 MiB."""
MOST_VMEMMAP_BLOCKS = 1 << 20
"""Blocks of the vmemmap with the hash MMU, of 64 KiB or more each: 64 GiB of struct pages."""
MOST_SECTION_ROOTS = 1 << 20
MOST_MEMORY_SECTIONS = 1 << 23
"""Memory sections, of 16 MiB or more each, and the pages of the table of them: 128 TiB."""
MOST_MEM_MAPS = 1 << 18
"""Places with contiguous struct pages: memory in so many pieces."""
MOST_STRUCT_PAGES = 1 << 34
"""Struct pages: those of 64 TiB in pages of 4 KiB, the most that any machine has."""
MOST_CLASSES_BYTES = 1 << 30
"""The classes of pages, a byte for each but where many in a row have the same: 64 TiB in pages of 64 KiB, 4 TiB in
pages of 4 KiB, all of it mixed."""
MOST_NODES = 1 << 10
MOST_ZONES = 1 << 4
MOST_FREE_ORDERS = MOST_FREE_TYPES = 40
MOST_FREE_LISTS = 1 << 16
"""Lists of free pages, of all nodes together: 256 nodes of two zones each have half of that."""

MOST_SECTION_BYTES = 1 << 30
"""One section of a vmlinux; debug information is the largest, with some hundred MiB."""
MOST_DEBUG_BYTES = 1 << 27
"""Debug information that is walked to find a few structures, which nearly all of a kernel's files define."""
MOST_ABBREVIATIONS = 1 << 23
"""Abbreviations of debug information and their attributes; each of a kernel's 5000 files has about a thousand."""
MOST_DEBUG_UNITS = 1 << 18
"""Units of debug information: one for each of a kernel's files, some 5000 in a distribution's."""
MOST_DEBUG_ENTRIES = 1 << 22
"""Entries that are read for the types of some names; a unit has up to 100,000, and some of a kernel's say it all."""
MOST_SEARCHED_BYTES = 1 << 38
MOST_NAME_PLACES = 1 << 22
"""What is searched for the names of types, all in all, and the places that are looked at: hundreds of names."""
MOST_MEMBER_NAMES_BYTES = 1 << 20
"""The names of one structure's members, or of an enum's values."""
MOST_BTF_BYTES = 1 << 26
"""A kernel's description of its types; distributions' take some 6 MiB."""
MOST_TYPE_DEPTH = 64
"""How many steps lead from a type to what it is: typedefs, qualifiers, arrays of arrays."""
MOST_NESTED = 1 << 9
"""Members without a name within a structure, which are structures; struct page has some 20."""

MOST_MEMORY_RANGES = 1 << 17
"""Ranges of memory in any dump, and program headers of an ELF core, so that each format takes what another has:
more than machines have."""
MOST_SHARED_BYTES = 1 << 30
"""Memory of an ELF core that has its bytes of the file in common with other memory, and is written for each: no
program makes such a file, but 131,072 program headers can claim a TiB over 8 MiB."""
MOST_RECORDS = 1 << 25
"""Records of a flattened file, of 24 bytes of memory each: 128 GiB by a writer that has one for each page of 4K."""
MOST_PIECES = 1 << 20
"""Pieces that memory, or a flattened file, is cut into; a strict dump level leaves many."""
MOST_PAGES = 1 << 33
"""Numbers of pages in a kdump-compressed file: 512 TiB of 64K pages. A bitmap of them takes 1 GiB."""
MOST_SELECTED_PAGES = 1 << 34
"""The same of a dump that is saved: 64 TiB of 4K pages, which is what Linux for x86_64 can have."""
MOST_CHECKSUMS_BYTES = 1 << 30
"""The table of a file's checksums: 67 million rows, of 256 KiB of memory or more each."""

MOST_TREE_BYTES = 64 << 20
"""A device tree; PowerVM's largest are a few MiB."""
MOST_TREE_ITEMS = 1 << 20
"""Nodes, properties and reservations of a device tree; real ones have some ten thousands."""
MOST_PROPERTY_CELLS = 1 << 20
"""Numbers in one property that is read at once; the memory of the largest machines is listed row by row."""


class Budget:
    """What a reader may take of ``what``, all in all; it is spent bit by bit."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._spent = 0

    def spend(self, amount: int = 1, *, offset: int | None = None) -> None:
        """Count ``amount`` more, which is about to be read at ``offset`` of the input.

        :raises LimitError: together that is more than the budget.
        """
        self._spent += amount
        if self._spent > self._limit:
            raise LimitError(self._what, found=self._spent, limit=self._limit, offset=offset)
