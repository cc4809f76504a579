import subprocess
import sys

COUNT = """
import resource
from fadump.capture.heap import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number in range(20):
        b"x" * ((4 << 20) + number)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults()
print(faults())
"""


def test_memory_that_is_freed_is_not_filled_with_zeros_again():
    """Else each page of it that is touched again is a fault: 20,000 of them."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2000
