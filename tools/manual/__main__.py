"""Write all man pages, and every shell's completions, into a directory: ``python -m manual DIRECTORY``."""

import os
import sys
from pathlib import Path

import fadump
from fadump.cli.completions import SHELLS
from fadump.cli.described import read_commands
from manual.man_page import man_page


def main() -> None:
    """DIRECTORY/man1/NAME.1, and DIRECTORY/SHELL/FILE for each shell."""
    directory = Path(sys.argv[1])
    os.environ["COLUMNS"] = "80"  # argparse wraps a synopsis to that, whatever terminal this is run on
    program = read_commands()
    for command in program.walk():
        _write(directory / "man1" / f"{command.name}.1", man_page(command, program, fadump.__version__))
    for shell, (name, completions) in SHELLS.items():
        _write(directory / shell / name, completions())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
