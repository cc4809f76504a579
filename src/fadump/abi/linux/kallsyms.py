"""The kernel's own symbol table, kallsyms: how it packs names and addresses.

Linux: kernel/kallsyms.c, scripts/kallsyms.c. Found through VMCOREINFO since v6.0.

    kallsyms_num_syms       u32
    kallsyms_names          per symbol: length, then that many bytes, each of which stands for a token. The tokens
                            together are the symbol's kind, one letter, and its name. A length has one byte, or, if
                            that byte has bit 7, two: seven bits, then eight more significant ones.
    kallsyms_token_table    the tokens, each with a closing zero
    kallsyms_token_index    u16[256], where each begins
    kallsyms_offsets        u32 per symbol: from kallsyms_relative_base (u64); in kernels without that base, s32:
                            from the entry itself
    kallsyms_addresses      u64 per symbol, in kernels that have this instead of offsets
"""

TOKENS = 256
LONG_LENGTH = 0x80
LONG_LENGTH_SHIFT = 7
