"""Is there one anti-phishing policy in use for each organisation at most, and can its reports be proven to be ours?"""

from __future__ import annotations

from typing import Any

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written


def check_anti_phishing(documents: Documents, report: Report) -> None:
    """That no organisation has two in use."""
    owned = {(domain.value.organisation, domain.value.domain_name) for domain in documents.domains}
    used: dict[str, Written[Any]] = {}
    for written in documents.anti_phishing:
        one = written.value
        contact = (one.report_contact or "").rpartition("@")[2].lower()
        if contact and (one.organisation, contact) not in owned:
            message = f"{contact} is no accepted domain of the organisation, so its reports may fail DMARC themselves"
            report.doubtful(written, ("report_contact", "organisation"), message)
        if one.enabled:
            first = used.setdefault(one.organisation, written)
            if first is not written:
                message = f"policy '{first.value.name}' is in use already; an organisation has one, disable the other"
                report.wrong(written, ("enabled", "organisation", "name"), message)
