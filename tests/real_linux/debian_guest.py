"""Types at the prompt of a Debian that `fadump image build` has made."""

SECONDS = 900
_LOGGED_IN = "root@fadump:~# "
_PROMPT = "@image> "
_QUIET = "dmesg -n 1; kill -s RTMIN+21 1; udevadm settle; stty -echo; PS1='@image''> ' TERM=dumb exec sh"
"""Nothing but answers comes on the console after it: no kernel, no systemd, no echo, no line editor."""


class DebianGuest:
    """The image's system in a ``fadump vm``; ``boot`` is what its console has shown up to the prompt."""

    def __init__(self, machine):
        self.machine = machine
        self.boot = self._read_up_to(_LOGGED_IN)
        self.run(_QUIET)

    def run(self, line):
        """What a command prints."""
        self.machine.child.sendline(line)
        return self._read_up_to(_PROMPT).removesuffix("\n")

    def _read_up_to(self, prompt):
        self.machine.child.expect_exact(prompt, timeout=SECONDS)
        return self.machine.child.before.decode(errors="replace").replace("\r", "")
