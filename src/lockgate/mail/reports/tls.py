"""TLS reports (RFC 8460 4): read safely, and written."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec

from lockgate.mail.reports.packed import BadReport, unpacked

MOST = 10_000


class TlsFailure(msgspec.Struct, frozen=True):
    """Sessions that failed alike."""

    kind: str
    count: int
    sender: str = ""
    receiver: str = ""
    host: str = ""
    reason: str = ""


class TlsPolicy(msgspec.Struct, frozen=True):
    """What one policy came to; `published` are TLSA records or the lines of an MTA-STS policy (policy-string)."""

    domain: str
    kind: str
    good: int
    bad: int
    failures: tuple[TlsFailure, ...] = ()
    published: tuple[str, ...] = ()


class TlsReport(msgspec.Struct, frozen=True):
    """One report; times are texts of RFC 3339."""

    organisation: str
    report_id: str
    contact: str
    begin: str
    end: str
    policies: tuple[TlsPolicy, ...]

    @property
    def began(self) -> float:
        """Seconds since the epoch; 0 if the text is no time."""
        return _seconds(self.begin)

    @property
    def ended(self) -> float:
        """The same of the end."""
        return _seconds(self.end)


def write_tls_report(report: TlsReport) -> bytes:
    """The report as JSON (RFC 8460 4.4). The same report gives the same octets."""
    found = {
        "organization-name": report.organisation,
        "date-range": {"start-datetime": report.begin, "end-datetime": report.end},
        "contact-info": report.contact,
        "report-id": report.report_id,
        "policies": [_written(policy) for policy in report.policies],
    }
    return json.dumps(found, ensure_ascii=True, indent=1).encode("ascii")


def _written(policy: TlsPolicy) -> dict[str, Any]:
    about: dict[str, Any] = {"policy-type": policy.kind, "policy-domain": policy.domain}
    if policy.published:
        about["policy-string"] = list(policy.published)
    if hosts := [line.partition(":")[2].strip() for line in policy.published if line.lower().startswith("mx:")]:
        about["mx-host"] = hosts
    written: dict[str, Any] = {
        "policy": about,
        "summary": {
            "total-successful-session-count": policy.good,
            "total-failure-session-count": policy.bad,
        },
    }
    if policy.failures:
        written["failure-details"] = [_detail(one) for one in policy.failures]
    return written


def _detail(failure: TlsFailure) -> dict[str, Any]:
    named = (
        ("sending-mta-ip", failure.sender), ("receiving-mx-hostname", failure.host), ("receiving-ip", failure.receiver),
        ("failure-reason-code", failure.reason),
    )  # fmt: skip
    told: dict[str, Any] = {"result-type": failure.kind, "failed-session-count": failure.count}
    return told | {name: value for name, value in named if value}


def _seconds(text: str) -> float:
    try:
        when = dt.datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def read_tls_report(data: bytes) -> TlsReport:
    """The report in these octets, packed or not. Raises BadReport."""
    try:
        found = json.loads(unpacked(data))
    except (ValueError, RecursionError) as trouble:
        if isinstance(trouble, BadReport):
            raise
        raise BadReport(f"the JSON is broken: {trouble}") from None
    if not isinstance(found, dict) or not isinstance(found.get("policies"), list):
        raise BadReport("it is no TLS report: it has no policies")
    dates = found.get("date-range")
    dates = dates if isinstance(dates, dict) else {}
    return TlsReport(
        _text(found.get("organization-name")),
        _text(found.get("report-id")),
        _text(found.get("contact-info")),
        _text(dates.get("start-datetime")),
        _text(dates.get("end-datetime")),
        tuple([_policy(one) for one in found["policies"][:MOST] if isinstance(one, dict)]),
    )


def _policy(one: dict[str, Any]) -> TlsPolicy:
    policy, summary = one.get("policy"), one.get("summary")
    policy = policy if isinstance(policy, dict) else {}
    summary = summary if isinstance(summary, dict) else {}
    strings = policy.get("policy-string")
    strings = strings if isinstance(strings, list) else []
    details = one.get("failure-details")
    details = details if isinstance(details, list) else []
    return TlsPolicy(
        _text(policy.get("policy-domain")).lower(),
        _text(policy.get("policy-type")),
        _count(summary.get("total-successful-session-count")),
        _count(summary.get("total-failure-session-count")),
        tuple([_failure(detail) for detail in details[:MOST] if isinstance(detail, dict)]),
        tuple([_text(line) for line in strings[:100]]),
    )


def _failure(detail: dict[str, Any]) -> TlsFailure:
    return TlsFailure(
        _text(detail.get("result-type")),
        _count(detail.get("failed-session-count")),
        _text(detail.get("sending-mta-ip")),
        _text(detail.get("receiving-ip")),
        _text(detail.get("receiving-mx-hostname")),
        _text(detail.get("failure-reason-code")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text)[:300]
