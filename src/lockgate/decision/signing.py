"""Whose mail gets our signature when it leaves, and of which domain (specification 1.13.3, 2.1 O6). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.mail.address import Address
from lockgate.mail.ruling import Direction, Route, Standing, Verdict, Via

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy


def signs(policy: Policy, verdict: Verdict, *, null_sender: bool = False) -> bool:
    """Whether the copy of this recipient is to be signed: the organisation's own mail that leaves it.

    Own is what its servers or people send with a sender of its domains; or with none (`null_sender`: the reports and
    automatic replies of its servers). A copy whose way is not decided yet (held, put off) counts as one that leaves;
    what goes into a mailbox in the end is not signed.
    """
    standing = verdict.standing
    mine = policy.organisations.get(standing.organisation)
    if mine is None or not mine.signing or not _own(standing, null_sender=null_sender):
        return False
    route = getattr(verdict.disposition, "route", None)
    return route is None or leaves(policy, route, verdict.target)


def leaves(policy: Policy, route: Route, target: Address) -> bool:
    """Whether a copy on this way leaves the organisation."""
    if route.via is Via.MAILBOX:
        return False
    accepted = policy.accepted(target.domain)
    return accepted is None or accepted.organisation != route.organisation


def signs_letter(policy: Policy, organisation: str, verdict: Verdict) -> bool:
    """The same for a letter that this installation writes in the name of the organisation."""
    mine = policy.organisations.get(organisation)
    if mine is None or not mine.signing:
        return False
    route = getattr(verdict.disposition, "route", None)
    # It is routed as the owner of the recipient's domain wants; the same one gets it within its own house.
    return route is not None and route.organisation == organisation and leaves(policy, route, verdict.target)


def signing_domains(policy: Policy, organisation: str, author: str) -> tuple[str, ...]:
    """The domains that may sign for an author's domain (A-label), the best one first; () where nothing is signed.

    Its own, the accepted domain that covers it, then the organisation's initial or default domain. Of a domain that
    is not the organisation's, only the last one.
    """
    mine = policy.organisations.get(organisation)
    if mine is None or not mine.signing:
        return ()
    accepted = policy.accepted(author) if author else None
    own = (author, accepted.domain_name) if accepted is not None and accepted.organisation == organisation else ()
    return tuple(dict.fromkeys([name for name in (*own, mine.signing_domain) if name in mine.signing]))


def _own(standing: Standing, *, null_sender: bool) -> bool:
    return standing.direction is Direction.ORIGINATING and (standing.own_domain or null_sender)
