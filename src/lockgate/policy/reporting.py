"""Do reports come to the organisation that reads them, and can those it sends be proven to be its own?"""

from __future__ import annotations

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents


def check_reporting(documents: Documents, report: Report) -> None:
    """That addresses of reports are in domains of the organisation."""
    owned = {(domain.value.organisation, domain.value.domain_name) for domain in documents.domains}
    for written in documents.organisations:
        for number, text in enumerate(written.value.report_addresses):
            domain = text.rpartition("@")[2].lower()
            if (written.value.name, domain) not in owned:
                message = f"{domain} is no accepted domain of the organisation, so no mail to {text} is read here"
                report.doubtful(written, (("report_addresses", number),), message)
    for policy in documents.anti_phishing:
        one = policy.value
        contact = (one.report_contact or "").rpartition("@")[2].lower()
        if contact and (one.organisation, contact) not in owned:
            message = f"{contact} is no accepted domain of the organisation, so its reports may fail DMARC themselves"
            report.doubtful(policy, ("report_contact", "organisation"), message)
