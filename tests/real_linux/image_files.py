"""Files written into a copy of a Debian image without booting it, as its administrator would have written them."""

import shutil
import subprocess

_ROOT_OFFSET = 18432 * 512
"""Where the image's second partition begins, which is its root file system."""
UNITS = "/etc/systemd/system"
_BOOTED = {"/etc/machine-id": f"{'5':0>32}\n", "/etc/.updated": "", "/var/.updated": ""}
"""What a system has once it has been booted, and with which its next boot is quicker."""
MASKED = (f"{UNITS}/kdump-tools.service", "/dev/null")
"""The link by which kdump-tools stays out of it."""


def enabled(service, target):
    """The link by which a target wants a service of a package's."""
    return f"{UNITS}/{target}.wants/{service}", f"/usr/lib/systemd/system/{service}"


def copy_of(image, disk, files, *, links=()):
    """A copy of an image with these files in the place of what was there, and (name, target) symbolic links.

    Files are root's, a program's by its first line.
    """
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, disk], check=True)
    files = _BOOTED | files
    requests = []
    scratch = disk.with_suffix(".files")
    scratch.mkdir()
    for number, (name, text) in enumerate(files.items()):
        source = scratch / str(number)
        source.write_text(text)
        mode = 0o100755 if text.startswith("#!") else 0o100644
        requests += [f"mkdir {parent}" for parent in _parents(name)]
        requests += [f"rm {name}", f"write {source} {name}", f"sif {name} mode 0{mode:o}"]
        requests += [f"sif {name} uid 0", f"sif {name} gid 0"]
    for name, target in links:
        requests += [f"mkdir {parent}" for parent in _parents(name)]
        requests += [f"rm {name}", f"symlink {name} {target}"]
    script = scratch / "requests"
    script.write_text("\n".join(requests) + "\n")
    system = f"{disk}?offset={_ROOT_OFFSET}"
    subprocess.run(["debugfs", "-w", "-f", script, system], check=True, capture_output=True)
    for name, text in files.items():  # debugfs has no exit status that tells
        there = subprocess.run(["debugfs", "-R", f"cat {name}", system], check=True, capture_output=True, text=True)
        assert there.stdout == text, f"{name} isn't written: {there.stderr}"
    shutil.rmtree(scratch)
    return disk


def file_system(path, label, size_mib):
    """A disk that has nothing on it but an empty ext4 of this size."""
    with path.open("xb") as disk:
        disk.truncate(size_mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-L", label, path], check=True)
    return path


def _parents(name):
    parts = name.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
