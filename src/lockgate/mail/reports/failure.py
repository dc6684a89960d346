"""DMARC failure reports (RFC 9991, RFC 6591, RFC 5965): read safely, and their machine-readable part written."""

from __future__ import annotations

import ipaddress

import msgspec

from lockgate.mail.headers import read_headers, unfold
from lockgate.mail.reports.packed import BadReport

MOST_FIELDS = 100
"""Header fields that are kept of the message a report is about."""

_LONGEST = 1000


class FailureReport(msgspec.Struct, frozen=True):
    """One message that failed, as somebody tells it; texts are those of the report, "" where it says nothing.

    `reporter` is the domain that the report itself comes from, `report_id` its Message-ID, `headers` (name, value) of
    the message it is about.
    """

    reporter: str
    report_id: str
    kind: str
    domain: str
    source: str = ""
    failure: str = ""
    delivery: str = ""
    mail_from: str = ""
    arrival: str = ""
    alignment: str = ""
    dkim_domain: str = ""
    dkim_selector: str = ""
    results: str = ""
    agent: str = ""
    incidents: int = 1
    headers: tuple[tuple[str, str], ...] = ()


def read_failure(feedback: bytes, original: bytes, reporter: str, report_id: str) -> FailureReport:
    """The report whose machine-readable part is `feedback`; `original` is what it shows of the message.

    Raises BadReport.
    """
    fields = _fields(feedback)
    kind = fields.get("feedback-type", "").lower()
    if kind != "auth-failure":
        raise BadReport(f"it is a report about '{kind[:40]}', and not about authentication")
    headers = tuple([(name[:80], text[:_LONGEST]) for name, text in _pairs(original, MOST_FIELDS)])
    shown = next((text for name, text in headers if name.lower() == "from"), "")
    domain = fields.get("reported-domain", "") or shown.rpartition("@")[2].strip("<> ")
    if not domain:
        raise BadReport("it does not say which domain it is about")
    return FailureReport(
        reporter=_line(reporter)[:255].lower(),
        report_id=_line(report_id)[:_LONGEST],
        kind=kind,
        domain=domain[:255].lower(),
        source=_address(fields.get("source-ip", "")),
        failure=fields.get("auth-failure", "")[:40].lower(),
        delivery=fields.get("delivery-result", "")[:40].lower(),
        mail_from=fields.get("original-mail-from", "").strip("<>")[:320],
        arrival=(fields.get("arrival-date", "") or fields.get("received-date", ""))[:100],
        alignment=fields.get("identity-alignment", "")[:100].lower(),
        dkim_domain=fields.get("dkim-domain", "")[:255].lower(),
        dkim_selector=fields.get("dkim-selector", "")[:255],
        results=fields.get("authentication-results", "")[:_LONGEST],
        agent=fields.get("user-agent", "")[:200],
        incidents=_count(fields.get("incidents", "")),
        headers=headers,
    )


def write_feedback(report: FailureReport) -> bytes:
    """The machine-readable part (RFC 5965 3, RFC 6591 3, RFC 9991 4), lines ended by CRLF."""
    fields = (
        ("Feedback-Type", "auth-failure"),
        ("User-Agent", report.agent),
        ("Version", "1"),
        ("Original-Mail-From", f"<{report.mail_from}>" if report.mail_from else ""),
        ("Arrival-Date", report.arrival),
        ("Source-IP", report.source),
        ("Reported-Domain", report.domain),
        ("Authentication-Results", report.results),
        ("Auth-Failure", report.failure),
        ("Delivery-Result", report.delivery),
        ("Identity-Alignment", report.alignment or "none"),
        ("DKIM-Domain", report.dkim_domain),
        ("DKIM-Selector", report.dkim_selector),
    )
    return "".join([f"{name}: {_ascii(value)}\r\n" for name, value in fields if value]).encode("ascii")


def _fields(feedback: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in _pairs(feedback, 200):
        found.setdefault(name.lower(), text)
    return found


def _pairs(block: bytes, most: int) -> list[tuple[str, str]]:
    """Fields of a header block whose lines may end as they do on Unix."""
    octets = block.lstrip(b"\r\n").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return [
        (name.decode("ascii", "replace").strip(), _line(unfold(value))) for name, value in read_headers(octets).fields
    ][:most]


def _address(text: str) -> str:
    """The address, without the brackets and the prefix that some put around it; "" if it is none."""
    plain = text.strip().strip("[]")
    plain = plain[5:] if plain[:5].lower() == "ipv6:" else plain
    try:
        return str(ipaddress.ip_address(plain))
    except ValueError:
        return ""


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:900]
