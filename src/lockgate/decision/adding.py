"""Who gets a copy because a mail flow rule says so, besides the recipient or instead: derived like members of a group.

Specification 1.15.9. No rule is looked at for them again: the copy is what the rules made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lockgate.decision.expand import by_address
from lockgate.decision.stage import Depth, Derived, RecipientStage, decided, refuse, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.recipient import RecipientId, Relation
from lockgate.mail.ruling import Added, Effects, Hit, Resolved, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

NAME = "add"
MARK = "X-Lockgate-Rules-Redirected"
"""What a redirected copy bears; a message that bears it is not redirected again (1.15.11)."""


def add(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict | Derived:
    """The verdict after the rules, with whom they added; itself if that is nobody or only the recipient."""
    effects = verdict.effects
    if not effects.added or effects.ruled:
        return verdict
    redirects = effects.redirects
    if redirects and _was_redirected(facts):
        because = f"it bears {MARK}, and no message is redirected by rules twice"
        return refuse(NAME, verdict, replies.RULES_LOOP, f"rule {redirects[0].rule}", because)
    own = {verdict.recipient.original.key, verdict.target.key, (verdict.identity or verdict.target).key}
    added = [one for one in effects.added if one.address.key not in own]
    if not added:
        return verdict
    redirected = bool(redirects)
    if any(one.address.key in own for one in redirects):
        redirected = False  # to the recipient as well, who so keeps a copy
    children = tuple(_child(policy, verdict, one, redirected=redirected and one.redirect) for one in added)
    if not redirected:
        return Derived(verdict, children)
    to = ", ".join(one.address.text for one in redirects[:3]) + (", ..." if len(redirects) > 3 else "")
    return Derived(decided(verdict, Resolved(f"redirected by rule {redirects[0].rule} to {to}")), children)


def _was_redirected(facts: Facts) -> bool:
    """Whether rules have redirected the message before."""
    message = facts.message
    return message is not None and any(name.lower() == MARK.lower() for name, _ in message.fields)


def _child(policy: Policy, verdict: Verdict, added: Added, *, redirected: bool) -> Verdict:
    parent = verdict.recipient
    relation = Relation.REDIRECTED if redirected else Relation.ADDED
    notify = parent.notify if redirected or parent.notify == ("NEVER",) else ()
    recipient = RecipientId(added.address, parent, parent.orcpt if redirected else "", notify, relation)
    because = f"rule {added.rule} {'redirects the copy to it' if redirected else 'adds it'}"
    step = Step(NAME, f"rule {added.rule}", Hit.YES, because, "gets a copy", added.address.text)
    child = by_address(policy, verdict, recipient, (step,))
    if child.standing.organisation != verdict.standing.organisation:
        return child  # another organisation's: judged from its beginning, by its own rules
    old = verdict.effects
    edits = old.edits
    if redirected:
        edits = (*edits, HeaderEdit(Change.SET, MARK, "1"))
    effects = Effects(old.connector, old.rule, old.require_tls, None, edits, (), ruled=True, scl=old.scl,
                      classification=old.classification)  # fmt: skip
    return msgspec.structs.replace(child, effects=effects)


def left_out(verdict: Verdict, because: str = "no more may be derived from this message") -> Verdict:
    """Of whom more were added than one message may have: the recipient keeps its copy."""
    step = Step(NAME, "recipients added by rules", Hit.NO, because, "left out", verdict.recipient.original.text)
    return told(verdict, step)


STAGE = RecipientStage(NAME, Point.DATA, add)
