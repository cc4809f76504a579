"""How help is laid out: descriptions are wrapped, examples stay as they are written."""

import argparse


class HelpFormatter(argparse.HelpFormatter):
    """Takes a text of one line for a description, and one of more for examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text.strip():
            return super()._fill_text(text, width, indent)
        return "".join(indent + line for line in text.splitlines(keepends=True))
