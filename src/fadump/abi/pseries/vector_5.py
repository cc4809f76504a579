"""Option vector 5, as negotiated: ``ibm,architecture-vec-5`` of /chosen says what the guest's MMU is to be.

LoPAR, "ibm,client-architecture-support". Its reader: Linux arch/powerpc/mm/init_64.c, early_check_vec5().
"""

PROPERTY = "ibm,architecture-vec-5"
RADIX_BYTE = 24
RADIX = 0x40
"""The byte, and the bit in it, that say that the guest has chosen radix; without it, its MMU is hash."""


def is_radix(vector: bytes) -> bool:
    """Whether a guest with this vector, which may be cut short, has chosen radix."""
    return len(vector) > RADIX_BYTE and bool(vector[RADIX_BYTE] & RADIX)
