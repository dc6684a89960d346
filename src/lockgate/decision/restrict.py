"""May this sender write to this recipient? Refused is who may not (specification 1.6 rule 8).

A sender is proven to be of the organisation by its own servers or a login, together with an own sender domain. Own
addresses in a list are believed of nobody else; addresses of others count as they are written in the envelope. Reports
(null sender) of own servers are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lockgate.decision.directory import Found, whose
from lockgate.decision.stage import Depth, Questions, refuse, told
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Members, MembersOf, RecipientKind, Restriction, Unknown, Who
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Direction, Hit, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_SUBJECT = "restriction"
_DEEPEST = 32
"""Groups within groups are followed so far when it is looked up whether the sender is a member."""


def restrict(
    stage: str, policy: Policy, facts: Facts, verdict: Verdict, who: Who, depth: Depth
) -> Verdict | Questions:
    """The verdict as it was, refused, or put off where the directory cannot say whether the sender is a member."""
    wanted, standing = who.restriction, verdict.standing
    sender = facts.envelope.sender if facts.envelope is not None else None
    own = standing.direction is Direction.ORIGINATING
    if wanted is None or (sender is None and own):
        return verdict
    authenticated = own and standing.own_domain
    if wanted.authenticated_only and not authenticated:
        because = f"{who.primary} takes mail only of senders that are proven to be of {who.organisation}"
        return refuse(stage, verdict, _not_authenticated(who), _SUBJECT, because)
    if not (wanted.accept_from or wanted.reject_from or wanted.members_only):
        return _passed(stage, verdict, who, depth)
    name = _name_of(policy, facts, who.organisation, sender)
    if isinstance(name, Questions):
        return name
    # An own address that nothing proves is believed where it leads to a refusal, and nowhere else.
    believed = name if authenticated or not standing.own_domain else ""
    try:
        no = _refusal(facts, who, wanted, name, believed, authenticated=authenticated)
    except _Wanting as wanting:
        return Questions(wanting.asked)
    except _Unanswered as trouble:
        because = f"whether the sender is a member cannot be asked: {trouble}"
        return refuse(stage, verdict, replies.DIRECTORY_UNAVAILABLE, _SUBJECT, because, Hit.UNKNOWN)
    if no is not None:
        reply, because = no
        return refuse(stage, verdict, reply, _SUBJECT, because)
    return _passed(stage, verdict, who, depth)


def _refusal(
    facts: Facts, who: Who, wanted: Restriction, name: str, believed: str, *, authenticated: bool
) -> tuple[Reply, str] | None:
    """The reply and the reason, if the sender may not. Raises _Wanting, _Unanswered."""
    shown = name or "the null sender"
    if wanted.reject_from and _is_among(facts, who.organisation, wanted.reject_from, name):
        return replies.NOT_ALLOWED_SENDER, f"{who.primary} takes no mail of {shown}"
    if wanted.accept_from and not _is_among(facts, who.organisation, wanted.accept_from, believed):
        return replies.NOT_ALLOWED_SENDER, f"{who.primary} takes mail of listed senders only, and {shown} is none"
    if wanted.members_only and not _is_member(facts, who.organisation, (who.primary.key,), believed):
        reply = replies.NOT_ALLOWED_SENDER if authenticated else _not_authenticated(who)
        return reply, f"{who.primary} takes mail of its members only, and {shown} is none"
    return None


def _not_authenticated(who: Who) -> Reply:
    if who.kind is RecipientKind.GROUP:
        return replies.NOT_AUTHENTICATED_FOR_GROUP
    if who.kind is RecipientKind.MAILBOX:
        return replies.NOT_AUTHENTICATED_FOR_MAILBOX
    return replies.NOT_AUTHENTICATED_FOR_MAIL_USER


def _passed(stage: str, verdict: Verdict, who: Who, depth: Depth) -> Verdict:
    if depth is Depth.LIVE:
        return verdict
    because = f"{who.primary} takes mail of this sender"
    return told(verdict, Step(stage, _SUBJECT, Hit.NO, because, "", verdict.recipient.original.text))


def _name_of(policy: Policy, facts: Facts, organisation: str, sender: Address | None) -> str | Questions:
    """The sender's primary address where it is a recipient of the organisation, else the address itself; "" for <>."""
    if sender is None:
        return ""
    home = policy.accepted(sender.domain)
    if home is None or home.organisation != organisation:
        return sender.key
    found = whose(policy, facts, organisation, home, sender)
    if isinstance(found, Questions):
        return found
    known = found.who if isinstance(found, Found) else None
    return known.primary.key if known is not None else sender.key


class _Wanting(Exception):
    """Something must be asked first."""

    def __init__(self, asked: tuple[MembersOf, ...]) -> None:
        super().__init__()
        self.asked = asked


class _Unanswered(Exception):
    """The directory cannot say; the message says why."""


def _is_among(facts: Facts, organisation: str, listed: tuple[str, ...], name: str) -> bool:
    """Whether the name is listed, or a member of a listed group. Raises _Wanting, _Unanswered."""
    return bool(name) and (name in listed or _is_member(facts, organisation, listed, name))


def _is_member(facts: Facts, organisation: str, groups: Iterable[str], name: str) -> bool:
    """Whether the name is a member of one of these, or of a group within. Raises _Wanting, _Unanswered."""
    if not name:
        return False
    level, seen, trouble = list(groups), set(groups), ""
    for _ in range(_DEEPEST):
        missing, within = [], []
        for group in level:
            question = MembersOf(organisation, group)
            match facts.findings.get(question):
                case None:
                    missing.append(question)
                case Members(known, others):
                    if any(one.primary.key == name or _outside(one) == name for one in known) or any(
                        one.key == name for one in others
                    ):
                        return True
                    within += [one.primary.key for one in known if one.kind is RecipientKind.GROUP]
                case Unknown(why):
                    trouble = why
                case _:
                    trouble = "it gave no answer"
        if missing:
            raise _Wanting(tuple(missing))
        level = [group for group in dict.fromkeys(within) if group not in seen]
        seen.update(level)
        if not level:
            break
    if trouble:
        raise _Unanswered(trouble)
    return False


def _outside(who: Who) -> str:
    """The address under which a contact or mail user writes from outside."""
    return who.external.key if who.external is not None else ""
