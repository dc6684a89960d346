"""Which way does mail take between the two sides of a hybrid?

Specification 2.6: where all mail goes by the own servers first, what comes in from outside goes there before it reaches
a mailbox here, and comes back; what comes back, and what the other side sends out by us, is not sent there again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.mail.ruling import Direction, Ruling, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import OrganisationPolicy, Policy


def is_central(mine: OrganisationPolicy, verdict: Verdict) -> bool:
    """Whether the connectors by which all mail leaves take this copy.

    Not what the other side itself sends on by us; but what we send on for one of its recipients, a member of a group
    or whom a mailbox here forwards to, is mail of ours like any other.
    """
    if not mine.outbound.central:
        return False
    if verdict.recipient.derived_from is not None:
        return True
    return not _is_other_side(mine, verdict.standing.inbound_connector)


def comes_back(policy: Policy, ruling: Ruling, verdict: Verdict) -> bool:
    """Whether this copy, for a mailbox here, goes to the other side first, which returns it.

    What its owner wants done with it, forwarding say, is done then; done now too, it would be done twice.
    """
    mine = policy.organisations.get(verdict.standing.organisation)
    if mine is None or not verdict.mailbox or not (mine.store is not None or policy.keeps_mailboxes):
        return False
    return goes_round(mine, ruling, verdict)


def goes_round(mine: OrganisationPolicy, ruling: Ruling, verdict: Verdict) -> bool:
    """Whether this is mail from outside that goes by the other side first, and has not been there."""
    if not mine.outbound.central or verdict.standing.direction is not Direction.INCOMING:
        return False
    return not from_other_side(mine, ruling)


def from_other_side(mine: OrganisationPolicy, ruling: Ruling) -> bool:
    """Whether the session is one of the other side's servers.

    Who they are does not depend on the sender: what they return still bears the one it had outside.
    """
    name = mine.organisation.name
    return any(_is_other_side(mine, one.connector) for one in ruling.candidates if one.organisation == name)


def _is_other_side(mine: OrganisationPolicy, connector: str) -> bool:
    """Whether this inbound connector stands for the other side: one with the hybrid switch, where there is any.

    Then other own servers, printers say, are people on this side; without the switch all of them may be that side.
    """
    found = mine.inbound.get(connector)
    if found is None:
        return False
    return found.cloud_services_mail_enabled or not mine.hybrid
