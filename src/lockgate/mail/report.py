"""Delivery reports: what became of a message, for the person who sent it and for programs.

RFC 3461 6, RFC 3464 (delivery status), RFC 6522 (multipart/report), RFC 6533 (addresses in UTF-8), RFC 3834
(automatic answers), specification 1.20. Everything is 7-bit but, for a sender with a UTF-8 address, the To field.
"""

from __future__ import annotations

import binascii
import re
import textwrap
from collections.abc import Iterable

import msgspec

from lockgate.mail.headers import decode_words, read_headers, unfold
from lockgate.mail.reply import Reply
from lockgate.mail.report_advice import Advice, advice
from lockgate.mail.trace_header import mail_date

FULL_LIMIT = 64 * 1024
"""Octets up to which an original is returned whole when its sender asked for that (RET=FULL)."""

HEADERS_LIMIT = 32 * 1024
"""Octets of the original's header block that are returned at most."""

_LINE_LIMIT = 998  # RFC 5322 2.1.1
_WIDTH = 76
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@\[\]-]{3,250}>")
_CLASSES = {"failed": "5", "delayed": "4", "relayed": "2", "delivered": "2"}
_SUBJECTS = {
    "failed": "Your message was not delivered",
    "delayed": "Your message is delayed",
    "relayed": "Your message was passed on",
    "delivered": "Your message was delivered",
}


class ReportedRecipient(msgspec.Struct, frozen=True):
    """One recipient in a report. `address` is what the sender wrote, so that a target address stays private.

    `orcpt` is "type;address", the xtext of RFC 3461 4.2 undone already, `reply` decides what is reported. `last` is
    there where that is our own decision to give up: the reply before it. `remote_host` is "name[address]:port" of the
    server that said the last of them, "" if it was said by us.
    """

    address: str
    reply: Reply
    orcpt: str = ""
    remote_host: str = ""
    last: Reply | None = None

    @property
    def said(self) -> Reply:
        """The reply of `remote_host`, or ours where there is none."""
        return self.last or self.reply


class Report(msgspec.Struct, frozen=True):
    """What a report is made of. `kind` is "failed", "delayed", "relayed" or "delivered"; times are in epoch seconds.

    `id` is the report's own id, `message_id` the network id of the message it is about. `until` is when delivery is
    given up. `ret` and `envid` are the DSN parameters of MAIL, xtext undone. `original` is the stored message, b"" if
    it cannot be read any more.
    """

    kind: str
    id: str
    reporting_host: str
    postmaster: str
    sender: str
    recipients: tuple[ReportedRecipient, ...]
    arrival: float
    now: float
    until: float
    message_id: str
    original: bytes
    envid: str = ""
    ret: str = ""


def compose(report: Report) -> bytes:
    """The report as a message with CRLF line ends. Pure: the same report gives the same octets."""
    parts = [_text_part(report), _status_part(report), _original_part(report)]
    boundary = _boundary(report.id, parts)
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
    return _header(report, boundary) + b"\r\n" + body + mark + b"--\r\n"


def _boundary(report_id: str, parts: Iterable[bytes]) -> str:
    """A separator that occurs in no part."""
    content = b"\n".join(parts)
    number = 0
    while (boundary := f"=_report_{_ascii(report_id)[:60]}_{number}").encode() in content:
        number += 1
    return boundary


def _header(report: Report, boundary: str) -> bytes:
    lines = [
        f"From: Mail delivery <{_ascii(report.postmaster)}>",
        f"To: <{_line(report.sender)}>",
        f"Subject: {_SUBJECTS[report.kind]}",
        f"Date: {mail_date(report.now)}",
        f"Message-ID: <{_ascii(report.id)}@{_ascii(report.reporting_host)}>",
        "Auto-Submitted: auto-replied",
        "X-Auto-Response-Suppress: All",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    about = _about(report.original, b"message-id")
    if _MESSAGE_ID.fullmatch(about):
        lines += [f"In-Reply-To: {about}", f"References: {about}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _about(original: bytes, name: bytes) -> str:
    value = read_headers(original[:HEADERS_LIMIT]).first(name) if original else None
    return _line(unfold(value)) if value is not None else ""


# --- for people ---------------------------------------------------------------------------------------------------


def _text_part(report: Report) -> bytes:
    subject = _line(decode_words(_about(report.original, b"subject")))[:200]
    lines = [*_wrap(f"This is the mail system at {report.reporting_host}."), ""]
    about = f' with the subject "{subject}"' if subject else ""
    opening = f"Your message{about}, received here on {mail_date(report.arrival)}, {_WHAT[report.kind]}"
    lines += [*_wrap(opening), ""]
    for alike in _by_answer(report.recipients):
        lines += [*(f"    {_line(recipient.address)[:400]}" for recipient in alike), ""]
        lines += [*_story(report, alike[0]), ""]
    lines += _wrap(f"If you ask an administrator for help, give this reference: {_line(report.message_id)}")
    text = "\r\n".join(lines) + "\r\n"
    kind, content = "text/plain", text.encode("utf-8", "replace")
    if text.isascii():
        return f"Content-Type: {kind}; charset=us-ascii\r\n\r\n".encode() + content
    head = f"Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head.encode() + _quoted_printable(content)


_WHAT = {
    "failed": "could not be delivered to:",
    "delayed": "has not been delivered yet to:",
    "relayed": "was passed on to another system that sends no reports of its own, for:",
    "delivered": "was delivered to the mailbox of:",
}


def _by_answer(recipients: Iterable[ReportedRecipient]) -> list[list[ReportedRecipient]]:
    """Those of whom the same is told, together."""
    groups: dict[tuple[Reply, Reply | None, str], list[ReportedRecipient]] = {}
    for recipient in recipients:
        groups.setdefault((recipient.reply, recipient.last, recipient.remote_host), []).append(recipient)
    return list(groups.values())


def _story(report: Report, recipient: ReportedRecipient) -> list[str]:
    """What happened, who must act and how; then the words of the server."""
    if report.kind == "relayed":
        return _wrap("Nobody has to do anything. You will hear from us no more about this recipient.")
    if report.kind == "delivered":
        return _wrap("Nobody has to do anything. That it was delivered does not mean that it was read.")
    said: Advice = advice(recipient.reply.enhanced)
    lines = _wrap(f"What happened: {said.cause}") + _wrap(f"Who can fix it: {said.who}")
    if report.kind == "delayed":
        lines += _wrap(
            "What to do: nothing for now, and please do not send the message again. We keep trying until "
            f"{mail_date(report.until)} and tell you if we have to give up."
        )
    else:
        lines += _wrap(f"What to do: {said.remedy}")
    if recipient.last is not None:
        lines += _wrap(f"Our own server gave up: {recipient.reply}")
    speaker = f"The server {_line(recipient.remote_host)}" if recipient.remote_host else "Our own server"
    said_last = "said last" if recipient.last is not None else "said"
    return lines + _wrap(f"{speaker} {said_last}: {_line(str(recipient.said))}")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(_line(text), _WIDTH, subsequent_indent="    ", break_on_hyphens=False)


# --- for programs (RFC 3464 2) --------------------------------------------------------------------------------------


def _status_part(report: Report) -> bytes:
    message = [f"Reporting-MTA: dns; {_ascii(report.reporting_host)}"]
    if report.envid:
        message.append(f"Original-Envelope-Id: {_ascii(report.envid)}")
    message.append(f"Arrival-Date: {mail_date(report.arrival)}")
    blocks = [message, *[_fields_of(report, recipient) for recipient in report.recipients]]
    text = "\r\n\r\n".join("\r\n".join(_fold(line) for line in block) for block in blocks)
    return f"Content-Type: message/delivery-status\r\n\r\n{text}\r\n".encode()


def _fields_of(report: Report, recipient: ReportedRecipient) -> list[str]:
    reply = recipient.reply
    wanted = _CLASSES[report.kind]
    status = reply.enhanced if reply.enhanced.startswith(f"{wanted}.") else f"{wanted}.0.0"
    fields = []
    if recipient.orcpt:
        kind, semicolon, address = recipient.orcpt.partition(";")
        if not semicolon or kind.lower() == "utf-8":
            kind, address = "rfc822", _undone(address) if semicolon else recipient.address
        fields.append(f"Original-Recipient: {_typed(address, kind)}")
    fields.append(f"Final-Recipient: {_typed(recipient.address, 'rfc822')}")
    fields += [f"Action: {report.kind}", f"Status: {status}"]
    if recipient.remote_host:
        name = recipient.remote_host.partition("[")[0] or recipient.remote_host
        fields.append(f"Remote-MTA: dns; {_ascii(name)}")
    fields.append(f"Diagnostic-Code: smtp; {_ascii(str(recipient.said))}")
    fields.append(f"Last-Attempt-Date: {mail_date(report.now)}")
    fields.append(f"Final-Log-ID: {_ascii(report.message_id)}")
    if report.kind == "delayed":
        fields.append(f"Will-Retry-Until: {mail_date(report.until)}")
    return fields


def _typed(address: str, kind: str) -> str:
    """An address with its type; one that is not ASCII in the 7-bit form of RFC 6533 3."""
    address = _line(address)
    if address.isascii():
        return f"{_ascii(kind)}; {address}"
    return "utf-8; " + "".join(c if c in _QCHAR else f"\\x{{{ord(c):X}}}" for c in address)


_QCHAR = frozenset(chr(c) for c in range(0x21, 0x7F)) - frozenset("+=\\")


def _undone(text: str) -> str:
    """An internationalised address as it is: RFC 6533 3 writes \\x{...} for what xtext cannot hold."""
    return _UNITEXT.sub(_unitext, text)


_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")


def _unitext(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else "?"


# --- the original -----------------------------------------------------------------------------------------------------


def _original_part(report: Report) -> bytes:
    """The message itself where its sender wants it and it is small, 7-bit and well-formed; else its header fields."""
    original = report.original
    whole = report.kind == "failed" and report.ret.upper() == "FULL" and 0 < len(original) <= FULL_LIMIT
    if whole and _seven_bit(original):
        end = b"" if original.endswith(b"\r\n") else b"\r\n"
        return b"Content-Type: message/rfc822\r\n\r\n" + original + end
    head = _head(original)
    if _seven_bit(head):
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + head
    opening = b"Content-Type: text/rfc822-headers; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return opening + _quoted_printable(head.decode("utf-8", "replace").encode())


def _head(original: bytes) -> bytes:
    """The header block, cut at a line end if it is long."""
    end = 0 if original.startswith(b"\r\n") else original.find(b"\r\n\r\n")
    head = original[: HEADERS_LIMIT if end < 0 else min(end, HEADERS_LIMIT)]
    if len(head) == HEADERS_LIMIT:
        head = head[: max(head.rfind(b"\r\n"), 0)]
    return head + b"\r\n" if head else b""


def _seven_bit(content: bytes) -> bool:
    """Whether this may travel as it is in 7-bit mail (RFC 2045 2.7)."""
    if not content.isascii() or b"\0" in content:
        return False
    return all(
        len(line) <= _LINE_LIMIT and b"\r" not in line and b"\n" not in line for line in content.split(b"\r\n")
    )


def _quoted_printable(content: bytes) -> bytes:
    """RFC 2045 6.7, line by line, so that CRLF stays a line end and a bare CR or LF does not become one."""
    lines = (binascii.b2a_qp(line, istext=False) for line in content.split(b"\r\n"))
    return b"\r\n".join(line.replace(b"=\n", b"=\r\n") for line in lines)


# --- safety --------------------------------------------------------------------------------------------------------


def _line(text: str) -> str:
    """Text of a stranger as one printable line: nothing in it ends a line, hides or turns the text around it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\t\r\n" else "?" for c in text)


def _ascii(text: str) -> str:
    return _line(text).encode("ascii", "replace").decode()


def _fold(line: str) -> str:
    """A status field in lines that are short enough, however long a stranger's words are (RFC 5322 2.2.3)."""
    if len(line) <= _LINE_LIMIT:
        return line
    return "\r\n\t".join(textwrap.wrap(line, 900, break_on_hyphens=False))
