"""Faults on Linux 6.1 and 6.12, and on the model: what comes of each is the same, step by step, word for word.

tests/real_linux/test_faults.py runs some on 6.12; here are those that take a boot of their own. `make test-kernels`.
"""

import pytest

from fadump.abi.platform import Platform
from fadump.kit.kernel import build_kernel
from tests.real_linux.fault_stories import back_to_production, told
from tests.real_linux.scenario import ModelScenario, Scenario

CRASHES = {
    ("6.1", Platform.PSERIES): [
        "crash-info=corrupt", "crash-info=other-endian", "crash-info=no-cpu", "cpu-state=invalid-source",
        "cpu-state=unknown-type", "hpte=invalid-source", "boot-memory=short", "boot-memory=unknown-type",
        "dump=no-sections", "registers=no-end", "terminate=hardware-error",
    ],
    ("6.1", Platform.POWERNV): [
        "crash-info=corrupt", "metadata=no-header", "query-cpu-tag=parameter", "query-kernel-tag=parameter",
    ],
    ("6.12", Platform.PSERIES): [
        "terminate=hardware-error", "terminate=success", "terminate=busy*2,9900*2", "invalidate=busy*2",
    ],
    ("6.12", Platform.POWERNV): [
        "registers=fewer-cpus", "opal=later-version", "opal=foreign-cpu", "terminate=unsupported", "terminate=hardware",
        "terminate=busy", "query-kernel-tag=parameter", "set-kernel-tag=parameter",
    ],
}  # fmt: skip
"""Crash after crash on one machine."""

LAST = {
    ("6.1", Platform.PSERIES): ["invalidate=hardware-error"],
    ("6.1", Platform.POWERNV): ["invalidate=parameter"],
    ("6.12", Platform.PSERIES): ["invalidate=hardware-error", "invalidate=success"],
    ("6.12", Platform.POWERNV): [
        "invalidate=parameter",
        "registers=outside",
        "registers=nowhere",
        "opal=no-regions",
        "boot-memory=outside",
        "boot-memory=overlapping",
    ],
}
"""Nothing comes after these: the kernel dies, or firmware and kernel no longer agree."""

STORIES = [
    *((series, platform, names) for (series, platform), names in CRASHES.items()),
    *((series, platform, [name]) for (series, platform), names in LAST.items() for name in names),
]


def tell(scenario, names):
    with scenario:
        scenario.hello()
        for number, name in enumerate(names):
            if number:
                back_to_production(scenario)
            yield told(scenario, name)


@pytest.mark.parametrize(
    ("series", "platform", "names"),
    STORIES,
    ids=[f"{series} {platform} {names[0]}" for series, platform, names in STORIES],
)
def test_linux_and_the_model_make_the_same_of_a_fault(tmp_path, series, platform, names):
    real = list(tell(Scenario(tmp_path / "real", build_kernel(series, "64K"), platform=platform), names))
    model = list(tell(ModelScenario(tmp_path / "model", series, platform=platform), names))
    assert [story.name for story in real] == names
    assert real == model
