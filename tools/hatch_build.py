"""Puts man pages and completions into sdist and wheel, as the build backend's hook.

Making them takes all that fadump needs, which a build that is isolated doesn't have: ``make dist`` makes them in
dist/manual, an sdist has them in manual, from where its wheels have them. Other builds are without.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PLACES = {
    "man1": "share/man/man1",
    "bash": "share/bash-completion/completions",
    "zsh": "share/zsh/site-functions",
    "fish": "share/fish/vendor_completions.d",
}
"""Where a system, or pipx for its user, looks for what is in each directory."""


class ManualHook(BuildHookInterface[Any]):
    """Adds a directory of files if it is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before sdist and wheel are made; ``version`` is the wheel's sort, "standard" or "editable"."""
        places = (Path(self.root, place) for place in ("dist/manual", "manual"))
        manual = next((place for place in places if place.is_dir()), None)
        if manual is None or version == "editable":
            return
        if self.target_name == "sdist":
            build_data["force_include"][str(manual)] = "manual"
        else:
            build_data["shared_data"] |= {str(manual / name): place for name, place in _PLACES.items()}
