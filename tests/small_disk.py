"""Commands on a disk of a few MiB, in a mount namespace, so that the disk is gone afterwards."""

import json
import subprocess
import sys

END_SECONDS = 120
ON_A_SMALL_DISK = r"""
mount -t tmpfs -o "$1" tmpfs "$2" && cd "$2" || exit 99
dumps=$3
shift 3
"$@" --json
status=$?
echo; find . -type f -printf '%P %b\n'
for dump in $dumps; do "$1" -m fadump check "$dump" >&2 || exit 98; done
exit $status
"""


def run_on_a_small_disk(directory, mount_options, *words, whole=()):
    """Run ``fadump`` there; its exit code, its JSON object, and the files that it leaves, with their sizes on disk.

    Dumps that should be ``whole`` then are looked at while they are there.
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", mount_options]
    command += [str(directory), " ".join(whole), sys.executable, "-m", "fadump", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert done.returncode not in (98, 99) and "Traceback" not in done.stderr, done.stderr
    told, *left = [line for line in done.stdout.splitlines() if line]
    sizes = {name: int(blocks) * 512 for name, blocks in (line.rsplit(" ", 1) for line in left)}
    return done.returncode, json.loads(told), sizes
