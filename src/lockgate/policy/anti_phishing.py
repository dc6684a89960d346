"""Is there one anti-phishing policy in use for each organisation at most?"""

from __future__ import annotations

from typing import Any

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written


def check_anti_phishing(documents: Documents, report: Report) -> None:
    """That no organisation has two in use."""
    used: dict[str, Written[Any]] = {}
    for written in documents.anti_phishing:
        one = written.value
        if one.enabled:
            first = used.setdefault(one.organisation, written)
            if first is not written:
                message = f"policy '{first.value.name}' is in use already; an organisation has one, disable the other"
                report.wrong(written, ("enabled", "organisation", "name"), message)
