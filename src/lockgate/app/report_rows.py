"""Reports as rows for people, ready for JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from lockgate.mail.reports.carried import Reading


def told(reading: Reading) -> dict[str, Any]:
    """What a reading is, in one row: kind, reporter, domain, messages, and the part it came in."""
    kind = reporter = domain = ""
    messages = 0
    if reading.aggregate is not None:
        kind, reporter, domain = "aggregate", reading.aggregate.organisation, reading.aggregate.published.domain
        messages = sum(row.count for row in reading.aggregate.rows)
    elif reading.failure is not None:
        kind, reporter, domain = "failure", reading.failure.reporter, reading.failure.domain
        messages = reading.failure.incidents
    elif reading.tls is not None:
        kind, reporter = "tls", reading.tls.organisation
        domain = reading.tls.policies[0].domain if reading.tls.policies else ""
        messages = sum(policy.good + policy.bad for policy in reading.tls.policies)
    return {"part": reading.part, "kind": kind, "reporter": reporter, "domain": domain, "messages": messages}


def listed(reading: Reading, limit: int) -> dict[str, Any]:
    """A whole report: `report` is its head, `rows` what it counts (at most so many), `more` how many are left out."""
    report: msgspec.Struct | None = reading.aggregate or reading.failure or reading.tls
    head: dict[str, Any] = msgspec.to_builtins(report)
    rows: list[dict[str, Any]] = []
    if reading.aggregate is not None:
        rows = head.pop("rows")
    elif reading.tls is not None:
        rows = [row for policy in head.pop("policies") for row in _tls(policy)]
    return {"report": head, "rows": rows[:limit], "more": max(0, len(rows) - limit)}


def _tls(policy: dict[str, Any]) -> list[dict[str, Any]]:
    first = {"domain": policy["domain"], "policy": policy["kind"], "kind": "success", "count": policy["good"]}
    return [first, *[{"domain": policy["domain"], "policy": policy["kind"], **one} for one in policy["failures"]]]
