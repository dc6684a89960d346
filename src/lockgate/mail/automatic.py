"""Mail that programs wrote, or that was written to many, and what reports about it its author does not want.

RFC 3834 (automatic answers), RFC 2919 and 2369 (lists), X-Auto-Response-Suppress of Exchange (MS-OXCMAIL 2.2.3.2.14).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lockgate.mail.headers import Headers, unfold

_WORD = re.compile(r"[A-Za-z-]{1,40}")
_TO_MANY = frozenset(("bulk", "list", "junk"))
_SUPPRESSING = {
    "failed": frozenset(("ndr", "all")),
    "delayed": frozenset(("ndr", "dr", "all")),
    "relayed": frozenset(("dr", "all")),
    "delivered": frozenset(("dr", "all")),
}


def automatic(headers: Headers) -> str:
    """The field, and its word, by which the message says that a program wrote it or that it went to many; else "".

    `Auto-Submitted` with anything but "no" (RFC 3834 5), `Precedence: bulk`, `list` or `junk`, and fields of lists.
    """
    for name, value in _fields(headers):
        if name == "auto-submitted" and (word := _first(value)) not in ("", "no"):
            return f"Auto-Submitted: {word}"
        if name == "precedence" and (word := _first(value)) in _TO_MANY:
            return f"Precedence: {word}"
        if name in ("list-id", "list-post", "list-unsubscribe"):
            return name.title()
    return ""


def unwanted(headers: Headers, kind: str) -> str:
    """The word of X-Auto-Response-Suppress that forbids reports of this kind (mail/report.py), "" if none does."""
    for name, value in _fields(headers):
        if name == "x-auto-response-suppress":
            for word in _WORD.findall(value[:1000]):
                if word.lower() in _SUPPRESSING[kind]:
                    return str(word)
    return ""


def _fields(headers: Headers) -> Iterator[tuple[str, str]]:
    for name, value in headers.fields:
        lower = name.lower()
        if lower in _READ:
            yield lower.decode("ascii"), unfold(value)


_READ = frozenset(
    (b"auto-submitted", b"precedence", b"list-id", b"list-post", b"list-unsubscribe", b"x-auto-response-suppress")
)


def _first(value: str) -> str:
    """The first word, in lower case; comments and parameters do not count."""
    found = _WORD.match(value)
    return found[0].lower() if found is not None else ""
