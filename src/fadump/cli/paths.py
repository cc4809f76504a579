"""Names of files and directories, as they are typed.

An empty one is refused: it comes of a script's variable that is not set, and pathlib takes it for the working
directory.
"""

import argparse
from pathlib import Path


def path(text: str) -> Path:
    """A file's or a directory's name, for argparse.

    :raises argparse.ArgumentTypeError: it is empty.
    """
    return Path(name(text))


def name(text: str) -> str:
    """The same where ``-`` and the like have a meaning of their own.

    :raises argparse.ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("a file needs a name, and this one is empty")
    return text
