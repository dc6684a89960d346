"""Who gets a copy because of this recipient: the members of a group, and whom a mailbox forwards to?

Specification 1.6 rules 3 and 4, 1.5 (forwarding set up by people) and 1.22 (large messages to large groups). A derived
recipient of the same organisation, or outside, stands where the one stands from which it comes; one in a domain of
another organisation of the installation is judged from the beginning, as if this session had named it: never does one
organisation's allowance open the door of another. How duplicates and circles end is told in derive.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision import attribute, blocked, reach, resolve, secure
from lockgate.decision.hybrid import comes_back, is_central
from lockgate.decision.route import ranked
from lockgate.decision.stage import Depth, Derived, Questions, RecipientStage, decided, refuse, told
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Forwarding, Members, MembersOf, RecipientKind, Unknown, Who
from lockgate.mail.recipient import RecipientId, Relation
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Disposition, Drop, Effects, Hit, Refuse, Resolved, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.domains import AcceptedDomain
    from lockgate.policy.policy import Policy

NAME = "expand"
GROUP, FORWARDING = "group ", "forwarding of "
"""How the subject of the step begins that says from whom a recipient is derived."""

BEFORE = (attribute.STAGE, blocked.STAGE, secure.STAGE, reach.STAGE, resolve.STAGE)
"""The recipient stages before this one (judge.STAGES has the order)."""
_AT_REACH = BEFORE.index(reach.STAGE)
_AT_RESOLVE = BEFORE.index(resolve.STAGE)
HERE = len(BEFORE)
"""The place of this stage among the recipient stages."""

_LARGE_GROUPS = ((100_000, 5 * 1024**2), (5_000, 25 * 1024**2))
"""From so many members on a message may have so many octets (specification 1.22)."""

_NOTHING = Effects()


def expand(
    policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth
) -> Verdict | Questions | Derived:
    """The recipients derived from a group or from a mailbox that forwards; everybody else goes on."""
    if verdict.group:
        return _group(policy, facts, verdict)
    if verdict.forwarding is not None:
        return _forward(policy, ruling, verdict, verdict.forwarding)
    return verdict


def question_of(verdict: Verdict) -> MembersOf:
    """What has to be asked about a group."""
    return MembersOf(verdict.standing.organisation, verdict.target.key)


# --- groups -----------------------------------------------------------------------------------------------------------


def _group(policy: Policy, facts: Facts, verdict: Verdict) -> Verdict | Questions | Derived:
    subject = f"{GROUP}{verdict.target}"
    question = question_of(verdict)
    match facts.findings.get(question):
        case None:
            return Questions((question,))
        case Members(known, others) if known or others:
            no = _too_large(facts, len(known) + len(others))
            if no:
                return refuse(NAME, verdict, replies.MESSAGE_TOO_LARGE, subject, no)
            return _members(policy, verdict, known, others)
        case Members():
            return _empty(policy, verdict, subject)
        case Unknown(why):
            because = f"its members cannot be asked for: {why}"
            return refuse(NAME, verdict, replies.DIRECTORY_UNAVAILABLE, subject, because, Hit.UNKNOWN)
    raise ValueError(f"the members of {verdict.target} were answered by something else")


def _too_large(facts: Facts, members: int) -> str:
    size = facts.message.size if facts.message is not None else 0
    for least, most in _LARGE_GROUPS:
        if members >= least and size > most:
            return f"it has {members} members, so it takes messages of {most} octets at most, and this has {size}"
    return ""


def _empty(policy: Policy, verdict: Verdict, subject: str) -> Verdict:
    """Members may be kept where the group lives; where no connector leads there, it has none."""
    mine = policy.organisations.get(verdict.standing.organisation)
    found = ranked(policy, mine, verdict.target.domain, central=is_central(mine, verdict)) if mine is not None else ()
    if not any(True for _ in found):
        because = "the directory lists no members, and no connector leads to a server that may know some"
        return refuse(NAME, verdict, replies.GROUP_EMPTY, subject, because)
    because = "the directory lists no members of it; whoever it is carried to may know them"
    return told(verdict, _step(verdict, subject, Hit.NO, because, "goes on by its own address"))


def _members(
    policy: Policy, verdict: Verdict, known: tuple[Who, ...], others: tuple[Address, ...]
) -> Derived:
    parent = verdict.recipient
    # A list does not pass DSN parameters on (RFC 3461 5.2.7.3), but whoever wanted no reports gets none.
    notify = ("NEVER",) if parent.notify == ("NEVER",) else ()
    steps = (Step(NAME, f"{GROUP}{verdict.target}", Hit.YES, "it is a member", "gets a copy"),)
    homes: dict[str, AcceptedDomain | None] = {}
    children: list[Verdict] = []
    for who in known:
        domain = who.primary.domain
        if domain not in homes:
            homes[domain] = policy.accepted(domain)
        recipient = RecipientId(who.primary, parent, "", notify, Relation.MEMBER)
        children.append(_known(policy, verdict, recipient, who, homes[domain], steps))
    children.extend(
        by_address(policy, verdict, RecipientId(one, parent, "", notify, Relation.MEMBER), steps) for one in others
    )
    count = len(children)
    because = f"it has {count} member{'s' if count != 1 else ''}"
    step = _step(verdict, f"{GROUP}{verdict.target}", Hit.YES, because, "expanded")
    why = f"{count} member{'s' if count != 1 else ''} of {verdict.target}"
    return Derived(decided(verdict, Resolved(why, expanded=True), step), tuple(children))


def _known(
    policy: Policy,
    parent: Verdict,
    recipient: RecipientId,
    who: Who,
    home: AcceptedDomain | None,
    steps: tuple[Step, ...],
) -> Verdict:
    """A member whom the directory knows: nobody has to ask for it again, unless it has restrictions or a chain."""
    primary, standing = who.primary, parent.standing
    if home is not None and home.organisation != standing.organisation:
        return Verdict(recipient, primary)
    accepted = home.domain_name if home is not None else standing.accepted_domain
    own = _standing(standing, accepted, str(who.kind), who.attributes)
    if home is not None and home.sending_to_domain_disabled:
        return _closed(Verdict(recipient, primary, own, steps=steps, identity=primary), home)
    target, mailbox, group = primary, who.kind is RecipientKind.MAILBOX, who.kind is RecipientKind.GROUP
    chained = False
    if who.external is not None and not (mailbox or group or who.external.key == primary.key):
        target = who.external
        beyond = policy.accepted(target.domain)
        chained = beyond is not None and beyond.organisation == standing.organisation
    if chained or who.restriction is not None:
        return Verdict(recipient, primary, own, _ruled(parent), steps=steps, stage=_AT_RESOLVE)
    onward = None if group else who.forwarding
    return Verdict(recipient, target, own, _ruled(parent), None, steps, HERE, primary, mailbox, group, onward)


def _closed(verdict: Verdict, home: AcceptedDomain) -> Verdict:
    because = f"{home.domain_name} is switched off for receiving"
    return _ended(refuse(NAME, verdict, replies.DOMAIN_CLOSED, "recipient's domain", because))


# --- forwarding -------------------------------------------------------------------------------------------------------


def _forward(policy: Policy, ruling: Ruling, verdict: Verdict, forwarding: Forwarding) -> Verdict | Derived:
    whose = verdict.identity or verdict.target
    to, subject = forwarding.to, f"{FORWARDING}{whose}"
    if to.key in (whose.key, verdict.target.key):
        return told(verdict, _step(verdict, subject, Hit.NO, "it leads to the recipient itself", "left out"))
    if comes_back(policy, ruling, verdict):
        because = "its mail goes by on-premises first (specification 2.6)"
        return told(verdict, _step(verdict, subject, Hit.NO, because, "forwarded when it comes back"))
    because = f"{'its owner' if forwarding.by_user else 'an administrator'} wants mail forwarded to {to}"
    parent = verdict.recipient
    step = Step(NAME, subject, Hit.YES, because, "gets a copy")
    recipient = RecipientId(to, parent, parent.orcpt, parent.notify, Relation.FORWARDING)
    child = by_address(policy, verdict, recipient, (step,))
    stopped = _stopped(policy, verdict, forwarding)
    if stopped:
        child = _ended(decided(child, Drop(stopped), _step(child, "remote domain", Hit.YES, stopped, "dropped")))
    if forwarding.keeps_copy:
        kept = told(verdict, _step(verdict, subject, Hit.YES, because, "keeps a copy and sends one on"))
        return Derived(kept, (child,))
    gone = decided(verdict, Resolved(f"forwarded to {to}"), _step(verdict, subject, Hit.YES, because, "sent on"))
    return Derived(gone, (child,))


def _stopped(policy: Policy, verdict: Verdict, forwarding: Forwarding) -> str:
    """Why what a person set up may not leave; "" if it may (specification 1.5: dropped, and nobody is told)."""
    if not forwarding.by_user:
        return ""
    domain, organisation = forwarding.to.domain, verdict.standing.organisation
    home, mine = policy.accepted(domain), policy.organisations.get(organisation)
    if mine is None or (home is not None and home.organisation == organisation):
        return ""
    remote = mine.remote.find(domain)
    if remote is None or remote.auto_forward_enabled:
        return ""
    return f"forwarding that people set up may not leave to {domain} (remote domain {remote.domain_name})"


# --- what both share --------------------------------------------------------------------------------------------------


def by_address(policy: Policy, parent: Verdict, recipient: RecipientId, steps: tuple[Step, ...]) -> Verdict:
    """Of whom nothing is known but the address: one outside, one to be looked up, or another organisation's."""
    address, standing = recipient.original, parent.standing
    home = policy.accepted(address.domain)
    if home is None:
        outside = _standing(standing, standing.accepted_domain, "", {})
        return Verdict(recipient, address, outside, _ruled(parent), steps=steps, stage=HERE)
    if home.organisation != standing.organisation:
        return Verdict(recipient, address)  # as reach.begin does it: nothing of ours is said of it
    own = _standing(standing, home.domain_name, "", {})
    return Verdict(recipient, address, own, _ruled(parent), steps=steps, stage=_AT_REACH)


def _ruled(parent: Verdict) -> Effects:
    """What rules made of the copy of whoever was derived by one, which holds for whom that one leads to."""
    return parent.effects if parent.effects.ruled else _NOTHING


def _standing(old: Standing, accepted_domain: str, kind: str, attributes: dict[str, str]) -> Standing:
    return Standing(
        old.organisation,
        old.direction,
        old.inbound_connector,
        old.partner_connector,
        accepted_domain,
        old.own_domain,
        old.relay,
        old.allowed_by_ip,
        kind,
        attributes,
        blocked_connector=old.blocked_connector,
    )


def _ended(verdict: Verdict) -> Verdict:
    """A verdict that was decided here."""
    return placed(verdict, verdict.disposition, verdict.steps)


def placed(
    old: Verdict, disposition: Disposition | None, steps: tuple[Step, ...], stage: int = HERE + 1
) -> Verdict:
    """The verdict as one that this stage has judged, or the one before `stage`."""
    return Verdict(
        old.recipient, old.target, old.standing, old.effects, disposition, steps, stage, old.identity, old.mailbox,
        old.group, old.forwarding,
    )  # fmt: skip


def refused(verdict: Verdict, reply: Reply, subject: str, because: str) -> Verdict:
    """The recipient refused by this stage."""
    step = _step(verdict, subject, Hit.YES, because, "refused")
    return placed(verdict, Refuse(reply), (*verdict.steps, step))


def _step(verdict: Verdict, subject: str, hit: Hit, because: str, effect: str) -> Step:
    return Step(NAME, subject, hit, because, effect, verdict.recipient.original.text)


STAGE = RecipientStage(NAME, Point.DATA, expand)
