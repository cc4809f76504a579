"""Kernels that have crashed, and the report of each."""

from fadump.linux.system import CrashedSystem
from fadump.report.findings import find
from fadump.report.redact import Words
from fadump.report.sections import tell
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.kernel_builder import Log, Message


def kernel_that_said(*texts, **registers):
    kernel = crashed_kernel(with_log=False)
    messages = [text if isinstance(text, Message) else Message(text.encode()) for text in texts]
    Log(kernel, messages, count_bits=9, text_bits=17)
    kernel.cpus[0] |= registers
    return kernel


def findings_of(kernel):
    with CrashedSystem(kernel.dump()) as system:
        return find(system)


def story_of(kernel, *, redacts=False, names=()):
    with CrashedSystem(kernel.dump()) as system:
        return tell(find(system), Words.of(redacts=redacts, names=names))
