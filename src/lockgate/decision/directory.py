"""Whose is this address? By itself, by the domain that its domain is an alias of (or for whose mailboxes it is the
coexistence domain), without what stands behind a plus, or by the domain's catch-all.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision.stage import Questions
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Known, Unknown, Who, WhoIs

if TYPE_CHECKING:
    from lockgate.policy.objects.domains import AcceptedDomain
    from lockgate.policy.policy import Policy


class Found(NamedTuple):
    """The recipient, or None if nobody has the address; `how` says by which detour ("" for the address itself)."""

    who: Who | None
    how: str = ""
    revision: int = 0


def whose(
    policy: Policy, facts: Facts, organisation: str, accepted: AcceptedDomain, address: Address
) -> Found | Questions | Unknown:
    """Who gets mail for `address` (with its domain), as the directory says; what must be asked, or why it is unknown.

    A recipient that has the very address wins; then the one of the domain that this one stands for; then, for
    ana+tag@, ana@ (RFC 5233); then the catch-all (specification 1.4).
    """
    question = WhoIs(organisation, address.key)
    known = facts.findings.get(question)
    if known is None:
        return Questions((question,))
    if not isinstance(known, Known):
        return known if isinstance(known, Unknown) else Unknown("the directory gave no answer")
    if known.who is not None:
        return Found(known.who, "", known.revision)
    special = accepted.alias_of or accepted.coexistence or accepted.catch_all_recipient_id
    if not (special or "+" in address.local):
        return Found(None, "", known.revision)
    return _beyond(facts, organisation, _detours(policy, organisation, accepted, address), known.revision)


def _beyond(
    facts: Facts, organisation: str, detours: list[tuple[Address, str]], revision: int
) -> Found | Questions | Unknown:
    for other, how in detours:
        question = WhoIs(organisation, other.key)
        known = facts.findings.get(question)
        if known is None:
            return Questions((question,))
        if not isinstance(known, Known):
            return known if isinstance(known, Unknown) else Unknown("the directory gave no answer")
        if known.who is not None:
            return Found(known.who, how, known.revision)
        revision = known.revision
    return Found(None, "", revision)


def _detours(
    policy: Policy, organisation: str, accepted: AcceptedDomain, address: Address
) -> list[tuple[Address, str]]:
    """The other addresses to look up, in order, each with the reason."""
    found: list[tuple[Address, str]] = []
    domain, alias = _stands_for(policy, organisation, accepted)
    if domain:
        found.append((Address(address.local, domain), alias))
    plain = _without_tag(policy, organisation, address.local)
    if plain:
        how = "what stands behind the plus is for the recipient"
        found.append((Address(plain, address.domain), how))
        if domain:
            found.append((Address(plain, domain), f"{how}, and {alias}"))
    catch_all = accepted.catch_all_recipient_id
    if catch_all:
        text = catch_all if "@" in catch_all else f"{catch_all}@{accepted.domain_name}"
        # An identifier of another system that was carried through is nobody's; the linter says so.
        with contextlib.suppress(AddressError):
            found.append((parse_address(text, utf8=True), f"it is the catch-all of {accepted.domain_name}"))
    return found


def _stands_for(policy: Policy, organisation: str, accepted: AcceptedDomain) -> tuple[str, str]:
    """The other domain of which this one has the recipients, and why; "" if it has its own alone."""
    if accepted.alias_of:
        return accepted.alias_of, f"{accepted.domain_name} is an alias of {accepted.alias_of}"
    mine = policy.organisations.get(organisation)
    if not accepted.coexistence or mine is None or not mine.home_domain:
        return "", ""
    return mine.home_domain, f"{accepted.domain_name} is the coexistence domain of {mine.home_domain}"


def _without_tag(policy: Policy, organisation: str, local: str) -> str:
    """ana for ana+tag; "" if there is no tag, or the organisation wants none of it."""
    plain, plus, _ = local.partition("+")
    if not plus or not plain or local.startswith('"'):
        return ""
    mine = policy.organisations.get(organisation)
    return "" if mine is None or mine.organisation.disable_plus_address_in_recipients else plain
