"""Transcripts in the documents: commands and what they say, read, run again in ``fadump shell``, and written anew."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.real_linux.fadump_command import COMMAND, RUN_SECONDS

_MARK = "\x01"
_PROMPT = "$ "


@dataclass(frozen=True)
class Transcript:
    """What stands between the two markers of ``name`` in a document."""

    document: Path
    name: str

    def text(self):
        """The transcript as it is there."""
        return self._parts()[1]

    def replace(self, text):
        before, _text, after = self._parts()
        self.document.write_text(before + text + after)

    def commands(self):
        return [line.removeprefix(_PROMPT) for line in self.text().splitlines() if line.startswith(_PROMPT)]

    def run(self, directory, *options, prelude=""):
        """Run the commands in one shell in ``directory``, behind ``prelude``; returns what that comes to."""
        script = "".join(f"{command}\nprintf '%s' {_MARK}\n" for command in ["exec 2>&1", *self.commands()])
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*COMMAND, "shell", *options, "--", "bash"], cwd=directory, env=environment, input=prelude + script,
            capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
        said = re.sub(r"bash: line \d+: ", "bash: ", done.stdout).split(_MARK)
        assert len(said) == len(self.commands()) + 2, done.stdout + done.stderr
        return "".join(f"{_PROMPT}{command}\n{text}" for command, text in zip(self.commands(), said[1:], strict=False))

    def _parts(self):
        whole = self.document.read_text()
        match = re.search(
            rf"<!-- {self.name}: .*?-->\n```console\n(.*?)```\n<!-- end of {self.name} -->", whole, re.DOTALL
        )
        assert match is not None, f"no markers for {self.name}"
        return whole[: match.start(1)], match[1], whole[match.end(1) :]
