"""The reports in a message or a file, whatever they are packed in: found, read, and told why where they cannot be."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from email.utils import parseaddr

import msgspec

from lockgate.mail.reports.aggregate import AggregateReport, read_aggregate
from lockgate.mail.reports.failure import FailureReport, read_failure
from lockgate.mail.reports.packed import BadReport, unpacked
from lockgate.mail.reports.tls import TlsReport, read_tls_report

LARGEST_MESSAGE = 25 * 1024 * 1024
"""Octets of a message that is looked at."""

MOST_PARTS = 200
"""Parts of a message that are looked at."""

MOST_REPORTS = 5
"""Reports that are read out of one message; a real one carries a single one."""

_PACKED = (b"\x1f\x8b", b"PK\x03\x04")
_KINDS = frozenset(
    ("application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed", "application/x-zip",
     "application/xml", "text/xml", "application/octet-stream", "application/tlsrpt+json", "application/tlsrpt+gzip",
     "application/json")
)  # fmt: skip

_SHOWN_MAIL = frozenset(("message/rfc822", "message/rfc822-headers", "text/rfc822-headers", "message/partial"))


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """One report, or `why` there is none; `part` names the file or part it came in."""

    part: str = ""
    aggregate: AggregateReport | None = None
    failure: FailureReport | None = None
    tls: TlsReport | None = None
    why: str = ""


def readings(octets: bytes) -> tuple[Reading, ...]:
    """What is in these octets: a report by itself, packed or not, or a message that carries some. Never empty.

    Never raises for what the octets say, but for what they need: MemoryError. RecursionError is told as a reason.
    """
    if len(octets) > LARGEST_MESSAGE:
        return (Reading(why=f"it is larger than {LARGEST_MESSAGE // 1024**2} MiB"),)
    start = octets[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if octets.startswith(_PACKED) or start.startswith((b"<", b"{")):
        return (_read(octets, ""),)
    try:
        message = BytesParser(policy=compat32).parsebytes(octets)
        found = list(_found(message))
    except RecursionError:
        return (Reading(why="its parts lie too deep in each other"),)
    except (ValueError, LookupError, AttributeError, TypeError) as trouble:
        # The standard library's parser raises what its inner parts raise when a header is odd enough.
        return (Reading(why=f"the message cannot be taken apart: {trouble}"[:300]),)
    return tuple(found) or (Reading(why="there is no report in it"),)


def _found(message: Message) -> Iterator[Reading]:
    reporter, report_id = _sender(message), str(message.get("Message-ID", ""))
    count = 0
    for number, part in enumerate(_parts(message)):
        if number >= MOST_PARTS:
            yield Reading(why=f"only the first {MOST_PARTS} parts were looked at")
            return
        if not _may_hold(part, alone=part is message):
            continue
        if count >= MOST_REPORTS:
            yield Reading(why=f"only the first {MOST_REPORTS} reports were read")
            return
        count += 1
        if part.get_content_type() == "message/feedback-report":
            yield _failure(part, message, reporter, report_id)
        else:
            yield _read(_content(part), _name(part))


def _parts(message: Message) -> Iterator[Message]:
    """The parts that hold something, in order; what a failure report shows of a message is no part of the report."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inner = part.get_payload()
        if part.get_content_type() == "message/feedback-report" or not isinstance(inner, list):
            yield part
            continue
        known = [one for one in inner if isinstance(one, Message)]
        if any(one.get_content_type() == "message/feedback-report" for one in known):
            known = [one for one in known if one.get_content_type() not in _SHOWN_MAIL]
        waiting += reversed(known)


def _may_hold(part: Message, *, alone: bool) -> bool:
    kind = part.get_content_type()
    if kind in _KINDS or kind == "message/feedback-report":
        return True
    if _name(part).lower().endswith((".xml", ".gz", ".zip", ".json", ".gzip")):
        return True
    return alone and _content(part)[:2000].lstrip().startswith((b"<?xml", b"<feedback"))


def _read(octets: bytes, part: str) -> Reading:
    try:
        if unpacked(octets)[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return Reading(part, tls=read_tls_report(octets))
        return Reading(part, aggregate=read_aggregate(octets))
    except BadReport as trouble:
        return Reading(part, why=str(trouble))


def _failure(part: Message, message: Message, reporter: str, report_id: str) -> Reading:
    inner = part.get_payload()
    # Python reads message/* as a message of its own, whose "header" are the fields of the report.
    first = inner[0] if isinstance(inner, list) and inner else None
    feedback = first.as_bytes() if isinstance(first, Message) else _content(part)
    try:
        feedback = _decoded(feedback, str(part.get("Content-Transfer-Encoding", "")).strip().lower())
        return Reading(_name(part), failure=read_failure(feedback, _original(message), reporter, report_id))
    except BadReport as trouble:
        return Reading(_name(part), why=str(trouble))


def _decoded(octets: bytes, encoding: str) -> bytes:
    """RFC 2046 5.2 forbids encodings on this part, and some use them all the same. Raises BadReport."""
    try:
        if encoding == "base64":
            return base64.b64decode(octets)
        return quopri.decodestring(octets) if encoding == "quoted-printable" else octets
    except ValueError as trouble:
        raise BadReport(f"its encoding is broken: {trouble}") from None


def _original(message: Message) -> bytes:
    """What the report shows of the message it is about."""
    for part in message.get_payload() if isinstance(message.get_payload(), list) else ():
        if not isinstance(part, Message):
            continue
        inner = part.get_payload()
        if part.get_content_type() == "message/rfc822" and isinstance(inner, list) and isinstance(inner[0], Message):
            return "".join([f"{name}: {value}\r\n" for name, value in inner[0].items()][:200]).encode(
                "utf-8", "replace"
            )
        if part.get_content_type() in ("text/rfc822-headers", "message/rfc822-headers"):
            return _content(part)
    return b""


def _content(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _name(part: Message) -> str:
    text = part.get_filename() or part.get_content_type()
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _sender(message: Message) -> str:
    return parseaddr(str(message.get("From", "")))[1].rpartition("@")[2]
