"""Telling somebody how a capture has ended: a program, an address, a URL. None of them is waited for longer than asked.

No notification ever fails a capture: what goes wrong with one is a remark.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping

from fadump.printable import in_a_line, printable
from fadump.service.config import NotifySettings
from fadump.service.programs import run_program

_SENDMAIL = ["sendmail", "-t", "-i"]


def notify(
    settings: NotifySettings, told: Mapping[str, object], text: str, environment: Mapping[str, str]
) -> Iterator[str]:
    """Tell everybody; yield a sentence for each who couldn't be told.

    ``told`` is the result as ``fadump capture --json`` has it, ``text`` the same for people.
    """
    raw, seconds = json.dumps(told).encode(), settings.timeout
    if settings.command:
        yield from _said(run_program("the notification", settings.command, seconds, environment, raw))
    if settings.mail:
        yield from _said(run_program("mail by", _SENDMAIL, seconds, environment, _mail(settings.mail, told, text)))
    if settings.webhook:
        post = [sys.executable, "-m", "fadump.service.post", settings.webhook, str(seconds)]
        yield from _said(run_program(f"telling {settings.webhook} by", post, seconds, environment, raw))


def _said(sentence: str | None) -> list[str]:
    return [] if sentence is None else [sentence]


def _mail(address: str, told: Mapping[str, object], text: str) -> bytes:
    from email.message import EmailMessage  # noqa: PLC0415 - slow to start, and few captures end with a mail

    mail = EmailMessage()
    mail["To"] = address
    mail["Subject"] = in_a_line(f"{os.uname().nodename}: a crash's dump: {told['result']}")
    mail.set_content(printable(text))
    return bytes(mail)
