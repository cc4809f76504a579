"""Which function of a stack is blamed: what a fault stopped, whom it worked for, or who called panic()."""

import pytest

from tests.report.test_stuck import verdict

PANIC = ("crash_fadump", "ppc_panic_fadump_handler", "atomic_notifier_call_chain", "panic")
PAGE_FAULT = ("___do_page_fault", "do_page_fault", "data_access_common_virt")
TEXTS = (
    "WARNING: something else",
    "NIP [c0000000003b0a10] other+0x10/0x500",
    "Kernel panic - not syncing: EXT4-fs (device vda): panic forced after error",
    "NIP [c00000000006a8d8] copies+0x88/0x160",
)


@pytest.mark.parametrize(
    ("stack", "blame"),
    [
        ((*PANIC, "ext4_handle_error", "filemap_fault", *PAGE_FAULT, "0x300: copies", "reads [mine]"),
         "ext4_handle_error()"),
        ((*PANIC, "die", "__bad_page_fault", *PAGE_FAULT, "0x300: copies [mine]", "reads"),
         "the module mine, in copies()"),
        ((*PANIC, "check_panic_on_warn", "__warn", "of_a_newer_kernel", "0x700: warns [mine]", "writes"),
         "the module mine, in warns()"),
        (("0x300: __arch_clear_user", "read_zero", "vfs_read"), "read_zero()"),
        (("0x400: data_area [mine]", "jumps [mine]", "writes"), "the module mine, in jumps()"),
    ],
    ids=["a page's fault was mended", "a fault", "a check", "on behalf of its caller", "a jump to a variable"],
)  # fmt: skip
def test_a_fault_is_to_blame_for_a_panic_unless_it_was_being_mended(stack, blame):
    assert verdict(TEXTS, [stack]).blame == blame
