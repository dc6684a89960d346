"""What mail flow rules have us write: incident reports for administrators, notes for recipients. Pure.

Specification 1.15.9. All that a stranger wrote is shown decoded, on one line of printable text, or attached as it came;
nothing of it gets into a header field of ours, into the structure of the letter, or acts in what shows it.
"""

from __future__ import annotations

import base64
import functools
import html
import re
from collections.abc import Iterable, Sequence

import msgspec

from lockgate.mail.header_edits import field_of
from lockgate.mail.headers import decode_words
from lockgate.mail.internal_headers import seen_by_rules
from lockgate.mail.mailboxes import read_mailboxes
from lockgate.mail.message import Message
from lockgate.mail.ruling import RuleHit, Severity
from lockgate.mail.trace_header import mail_date

FIRST = 10
"""So many of a list of recipients are named, the others are counted (specification 1.15.9)."""

ATTACHED_LIMIT = 10 * 1024 * 1024
"""Octets up to which an original is attached whole; of a larger one its header is."""

MARK = "X-Lockgate-Letter"
"""What our letters bear, so that they cause no others if they come back (flow/rule_letters.py)."""

_HEAD_LIMIT = 64 * 1024
_NOTED_HEADER = 16 * 1024
_TAG = re.compile(r"<[a-zA-Z!/][^>]*>")
_TOKEN = re.compile(r"%%(From|To|Cc|Subject|Headers|MessageDate)%%")
_GRAVITY = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
_UNTOLD = {
    "override": "Override", "false_positive": "False positive", "data_classifications": "Data classifications",
    "id_match": "ID match",
}  # fmt: skip
"""What belongs to data loss prevention, which there is none of here."""


class Frame(msgspec.Struct, frozen=True):
    """What every letter needs: its id, who writes, to whom, our name, when, and the value of its mark."""

    id: str
    sender: str
    to: str
    host: str
    now: float
    mark: str


class Applied(msgspec.Struct, frozen=True):
    """A rule that applied to the message, and to which of its recipients."""

    hit: RuleHit
    recipients: tuple[str, ...]


class Incident(msgspec.Struct, frozen=True):
    """What an incident report is made of: the rule that asks for it, what it is to tell (names of documents), the
    message, its envelope, all rules that applied (that one among them), and the original: whole, or its header.
    """

    rule: str
    content: tuple[str, ...]
    message: Message
    sender: str
    recipients: tuple[str, ...]
    applied: tuple[Applied, ...]
    original: bytes = b""


def incident_report(frame: Frame, incident: Incident) -> bytes:
    """The report as a message with CRLF line ends. The same incident gives the same octets."""
    subject = f"Incident report: {one_line(incident.rule)}"
    text = _text("plain", "\r\n".join(_told(incident)) + "\r\n")
    if "attach_original_mail" not in incident.content or not incident.original:
        return _head(frame, subject) + text
    parts = (text, _attached(incident.original))
    boundary = _boundary(frame.id, parts)
    eight = any(not part.isascii() for part in parts)
    kind = f'Content-Type: multipart/mixed;\r\n\tboundary="{boundary}"\r\n'
    if eight:
        kind += "Content-Transfer-Encoding: 8bit\r\n"
    mark = b"--" + boundary.encode()
    body = b"".join([mark + b"\r\n" + part + b"\r\n" for part in parts])
    return _head(frame, subject) + kind.encode() + b"\r\n" + body + mark + b"--\r\n"


def highest(hits: Iterable[RuleHit]) -> Severity:
    """The gravest severity of rules that applied (specification 1.15.9)."""
    found = [_GRAVITY.index(hit.severity) for hit in hits if hit.severity in _GRAVITY]
    return _GRAVITY[max(found)] if found else Severity.NOT_SAID


def _told(incident: Incident) -> list[str]:
    message, wanted = incident.message, frozenset(incident.content)
    to, cc = _listed(message, "to"), _listed(message, "cc")
    lines = [
        f"The mail flow rule '{one_line(incident.rule)}' applies to a message.",
        "",
        f"Message-ID: {one_line(message.message_id)[:998] or 'none'}",
        f"Network message id: {message.id}",
    ]
    if "sender" in wanted:
        lines += [f"Sender: {one_line(incident.sender) or '<>'}", f"From: {_named(message, 'from') or 'none'}"]
    if "subject" in wanted:
        lines.append(f"Subject: {one_line(message.subject)}")
    if "recipients" in wanted:
        lines += _first("Recipients", to)
    if "cc" in wanted:
        lines += _first("Cc", cc)
    if "bcc" in wanted:
        shown = {address.casefold() for address in (*to, *cc)}
        lines += _first("Bcc", [one for one in incident.recipients if one.casefold() not in shown])
    if "severity" in wanted:
        lines.append(f"Severity: {highest(one.hit for one in incident.applied) or 'not set'}")
    lines += [f"{name}: none" for key, name in _UNTOLD.items() if key in wanted]
    if "rule_detections" in wanted:
        lines += ["", "Rules that apply:"]
        for one in incident.applied:
            lines.append(f"  {told_of(one.hit)}")
            lines += [f"    {line}" for line in _first("for", one.recipients)]
    return lines


@functools.lru_cache(maxsize=1024)
def told_of(hit: RuleHit) -> str:
    """A rule that applies, on one line: name, mode, severity and actions."""
    severity = f", severity {hit.severity}" if hit.severity else ""
    return f"{one_line(hit.rule)}: mode {hit.mode}{severity}, actions {', '.join(hit.actions) or 'none'}"


def _first(what: str, addresses: Sequence[str]) -> list[str]:
    named = ", ".join(one_line(address)[:320] for address in addresses[:FIRST])
    more = len(addresses) - FIRST
    return [f"{what}: {named or 'none'}{f', and {more} more' if more > 0 else ''}"]


def _attached(original: bytes) -> bytes:
    """The original as it came; it is shown as a message, so nothing in it belongs to ours (RFC 2046 5.2.1)."""
    end = b"" if original.endswith(b"\r\n") else b"\r\n"
    eight = b"" if original.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    opening = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment; filename=\"original.eml\"\r\n"
    return opening + eight + b"\r\n" + original + end


def attachable(octets: bytes) -> bytes:
    """What is attached of an original: all of it, or its header where it is too large (cut at a line end)."""
    if len(octets) <= ATTACHED_LIMIT:
        return octets
    head = octets[:_HEAD_LIMIT]
    end = head.find(b"\r\n\r\n")
    head = head[:end] if end >= 0 else head[: max(head.rfind(b"\r\n"), 0)]
    return head + b"\r\n\r\nThe message is too large to be attached; this is its header.\r\n"


# --- notes ------------------------------------------------------------------------------------------------------------


def notification(frame: Frame, text: str, message: Message) -> bytes:
    """A note to one recipient: the administrator's text, its tokens replaced by what the message says."""
    markup = _TAG.search(text) is not None

    def value(match: re.Match[str]) -> str:
        lines = _values(message, match[1])
        if markup:
            return "<br>".join(html.escape(line) for line in lines)
        return "\r\n".join(lines)

    told = _TOKEN.sub(value, "\r\n".join(text.splitlines()))
    return _head(frame, "Notice about a message to you") + _text("html" if markup else "plain", told + "\r\n")


def _values(message: Message, token: str) -> list[str]:
    if token == "Headers":
        return _header_lines(message)
    if token == "Subject":
        return [one_line(message.subject)]
    if token == "MessageDate":
        return [one_line(next((value for name, value in message.fields if name.lower() == "date"), ""))[:100]]
    return [_named(message, token.lower())]


def _header_lines(message: Message) -> list[str]:
    """The header, decoded, without what servers of one organisation tell each other."""
    lines: list[str] = []
    room = _NOTED_HEADER
    for name, value in seen_by_rules(message.fields, promote=False):
        line = one_line(f"{name}: {decode_words(value)}")[:2000]
        room -= len(line)
        if room < 0:
            return [*lines, "..."]
        lines.append(line)
    return lines


# --- what strangers wrote ---------------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """Text of a stranger as one printable line: nothing in it ends a line, hides or turns the text around it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\t\r\n" else "?" for c in text)


def _listed(message: Message, field: str) -> list[str]:
    """The addresses that the fields of this name list."""
    values = [value for name, value in message.fields if name.lower() == field]
    return [one.address for value in values for one in read_mailboxes(value).found]


def _named(message: Message, field: str) -> str:
    """What the fields of this name say of people, decoded: the first of them."""
    values = [value for name, value in message.fields if name.lower() == field]
    found = [one for value in values for one in read_mailboxes(value).found]
    shown = [f"{decode_words(one.name)} <{one.address}>" if one.name else one.address for one in found[:FIRST]]
    if not found and values:
        shown = [decode_words(values[0])[:320]]
    more = f", and {len(found) - FIRST} more" if len(found) > FIRST else ""
    return one_line(", ".join(shown)) + more


# --- the letter itself ------------------------------------------------------------------------------------------------


def _head(frame: Frame, subject: str) -> bytes:
    """From the null sender and marked as automatic, so that nothing answers it (RFC 3834 5)."""
    lines = (
        f"From: Lockgate <{_ascii(frame.sender)}>",
        f"To: <{one_line(frame.to)}>",
        f"Date: {mail_date(frame.now)}",
        f"Message-ID: <{_ascii(frame.id)}@{_ascii(frame.host)}>",
        f"{MARK}: {_ascii(frame.mark)}",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        "MIME-Version: 1.0",
    )
    return field_of("Subject", subject) + "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def _text(kind: str, text: str) -> bytes:
    """A part of text, in base64: whatever is in it, it is no boundary and no line is too long."""
    head = f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode() + base64.encodebytes(text.encode("utf-8", "replace")).replace(b"\n", b"\r\n")


def _boundary(name: str, parts: Iterable[bytes]) -> str:
    """A separator that occurs in no part."""
    content = b"\n".join(parts)
    number = 0
    while (boundary := f"=_incident_{_ascii(name)[:60]}_{number}").encode() in content:
        number += 1
    return boundary


def _ascii(text: str) -> str:
    return one_line(text).encode("ascii", "replace").decode()
