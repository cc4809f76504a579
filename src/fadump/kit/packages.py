"""The distribution's commands that the project needs: named when they are missing, and installed when run as root."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.process import log_path, run
from fadump.progress import Progress


def require(purpose: str, needed: Mapping[str, str]) -> None:
    """Make sure that everything ``needed`` is on this machine: command, or absolute path of a file → Debian package.

    Missing packages are installed when the process is root's, after naming them on stderr.

    :raises SetupError: something is missing and can't be installed from here; the sentence has the command that does.
    """
    missing = _missing(needed)
    if not missing:
        return
    packages = sorted(set(missing.values()))
    names = ", ".join(missing)
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"{purpose} needs {names}, which {_is_or_are(missing)} not on this machine: install what Debian "
            f"has in {' '.join(packages)}"
        )
    if os.geteuid() != 0:
        raise SetupError(
            f"{purpose} needs {names}, which {_is_or_are(missing)} not on this machine: "
            f"sudo apt-get install --no-install-recommends {' '.join(packages)}"
        )
    print(f"{purpose} needs {names}: installing {' '.join(packages)}", file=sys.stderr, flush=True)
    _install(packages)
    if still_missing := _missing(needed):
        raise SetupError(
            f"{purpose} needs {', '.join(still_missing)}, which installing {' '.join(packages)} did not bring; "
            f"the log is {log_path('apt-install')}"
        )


def _missing(needed: Mapping[str, str]) -> dict[str, str]:
    return {name: package for name, package in needed.items() if not _is_there(name)}


def _is_there(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def _install(packages: list[str]) -> None:
    log = log_path("apt-install")
    log.unlink(missing_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    with Progress.step(f"Installing {' '.join(packages)}"):
        try:
            run(command, what="apt-get install", log=log, environment=environment)
        except SetupError:  # most often the package lists are missing or out of date
            run(["apt-get", "update"], what="apt-get update", log=log, environment=environment)
            run(command, what=f"installing {' '.join(packages)}", log=log, environment=environment)


def _is_or_are(missing: Mapping[str, str]) -> str:
    return "is" if len(missing) == 1 else "are"
