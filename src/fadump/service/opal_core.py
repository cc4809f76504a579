"""OPAL's own core, which powernv has beside the dump: saved where the dump is.

Linux arch/powerpc/platforms/powernv/opal-core.c.
"""

from fadump.errors import FadumpError, reason
from fadump.service.root import Root
from fadump.service.targets.contract import OPAL_CORE_NAME, Stored, Target


def save_opal_core(root: Root, target: Target, stored: Stored) -> str | None:
    """Copy it durably beside a dump, if there is any; why it isn't there, as a sentence, or None."""
    if not root.opal_core.exists():
        return None
    try:
        target.add_file(OPAL_CORE_NAME, root.opal_core)
    except (FadumpError, OSError) as error:
        return f"{root.opal_core} stays, as it can't be saved beside {stored.where}: {reason(error)}"
    return None
