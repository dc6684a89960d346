"""Who is this recipient really, and to which address is the copy carried?

Specification 1.6 rules 1 to 4: the primary address becomes the identity that rules and people see; mail users and
contacts are followed to their target address, through the directory as long as it knows the next one. Whom a recipient
does not take mail from is refused (rule 8). Groups and forwarding are expanded later (expand.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lockgate.decision.directory import Found, whose
from lockgate.decision.hybrid import from_other_side
from lockgate.decision.restrict import restrict
from lockgate.decision.stage import Depth, Questions, RecipientStage, refuse
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Known, RecipientKind, Unknown, Who, WhoIs
from lockgate.mail.ruling import Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.domains import AcceptedDomain
    from lockgate.policy.policy import Policy

_NAME = "resolve"
_LONGEST_CHAIN = 10


def resolve(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict | Questions:
    """Set identity and target. Addresses the directory does not know stay as they are."""
    standing, original = verdict.standing, verdict.recipient.original
    if not standing.accepted_domain:
        return verdict
    address = original if original.domain else Address(original.local, standing.accepted_domain)
    accepted = policy.accepted(address.domain)
    if accepted is None:
        return verdict
    found = whose(policy, facts, standing.organisation, accepted, address)
    if isinstance(found, Questions):
        return found
    if not isinstance(found, Found) or found.who is None:
        return verdict if address is original else _completed(verdict, address, depth)
    who = found.who
    if who.restriction is not None:
        checked = restrict(_NAME, policy, facts, verdict, who, depth)
        if isinstance(checked, Questions) or checked.disposition is not None:
            return checked
        verdict = checked
    end = _follow(policy, facts, who)
    if accepted.coexistence and _is_sent_to_and_fro(policy, ruling, verdict, who, end):
        because = f"{address} says that the mailbox is here, and the directory has {who.primary} on the other side"
        return refuse(_NAME, verdict, replies.LIVES_ELSEWHERE, "coexistence", because)
    if end is who:
        return _resolved(verdict, who, who.primary, depth, who)
    return _elsewhere(policy, facts, verdict, who, end, depth)


def moved(policy: Policy, facts: Facts, verdict: Verdict, who: Who) -> Verdict | Questions:
    """The verdict on a recipient that was resolved before, with where `who` lives by these facts.

    Nothing else is judged anew; what leads nowhere, or cannot be found out now, leaves the verdict as it is.
    """
    end = _follow(policy, facts, who)
    match end:
        case Questions():
            return end
        case Who(kind=RecipientKind.GROUP):
            return verdict
        case Who():
            target, mailbox = end.primary, end.kind is RecipientKind.MAILBOX
        case Address():
            target, mailbox = end, False
        case _:
            return verdict
    if (target.key, mailbox) == (verdict.target.key, verdict.mailbox):
        return verdict
    because = f"{who.primary} lives {'here' if mailbox else 'elsewhere'} now"
    step = Step(_NAME, "directory", Hit.YES, because, f"goes to {target}", verdict.recipient.original.text)
    return msgspec.structs.replace(verdict, target=target, mailbox=mailbox, steps=(*verdict.steps, step))


def _completed(verdict: Verdict, address: Address, depth: Depth) -> Verdict:
    """<postmaster> with the domain to which it belongs; nobody has the address."""
    return Verdict(
        verdict.recipient, address, verdict.standing, verdict.effects, None,
        _told(verdict, address, address, depth), verdict.stage, address,
    )  # fmt: skip


def _elsewhere(
    policy: Policy,
    facts: Facts,
    verdict: Verdict,
    who: Who,
    end: Who | Address | Questions | Unknown | None,
    depth: Depth,
) -> Verdict | Questions:
    """The copy is carried to the end of the chain, if whoever is there takes it."""
    match end:
        case Questions():
            return end
        case Who(restriction=None):
            return _resolved(verdict, who, end.primary, depth, end)
        case Who():
            checked = restrict(_NAME, policy, facts, verdict, end, depth)
            if isinstance(checked, Questions) or checked.disposition is not None:
                return checked
            return _resolved(checked, who, end.primary, depth, end)
        case Address():
            return _resolved(verdict, who, end, depth)
        case Unknown(why):
            return refuse(_NAME, verdict, replies.DIRECTORY_UNAVAILABLE, "target address", why, Hit.UNKNOWN)
        case None:
            because = f"the target addresses that begin at {who.primary} lead in a circle, or to nobody here"
            return refuse(_NAME, verdict, replies.RECIPIENT_LOOP, "target address", because)


def _is_sent_to_and_fro(
    policy: Policy, ruling: Ruling, verdict: Verdict, who: Who, end: Who | Address | Questions | Unknown | None
) -> bool:
    """Whether the other side sends us mail for a mailbox that we would send to the other side (specification 2.5)."""
    if who.kind is not RecipientKind.MAIL_USER or not (end is who or isinstance(end, Address)):
        return False
    mine = policy.organisations.get(verdict.standing.organisation)
    return mine is not None and from_other_side(mine, ruling)


def _follow(policy: Policy, facts: Facts, who: Who) -> Who | Address | Questions | Unknown | None:
    """Where the chain of external addresses ends: at a recipient here, or at an address outside; None: nowhere.

    An external address equal to the own one, or none at all, means that the mailbox lives on the other side: the
    copy is routed by its own address (amendments).
    """
    seen: set[str] = set()
    for _ in range(_LONGEST_CHAIN):
        external = who.external
        if who.kind not in (RecipientKind.MAIL_USER, RecipientKind.MAIL_CONTACT) or external is None:
            return who
        if external.key == who.primary.key:
            return who
        home = policy.accepted(external.domain)
        if home is None or home.organisation != who.organisation:
            return external
        behind = (_coexisting if home.coexistence else _behind)(policy, facts, who, external, home)
        if not isinstance(behind, Who):
            return behind
        seen.add(who.primary.key)
        if behind.primary.key in seen:
            return behind if behind.kind is RecipientKind.MAILBOX else None
        who = behind
    return None


def _behind(
    policy: Policy, facts: Facts, who: Who, external: Address, home: AcceptedDomain
) -> Who | Address | Questions | Unknown | None:
    """The recipient who has this external address; the address itself if nobody else has it."""
    question = WhoIs(who.organisation, external.key)
    known = facts.findings.get(question)
    if known is None:
        return Questions((question,))
    if not isinstance(known, Known):
        why = known.why if isinstance(known, Unknown) else "it gave no answer"
        return Unknown(f"the directory cannot be asked for {external}: {why}")
    return external if known.who is None or known.who.primary.key == who.primary.key else known.who


def _coexisting(
    policy: Policy, facts: Facts, who: Who, external: Address, home: AcceptedDomain
) -> Who | Address | Questions | Unknown | None:
    """The same in the coexistence domain, which addresses mailboxes here and nobody else.

    By such an address of her own a mail user says that her mailbox is here.
    """
    found = whose(policy, facts, who.organisation, home, external)
    if not isinstance(found, Found):
        return found
    if found.who is not None and found.who.primary.key == who.primary.key:
        return msgspec.structs.replace(who, kind=RecipientKind.MAILBOX, external=None)
    return found.who


def _resolved(verdict: Verdict, who: Who, target: Address, depth: Depth, end: Who | None = None) -> Verdict:
    """The verdict with identity and target; `end` is the recipient here to whom the copy goes."""
    identity, kind = who.primary, end.kind if end is not None else None
    return Verdict(
        verdict.recipient,
        target,
        verdict.standing,
        verdict.effects,
        None,
        _told(verdict, identity, target, depth),
        verdict.stage,
        identity,
        kind is RecipientKind.MAILBOX,
        kind is RecipientKind.GROUP,
        who.forwarding or (end.forwarding if end is not None else None),
    )


def _told(verdict: Verdict, identity: Address, target: Address, depth: Depth) -> tuple[Step, ...]:
    if depth is Depth.LIVE and target.key == verdict.recipient.original.key:
        return verdict.steps
    because = f"the primary address is {identity}"
    effect = f"goes to {target}"
    return (*verdict.steps, Step(_NAME, "directory", Hit.YES, because, effect, verdict.recipient.original.text))


STAGE = RecipientStage(_NAME, Point.RCPT, resolve)
