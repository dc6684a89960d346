"""Our reports as messages: aggregate (RFC 9990 3.5), failure (RFC 9991 4) and TLS reports (RFC 8460 5). Pure."""

from __future__ import annotations

import base64
import gzip
import re

import msgspec

from lockgate.mail.reports.aggregate import AggregateReport, write_aggregate
from lockgate.mail.reports.failure import FailureReport, write_feedback
from lockgate.mail.reports.tls import TlsReport, write_tls_report
from lockgate.mail.trace_header import mail_date

_DOMAIN = re.compile(r"[a-z0-9_.-]{1,253}")
_WIDTH = 900


class Address(msgspec.Struct, frozen=True):
    """Who writes and to whom: `sender` is an address, `name` who that is, `host` our own name, `id` the message's."""

    id: str
    sender: str
    name: str
    to: str
    host: str
    now: float


def packed_report(report: AggregateReport, generator: str) -> bytes:
    """The XML as gzip. The same report gives the same octets."""
    return gzip.compress(write_aggregate(report, generator), mtime=0)


def aggregate_letter(report: AggregateReport, packed: bytes, address: Address, messages: int) -> bytes:
    """The message that carries a packed aggregate report; CRLF line ends, 7-bit."""
    domain, submitter = _domain(report.published.domain), _domain(address.host)
    file = f"{submitter}!{domain}!{report.begin}!{report.end}!{_token(report.report_id)}.xml.gz"
    subject = f"Report Domain: {domain} Submitter: {submitter} Report-ID: {_token(report.report_id)}"
    text = (
        f"This is a DMARC aggregate report from {_ascii(report.organisation)} about {domain}.\r\n"
        f"It tells how {messages} messages fared that were received between\r\n"
        f"{mail_date(report.begin)} and {mail_date(report.end)}.\r\n"
        f"The report itself is attached (RFC 9990). Questions about it: {_ascii(report.email)}\r\n"
    )
    attached = base64.encodebytes(packed).replace(b"\n", b"\r\n")
    parts = (
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode("ascii"),
        f'Content-Type: application/gzip; name="{file}"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="{file}"\r\n\r\n'.encode("ascii") + attached,
    )
    return _whole(address, subject, "multipart/mixed", parts)


def failure_letter(report: FailureReport, address: Address) -> bytes:
    """The message that tells of one failure; CRLF line ends, 7-bit."""
    domain = _domain(report.domain)
    text = (
        f"This is a DMARC failure report from {_ascii(address.name)}.\r\n"
        f"A message received from {_ascii(report.source)} on {_ascii(report.arrival)} names an author at\r\n"
        f"{domain}, and nothing proves that it comes from there.\r\n"
        "Addresses are hidden, and the text of the message is not shown (RFC 9991).\r\n"
    )
    shown = "".join([f"{_fold(f'{_token(name)[:80]}: {_ascii(value, 4000)}')}\r\n" for name, value in report.headers])
    parts = (
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode("ascii"),
        b"Content-Type: message/feedback-report\r\n\r\n" + write_feedback(report),
        b"Content-Type: text/rfc822-headers\r\n\r\n" + shown.encode("ascii"),
    )
    subject = f"DMARC failure report about {domain}, from {_ascii(report.source)}"
    return _whole(address, subject, "multipart/report; report-type=feedback-report", parts)


def packed_tls_report(report: TlsReport) -> bytes:
    """The JSON as gzip. The same report gives the same octets."""
    return gzip.compress(write_tls_report(report), mtime=0)


def tls_letter(report: TlsReport, packed: bytes, address: Address, domain: str, sessions: int) -> bytes:
    """The message that carries a packed TLS report about this domain (RFC 8460 5.3); CRLF line ends, 7-bit.

    It has to arrive above all when TLS with the domain is out of order, so it asks for none (RFC 8460 3, RFC 8689 3).
    """
    about, submitter = _domain(domain), _domain(address.host)
    file = f"{submitter}!{about}!{int(report.began)}!{int(report.ended)}!{_token(report.report_id)}.json.gz"
    subject = f"Report Domain: {about} Submitter: {submitter} Report-ID: <{_token(report.report_id)}@{submitter}>"
    text = (
        f"This is a TLS report from {_ascii(report.organisation)} about {about}.\r\n"
        f"It tells how {sessions} TLS sessions with the mail servers of the domain went between\r\n"
        f"{mail_date(report.began)} and {mail_date(report.ended)}.\r\n"
        f"The report itself is attached (RFC 8460). Questions about it: {_ascii(report.contact)}\r\n"
    )
    attached = base64.encodebytes(packed).replace(b"\n", b"\r\n")
    parts = (
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode("ascii"),
        f'Content-Type: application/tlsrpt+gzip; name="{file}"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="{file}"\r\n\r\n'.encode("ascii") + attached,
    )
    more = (f"TLS-Report-Domain: {about}", f"TLS-Report-Submitter: {submitter}", "TLS-Required: No")
    return _whole(address, subject, "multipart/report; report-type=tlsrpt", parts, more)


def _whole(
    address: Address, subject: str, kind: str, parts: tuple[bytes, ...], more: tuple[str, ...] = ()
) -> bytes:
    content = b"\n".join(parts)
    number = 0
    while (boundary := f"=_report_{_token(address.id)[:60]}_{number}").encode() in content:
        number += 1
    head = (
        f'From: "{_ascii(address.name).translate(_UNQUOTED)[:200]}" <{_ascii(address.sender)}>',
        f"To: <{_ascii(address.to)}>",
        f"Subject: {_fold(subject)}",
        f"Date: {mail_date(address.now)}",
        f"Message-ID: <{_token(address.id)}@{_domain(address.host)}>",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        *more,
        "MIME-Version: 1.0",
        f'Content-Type: {kind};\r\n\tboundary="{boundary}"',
    )
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + part.removesuffix(b"\r\n") + b"\r\n" for part in parts)
    return "\r\n".join((*head, "", "")).encode("ascii") + body + mark + b"--\r\n"


_UNQUOTED = {ord('"'): "'", ord("\\"): "/"}


def _domain(text: str) -> str:
    """A domain in a file name or subject: nothing but what a domain is made of."""
    lower = text.lower()
    return lower if _DOMAIN.fullmatch(lower) else "invalid"


def _token(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:200]


def _ascii(text: str, longest: int = 400) -> str:
    return "".join([c if " " <= c <= "~" else "?" for c in text[:longest]])


def _fold(line: str) -> str:
    """In lines that are short enough (RFC 5322 2.1.1); folded at blanks where there are some."""
    if len(line) <= _WIDTH:
        return line
    at = line.rfind(" ", 1, _WIDTH)
    at = at if at > _WIDTH // 2 else _WIDTH
    return f"{line[:at]}\r\n\t{_fold(line[at:].lstrip())}" if line[at:].strip() else line[:at]
