"""``python -m fadump.service.post URL SECONDS``: send standard input to a URL by HTTP's POST.

A process of its own, as a name server or a server that is slow on purpose can be waited for in no other way.
"""

import sys
import urllib.error
import urllib.request
from http.client import HTTPException

from fadump.errors import reason
from fadump.printable import in_a_line


def post(url: str, raw: bytes, seconds: float) -> str | None:
    """Send JSON; why it couldn't be sent, or None."""
    try:
        request = urllib.request.Request(url, raw, {"Content-Type": "application/json"})  # noqa: S310 - see config
        with urllib.request.urlopen(request, timeout=seconds):  # noqa: S310 - as above
            return None
    except urllib.error.HTTPError as error:
        return in_a_line(f"the server says {error.code} {error.reason}")
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, HTTPException) as error:
        return reason(error)


def main() -> int:
    """Send what standard input has, and say on standard error why it couldn't be sent."""
    url, seconds = sys.argv[1:]
    error = post(url, sys.stdin.buffer.read(), float(seconds))
    if error is not None:
        print(f"fadump: {url}: {error}", file=sys.stderr)
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main())
