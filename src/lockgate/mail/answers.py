"""What a program of the organisation wrote to somebody, told by the header alone: answers, reports, forwards.

RFC 3834 5 (Auto-Submitted), RFC 6522 3 (multipart/report), MS-OXCMAIL 2.2.3.2.14 and 2.1.3.2.21 (Exchange's fields).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple


class Sort(enum.StrEnum):
    """An answer (out of office, or a rule's), a delivery report, or a message that a person's rule sent on."""

    REPLY = "automatic reply"
    REPORT = "delivery report"
    FORWARD = "automatic forward"


class ByProgram(NamedTuple):
    """What it is, and the field that says so."""

    sort: Sort
    sign: str


_WORD = re.compile(r"[A-Za-z-]{1,40}")
_REPORT_TYPE = re.compile(r';[ \t]*report-type[ \t]*=[ \t]*"?([A-Za-z-]{1,40})', re.IGNORECASE)
_NOT_TO_ANSWER = frozenset(("oof", "autoreply", "all"))
_READ = frozenset(
    ("auto-submitted", "x-auto-response-suppress", "content-type", "x-ms-exchange-organization-autoforwarded")
)


def by_program(fields: Iterable[tuple[str, str]], *, null_sender: bool) -> ByProgram | None:
    """What the header says of the message's author, if that is a program whose mail remote domains may keep in.

    Exchange marks its out-of-office answers `auto-generated`, as much else is marked that programs write of their own
    accord. So there the null sender, which answers have (RFC 3834 3.3), and X-Auto-Response-Suppress are asked for too.
    A report of reading (RFC 8098) is none of the three.
    """
    submitted, suppress = "", ""
    for name, value in fields:
        lower = name.lower()
        if lower not in _READ:
            continue
        if lower == "content-type" and value.lstrip().lower().startswith("multipart/report"):
            kind = _REPORT_TYPE.search(value[:1000])
            if kind is None or kind[1].lower() != "delivery-status":
                return None
            return ByProgram(Sort.REPORT, "Content-Type: multipart/report; report-type=delivery-status")
        if lower == "auto-submitted":
            word = _WORD.match(value)
            submitted = word[0].lower() if word is not None else ""
        elif lower == "x-auto-response-suppress":
            suppress = suppress or next((w for w in _WORD.findall(value[:1000]) if w.lower() in _NOT_TO_ANSWER), "")
        elif lower == "x-ms-exchange-organization-autoforwarded" and value.strip().lower() == "true":
            return ByProgram(Sort.FORWARD, "X-MS-Exchange-Organization-AutoForwarded: true")
    if submitted == "auto-replied":
        return ByProgram(Sort.REPLY, "Auto-Submitted: auto-replied")
    if submitted == "auto-generated" and suppress and null_sender:
        sign = f"Auto-Submitted: auto-generated with X-Auto-Response-Suppress: {suppress} from the null sender"
        return ByProgram(Sort.REPLY, sign)
    return None
