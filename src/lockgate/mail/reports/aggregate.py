"""DMARC aggregate reports: read from whatever is sent (RFC 7489 and its drafts included), written by RFC 9990."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from xml.sax.saxutils import escape

import msgspec

from lockgate.mail.reports.packed import BadReport, unpacked
from lockgate.mail.reports.xml_tree import Element, read_xml

MOST_ROWS = 100_000


class Published(msgspec.Struct, frozen=True):
    """The policy as the reporter found it."""

    domain: str
    policy: str = "none"
    subdomains: str = ""
    absent: str = ""
    dkim: str = "r"
    spf: str = "r"
    testing: str = ""
    discovery: str = ""
    options: str = ""


class Checked(msgspec.Struct, frozen=True):
    """One result of DKIM (`selector`) or SPF (`scope`)."""

    domain: str
    result: str
    selector: str = ""
    scope: str = ""


class Row(msgspec.Struct, frozen=True):
    """So many messages from one address that fared alike. `reasons` are (type, comment) of overrides."""

    source: str
    count: int
    disposition: str
    dkim: str
    spf: str
    header_from: str
    envelope_from: str = ""
    envelope_to: str = ""
    reasons: tuple[tuple[str, str], ...] = ()
    signatures: tuple[Checked, ...] = ()
    senders: tuple[Checked, ...] = ()


class AggregateReport(msgspec.Struct, frozen=True):
    """One report: who reports, on which time (seconds since the epoch), which policy, what was seen.

    `problems` tell what could not be read and was left out.
    """

    organisation: str
    email: str
    report_id: str
    begin: int
    end: int
    published: Published
    rows: tuple[Row, ...]
    contact: str = ""
    errors: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_aggregate(data: bytes) -> AggregateReport:
    """The report in these octets, packed or not. Raises BadReport."""
    plain = unpacked(data).strip()
    root = read_xml(plain)
    if root.name != "feedback":
        raise BadReport(f"it is no report, but '{root.name[:40]}'")
    metadata, policy = root.first("report_metadata"), root.first("policy_published")
    if metadata is None or policy is None:
        raise BadReport("it does not say who reports, or on which policy")
    problems: list[str] = []
    rows: list[Row] = []
    for number, record in enumerate(root.all("record"), 1):
        if number > MOST_ROWS:
            problems.append(f"only the first {MOST_ROWS} records were read")
            break
        try:
            rows.append(_row(record))
        except BadReport as trouble:
            problems.append(f"record {number}: {trouble}")
    begin, end = _number(metadata.value("date_range", "begin")), _number(metadata.value("date_range", "end"))
    return AggregateReport(
        organisation=_short(metadata.value("org_name")),
        email=_short(metadata.value("email")),
        report_id=_short(metadata.value("report_id")),
        begin=min(begin, end),
        end=max(begin, end),
        published=_published(policy),
        rows=tuple(rows),
        contact=_short(metadata.value("extra_contact_info")),
        errors=tuple([_short(error.text) for error in metadata.all("error")][:20]),
        problems=tuple(problems[:100]),
    )


def _published(policy: Element) -> Published:
    return Published(
        domain=_short(policy.value("domain")).lower(),
        policy=policy.value("p").lower()[:20] or "none",
        subdomains=policy.value("sp").lower()[:20],
        absent=policy.value("np").lower()[:20],
        dkim=policy.value("adkim").lower()[:1] or "r",
        spf=policy.value("aspf").lower()[:1] or "r",
        testing=policy.value("testing").lower()[:1],
        discovery=policy.value("discovery_method").lower()[:20],
        options=policy.value("fo").lower()[:20],
    )


def _row(record: Element) -> Row:
    row = record.first("row")
    if row is None:
        raise BadReport("it has no row")
    try:
        source = str(ipaddress.ip_address(row.value("source_ip")))
    except ValueError:
        raise BadReport(f"'{row.value('source_ip')[:60]}' is no address") from None
    evaluated = row.first("policy_evaluated") or Element("policy_evaluated")
    # The first drafts wrote "identities" for "identifiers".
    names = record.first("identifiers") or record.first("identities") or Element("identifiers")
    found = record.first("auth_results") or Element("auth_results")
    reasons = [(one.value("type")[:40], _short(one.value("comment"))) for one in evaluated.all("reason")]
    return Row(
        source=source,
        count=_number(row.value("count")),
        disposition=evaluated.value("disposition").lower()[:20] or "none",
        dkim=evaluated.value("dkim").lower()[:20] or "fail",
        spf=evaluated.value("spf").lower()[:20] or "fail",
        header_from=_short(names.value("header_from")).lower(),
        envelope_from=_short(names.value("envelope_from")).lower(),
        envelope_to=_short(names.value("envelope_to")).lower(),
        reasons=tuple([reason for reason in reasons if reason[0] or reason[1]][:10]),
        signatures=tuple([_checked(one) for one in found.all("dkim")][:100]),
        senders=tuple([_checked(one) for one in found.all("spf")][:10]),
    )


def _checked(one: Element) -> Checked:
    return Checked(
        _short(one.value("domain")).lower(),
        one.value("result").lower()[:20] or "none",
        _short(one.value("selector")),
        one.value("scope").lower()[:20],
    )


def _number(text: str) -> int:
    plain = text.partition(".")[0].strip()
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 15):
        raise BadReport(f"'{text[:40]}' is no number")
    return int(plain)


def _short(text: str) -> str:
    """Text from a stranger as one printable line."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:300]


# --- writing ---------------------------------------------------------------------------------------------------------


def write_aggregate(report: AggregateReport, generator: str) -> bytes:
    """The report as XML (RFC 9990 appendix A)."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">',
        "<version>1.0</version>",
        "<report_metadata>",
        *_tags(
            ("org_name", report.organisation),
            ("email", report.email),
            ("extra_contact_info", report.contact),
            ("report_id", report.report_id),
        ),
        f"<date_range><begin>{report.begin}</begin><end>{report.end}</end></date_range>",
        *_tags(*[("error", error) for error in report.errors], ("generator", generator)),
        "</report_metadata>",
        "<policy_published>",
        *_tags(
            ("domain", report.published.domain),
            ("p", report.published.policy),
            ("sp", report.published.subdomains),
            ("np", report.published.absent),
            ("adkim", report.published.dkim),
            ("aspf", report.published.spf),
            ("discovery_method", report.published.discovery or "treewalk"),
            ("fo", report.published.options),
            ("testing", report.published.testing or "n"),
        ),
        "</policy_published>",
    ]
    for row in report.rows:
        lines += _record(row)
    lines.append("</feedback>\n")
    return "\n".join(lines).encode()


def _record(row: Row) -> list[str]:
    return [
        "<record>",
        "<row>",
        *_tags(("source_ip", row.source), ("count", str(row.count))),
        "<policy_evaluated>",
        *_tags(("disposition", row.disposition), ("dkim", row.dkim), ("spf", row.spf)),
        *[f"<reason>{''.join(_tags(('type', kind), ('comment', text)))}</reason>" for kind, text in row.reasons],
        "</policy_evaluated>",
        "</row>",
        "<identifiers>",
        *_tags(
            ("header_from", row.header_from), ("envelope_from", row.envelope_from), ("envelope_to", row.envelope_to)
        ),
        "</identifiers>",
        "<auth_results>",
        *_results("dkim", row.signatures),
        *_results("spf", row.senders),
        "</auth_results>",
        "</record>",
    ]


def _results(kind: str, found: Sequence[Checked]) -> list[str]:
    lines = []
    for one in found:
        inside = _tags(("domain", one.domain), ("selector", one.selector), ("scope", one.scope), ("result", one.result))
        lines.append(f"<{kind}>" + "".join(inside) + f"</{kind}>")
    return lines


def _tags(*pairs: tuple[str, str]) -> list[str]:
    """Elements; those without text are left out."""
    return [f"<{name}>{escape(_plain(text))}</{name}>" for name, text in pairs if text]


def _plain(text: str) -> str:
    """Text without what XML cannot hold."""
    return "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else " " for c in text)
