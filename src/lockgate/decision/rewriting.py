"""Under which domain does a copy that is sent on for somebody leave, so that its sender's SPF is not broken by us?

Specification 1.2 (SenderRewritingEnabled): a copy for a member of a group, for whom a mailbox forwards to, or for a
recipient who lives outside is ours to answer for once it leaves the organisation; mail/srs.py makes the address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lockgate.decision.stage import decided
from lockgate.mail.facts import Facts
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Deliver, Hit, Step, Verdict, Via

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import OutboundConnector
    from lockgate.policy.policy import Policy


def sent_on(policy: Policy, facts: Facts, verdict: Verdict) -> Verdict:
    """The verdict on its way out, with the domain under which its sender is rewritten, and the step that says so."""
    where = verdict.disposition
    if not isinstance(where, Deliver) or where.route.via is Via.MAILBOX or not _is_sent_on(verdict):
        return verdict
    mine = policy.organisations.get(where.route.organisation)
    connector = mine.outbound.named.get(where.route.connector) if mine is not None else None
    domain = rewrite_domain(policy, facts, verdict, connector)
    if not domain:
        return verdict
    sender = facts.envelope.sender_text if facts.envelope is not None else ""
    recipient = verdict.recipient
    because = f"it is sent on for {(recipient.derived_from or recipient).original}, and {sender} is not ours"
    step = Step("route", "sender", Hit.YES, because, f"rewritten under {domain}", recipient.original.text)
    return decided(verdict, msgspec.structs.replace(where, rewrite=domain), step)


def rewrite_domain(policy: Policy, facts: Facts, verdict: Verdict, connector: OutboundConnector | None) -> str:
    """The domain under which the envelope sender is rewritten; "": it stays as it is.

    `connector` is the one by which the copy leaves, None for the MX of its domain. Own servers get the sender as it
    was, unless their connector asks for rewriting. The domain is the organisation's default one if it receives,
    because reports have to find the way back, else that of the recipient who was written to.
    """
    sender = facts.envelope.sender if facts.envelope is not None else None
    organisation = verdict.standing.organisation
    mine = policy.organisations.get(organisation)
    if sender is None or mine is None or not _is_sent_on(verdict):
        return ""
    to_own_server = connector is not None and connector.on_premises
    if connector is not None and to_own_server and not connector.sender_rewriting_enabled:
        return ""
    if _is_own(policy, organisation, sender.domain):
        return ""
    stays = _is_own(policy, organisation, verdict.target.domain)
    if stays and (not to_own_server or verdict.recipient.derived_from is None):
        return ""
    if verdict.standing.relay and not to_own_server:
        return ""
    if mine.rewriting_domain:
        return mine.rewriting_domain
    here: RecipientId | None = verdict.recipient.derived_from or verdict.recipient
    while here is not None:
        home = here.original.domain or verdict.standing.accepted_domain
        if _is_own(policy, organisation, home):
            return home
        here = here.derived_from
    return ""


def leaves_for_somebody(policy: Policy, verdict: Verdict) -> bool:
    """Whether this copy is sent on by us and leaves the organisation, whoever its sender is; then it is sealed."""
    where = verdict.disposition
    if not isinstance(where, Deliver) or where.route.via is Via.MAILBOX or verdict.standing.relay:
        return False
    if not _is_sent_on(verdict):
        return False
    mine = policy.organisations.get(where.route.organisation)
    connector = mine.outbound.named.get(where.route.connector) if mine is not None else None
    if connector is not None and connector.on_premises:
        return connector.sender_rewriting_enabled
    return not _is_own(policy, verdict.standing.organisation, verdict.target.domain)


def _is_sent_on(verdict: Verdict) -> bool:
    """Whether it goes somewhere else than it was addressed to, or is relayed for an own server."""
    recipient, standing = verdict.recipient, verdict.standing
    if recipient.derived_from is not None or (standing.relay and standing.inbound_connector):
        return True
    return bool(standing.accepted_domain) and verdict.target.domain != (
        recipient.original.domain or standing.accepted_domain
    )


def _is_own(policy: Policy, organisation: str, domain: str) -> bool:
    home = policy.accepted(domain)
    return home is not None and home.organisation == organisation
