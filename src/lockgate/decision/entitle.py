"""Which rights has the session for this recipient, and where did the message really come from?

Specification 1.1.2 (header firewall), 1.13.2 (enhanced filtering), 2.2 step B. Four rights, each judged for itself and
anew for every transaction: to relay (given at RCPT), to be taken for the organisation's own people (internal), to have
its internal header fields believed (promotion), and to have no content verdict (spam bypass). None follows from a
restriction, and none from a Received field unless the connector says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from lockgate.decision.partners import choose
from lockgate.decision.rights import rights_of
from lockgate.decision.stage import Depth, RecipientStage, refuse, told
from lockgate.decision.true_source import Found, Outcome, look_for_source
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import NOT_CERTAIN
from lockgate.mail.message import Message
from lockgate.mail.ruling import Hit, Ruling, Standing, Step, Verdict
from lockgate.policy.networks import parse_address

if TYPE_CHECKING:
    from lockgate.policy.enhanced_filtering import EnhancedFiltering
    from lockgate.policy.policy import OrganisationPolicy, Policy

_NAME = "entitle"
_SOURCE = "true source"


def entitle(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """The rights, and the true source where a connector asks for it; nothing for mail from the Internet."""
    standing = verdict.standing
    stranger = not ruling.candidates and not facts.connection.login
    if depth is Depth.LIVE and stranger and not standing.partner_connector:
        return verdict
    mine, message = policy.organisations.get(standing.organisation), facts.message
    if mine is None or message is None:
        return verdict
    if stranger:
        if depth is Depth.FULL:
            because = "the session shows neither a connector of own servers nor a login; it has none"
            verdict = told(verdict, _step(verdict, "rights", Hit.NO, because))
    else:
        verdict = _rights(mine, facts, verdict, message, depth)
    if not mine.enhanced or verdict.standing.internal or facts.connection.login:
        return verdict
    return _located(mine, facts, ruling, verdict, message, depth)


def _rights(mine: OrganisationPolicy, facts: Facts, verdict: Verdict, message: Message, depth: Depth) -> Verdict:
    rights = rights_of(mine, facts, verdict.standing, message)
    steps = [
        _step(verdict, name, right.hit, right.because, "held" if right.hit is Hit.YES else "")
        for name, right in rights.named()
        if depth is Depth.FULL or (right.hit is Hit.YES and right is not rights.relay)
    ]
    standing = msgspec.structs.replace(
        verdict.standing,
        internal=rights.internal.hit is Hit.YES,
        promotes=rights.promotion.hit is Hit.YES,
        bypass=rights.bypass.hit is Hit.YES,
        network_id=rights.network_id,
    )
    return told(verdict, *steps, standing=standing)


# --- the true source --------------------------------------------------------------------------------------------------


def _located(
    mine: OrganisationPolicy,
    facts: Facts,
    ruling: Ruling,
    verdict: Verdict,
    message: Message,
    depth: Depth,
) -> Verdict:
    wanted = _wanted(mine, ruling, verdict.standing)
    if wanted is None:
        return verdict
    unshown = _unshown(mine, facts, verdict.standing, wanted)
    if unshown:
        return told(verdict, _step(verdict, _SOURCE, Hit.NO, unshown)) if depth is Depth.FULL else verdict
    found = look_for_source(facts.connection, message, wanted)
    if depth is Depth.FULL:
        verdict = told(verdict, *_hops(verdict, found))
    outside = _out_of_scope(mine, ruling, verdict, wanted)
    if outside or found.outcome in (Outcome.DIRECT, Outcome.INSIDE):
        standing = msgspec.structs.replace(verdict.standing, computed=found.address, source_helo=found.helo)
        because = outside or f"{found.because}; the message is judged by its peer {facts.connection.peer}"
        steps = (_step(verdict, _SOURCE, Hit.NO, because),) if depth is Depth.FULL or found.address else ()
        return told(verdict, *steps, standing=standing)
    if found.outcome is Outcome.DOUBTFUL:
        return _not_certain(facts, verdict, found)
    return _used(mine, verdict, found)


def _wanted(mine: OrganisationPolicy, ruling: Ruling, standing: Standing) -> EnhancedFiltering | None:
    """What the connector of this recipient's mail asks for: an own server's, else a partner's."""
    if standing.inbound_connector:
        return mine.enhanced.get(standing.inbound_connector)
    for candidate in ruling.candidates:
        if candidate.organisation == standing.organisation and candidate.connector in mine.enhanced:
            return mine.enhanced[candidate.connector]
    return mine.enhanced.get(standing.partner_connector)


def _unshown(mine: OrganisationPolicy, facts: Facts, standing: Standing, wanted: EnhancedFiltering) -> str:
    """Why the session is not known to be the gateway's, so that its Received fields say nothing; "" if it is.

    A list of hops is its own proof, because the peer has to be on it.
    """
    if wanted.connector != standing.partner_connector or not wanted.skip_last:
        return ""
    sender_domain = facts.envelope.sender_domain if facts.envelope is not None else ""
    choice = choose(mine, facts, standing, sender_domain)
    if choice is not None and (choice.at_address or choice.certified):
        return ""
    return f"nothing shows that {facts.connection.peer} is the gateway of {wanted.connector}; nothing it says counts"


def _out_of_scope(
    mine: OrganisationPolicy, ruling: Ruling, verdict: Verdict, wanted: EnhancedFiltering
) -> str:
    """Why the true source is not used for this recipient; "" if it is (amendments: per recipient)."""
    if not wanted.users:
        return ""
    if not mine.organisation.exchange:
        names = {verdict.recipient.original.key, (verdict.identity or verdict.recipient.original).key}
        if wanted.users.isdisjoint(names):
            return f"it is not among the ef_users of {wanted.connector}"
        return ""
    # In compatibility the whole message: all of the envelope, each address literally (specification 1.13.2).
    named = [one for one in ruling.recipients if one.standing.organisation == verdict.standing.organisation]
    for one in (*named, verdict):
        root = one.recipient
        while root.derived_from is not None:
            root = root.derived_from
        if root.original.key not in wanted.users:
            return f"{root.original} is not among the ef_users of {wanted.connector}, so nobody's mail is judged by it"
    return ""


def _hops(verdict: Verdict, found: Found) -> Iterator[Step]:
    for hop in found.hops:
        subject = f"hop {hop.address}" if hop.address else "hop"
        yield _step(verdict, subject, hop.hit, hop.because, "skipped" if hop.hit is Hit.YES else "")


def _not_certain(facts: Facts, verdict: Verdict, found: Found) -> Verdict:
    """The peer is all that is certain, and it only passes mail on: its address proves and allows nothing."""
    standing = msgspec.structs.replace(verdict.standing, source=NOT_CERTAIN, allowed_by_ip=False)
    because = f"{found.because}; certain is only that {facts.connection.peer} passed it on"
    return told(verdict, _step(verdict, _SOURCE, Hit.UNKNOWN, because, "no address counts"), standing=standing)


def _used(mine: OrganisationPolicy, verdict: Verdict, found: Found) -> Verdict:
    """The true source takes the place of the peer; the organisation's IP lists are asked about it (amendments)."""
    address = found.address
    packed = parse_address(address)
    allowed = mine.peers.allow.find(packed)
    standing = msgspec.structs.replace(
        verdict.standing,
        source=address,
        source_helo=found.helo,
        computed=address,
        allowed_by_ip=allowed is not None,
    )
    verdict = told(verdict, _step(verdict, _SOURCE, Hit.YES, found.because, f"judged as sent by {address}"),
                   standing=standing)  # fmt: skip
    if allowed is not None:
        because = f"it names {address} ({allowed})"
        return told(verdict, _step(verdict, "IP allow list", Hit.YES, because, "content will not be judged"))
    blocked = mine.peers.block.find(packed)
    if blocked is not None:
        domain = verdict.recipient.original.domain or standing.accepted_domain
        reply = replies.blocked_by_customer(address, domain)
        return refuse(_NAME, verdict, reply, "IP block list", f"it names {address} ({blocked})")
    return verdict


def _step(verdict: Verdict, subject: str, hit: Hit, because: str, effect: str = "") -> Step:
    return Step(_NAME, subject, hit, because, effect, verdict.recipient.original.text)


STAGE = RecipientStage(_NAME, Point.DATA, entitle)
