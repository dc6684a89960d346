"""Whose is this address? By itself, by the domain that its domain is an alias of, or by the domain's catch-all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision.stage import Questions
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Known, Unknown, Who, WhoIs

if TYPE_CHECKING:
    from lockgate.policy.objects.domains import AcceptedDomain


class Found(NamedTuple):
    """The recipient, or None if nobody has the address; `how` says by which detour ("" for the address itself)."""

    who: Who | None
    how: str = ""
    revision: int = 0


def whose(facts: Facts, organisation: str, accepted: AcceptedDomain, address: Address) -> Found | Questions | Unknown:
    """Who gets mail for `address` (with its domain), as the directory says; what must be asked, or why it is unknown.

    A recipient that has the very address wins; then the one of the domain that this one is an alias of; then the
    catch-all (specification 1.4).
    """
    question = WhoIs(organisation, address.key)
    known = facts.findings.get(question)
    if known is None:
        return Questions((question,))
    if not isinstance(known, Known):
        return known if isinstance(known, Unknown) else Unknown("the directory gave no answer")
    if known.who is not None or not (accepted.alias_of or accepted.catch_all_recipient_id):
        return Found(known.who, "", known.revision)
    return _beyond(facts, organisation, accepted, address)


def _beyond(facts: Facts, organisation: str, accepted: AcceptedDomain, address: Address) -> Found | Questions | Unknown:
    revision = 0
    for other, how in _detours(accepted, address):
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


def _detours(accepted: AcceptedDomain, address: Address) -> list[tuple[Address, str]]:
    """The other addresses to look up, in order, each with the reason."""
    found: list[tuple[Address, str]] = []
    if accepted.alias_of:
        how = f"{accepted.domain_name} is an alias of {accepted.alias_of}"
        found.append((Address(address.local, accepted.alias_of), how))
    catch_all = accepted.catch_all_recipient_id
    if catch_all:
        text = catch_all if "@" in catch_all else f"{catch_all}@{accepted.domain_name}"
        # An identifier of another system that was carried through is nobody's; the linter says so.
        with contextlib.suppress(AddressError):
            found.append((parse_address(text, utf8=True), f"it is the catch-all of {accepted.domain_name}"))
    return found
