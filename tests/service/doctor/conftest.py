"""Systems that more than one of doctor's tests look at."""

import pytest

from tests.service.doctor.trees import FOUR_GIB, RULES, RULES_FILE, booted, powervm


@pytest.fixture
def armed(tmp_path):
    """A partition where all is well: registered, with kdump-tools of Debian's, whose udev rules are masked."""
    tree = booted(tmp_path, "fadump=on,nocma fadump=nocma crashkernel=512M", memory=FOUR_GIB, on_tree=powervm)
    tree.kdump_tools()
    tree.put(RULES_FILE, RULES)
    tree.link("/etc/udev/rules.d/50-kdump-tools.rules", "/dev/null")
    return tree
