"""Domains whose postmaster nobody reads: mail to it is always taken (RFC 5321 4.5.1) and would lead back to us."""

from __future__ import annotations

from lockgate.decision.directory import Found, whose
from lockgate.decision.route import ranked
from lockgate.decision.stage import Questions
from lockgate.flow.settle import local_answers
from lockgate.mail.address import Address
from lockgate.mail.connection import Connection
from lockgate.mail.facts import Facts
from lockgate.policy.checks import Report
from lockgate.policy.compile import Understood
from lockgate.policy.objects.domains import AcceptedDomain, DomainType
from lockgate.policy.policy import Policy
from lockgate.seams import Directory

_NOBODY_ASKS = Facts(0.0, Connection("", "", b"", 0, ""))


def look_at_postmasters(understood: Understood, directory: Directory | None, report: Report) -> None:
    """The authoritative domains without a way for it; what the directory cannot say now is no finding.

    Only the directory knows whether somebody has the address, so nothing is said where there is none to ask.
    """
    policy = understood.policy
    if directory is None:
        return
    for written in understood.documents.domains:
        domain = written.value
        if domain.domain_type is not DomainType.AUTHORITATIVE or not domain.receives:
            continue
        name, mine = domain.domain_name, policy.organisations[domain.organisation]
        if any(ranked(policy, mine, name, central=True)) or not _is_nobody(policy, domain, directory):
            continue
        report.doubtful(
            written,
            ("domain_name", "domain_type", "organisation", "alias_of", "catch_all_recipient_id"),
            f"postmaster@{name} is no recipient, and no outbound connector is for {name}",
            why="mail to it is always taken, would go by MX, which may lead back to this server, and be returned as a"
            " loop (5.4.14); others write there when something is wrong with your mail",
            mend=f"give postmaster@{name} to whoever shall read it (`lockgate recipient add`, or as --alias of"
            f" somebody), or add an outbound connector for {name}",
        )


def _is_nobody(policy: Policy, domain: AcceptedDomain, directory: Directory) -> bool:
    """Whether the directory says for certain that nobody gets the domain's postmaster mail, by no detour either."""
    facts, ask = _NOBODY_ASKS, local_answers(directory)
    address = Address("postmaster", domain.domain_name)
    while isinstance(found := whose(policy, facts, domain.organisation, domain, address), Questions):
        facts = facts.learn(ask(found.asked))
    return isinstance(found, Found) and found.who is None
