"""Reports about mail that was sent on come back to the address we made of its sender (mail/srs.py); where do they go?

The hash in the address is the right to leave: nobody but us can have made it, and it leads to one sender only. Only
mail of the null sender takes this way, so that a harvested address is of little use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lockgate.decision.stage import Questions, refuse, told
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Known, LeadsBack, Original, Unknown, WhoIs
from lockgate.mail.ruling import Hit, Step, Verdict
from lockgate.mail.srs import is_rewritten

if TYPE_CHECKING:
    from lockgate.policy.objects.domains import AcceptedDomain

_NAME, _SUBJECT = "reach", "way back"


def lead_back(facts: Facts, verdict: Verdict, accepted: AcceptedDomain) -> Verdict | Questions | None:
    """The verdict on a recipient that looks like a rewritten sender, or what must be asked; None: it is like others.

    A recipient of the directory may have such an address, and an own server may make such addresses itself, so what is
    not ours is refused only where nobody else could know it.
    """
    address = verdict.recipient.original
    if not is_rewritten(address.local):
        return None
    organisation = verdict.standing.organisation
    listed, back = WhoIs(organisation, address.key), LeadsBack(organisation, address.text)
    known, found = facts.findings.get(listed), facts.findings.get(back)
    if known is None:
        return Questions((listed,))
    if not isinstance(known, Known) or known.who is not None:
        return None
    match found:
        case None:
            return Questions((back,))
        case Original(sender=None, why=why):
            return _leads_nowhere(verdict, accepted, why)
        case Original(sender=sender) if sender is not None:
            return _sent_back(facts, verdict, sender)
        case Unknown(why):
            because = f"it cannot be found out whose {address} is: {why}"
            return refuse(_NAME, verdict, replies.DIRECTORY_UNAVAILABLE, _SUBJECT, because, Hit.UNKNOWN)
    raise ValueError("whom an address leads back to was answered by something else")


def _leads_nowhere(verdict: Verdict, accepted: AcceptedDomain, why: str) -> Verdict | None:
    elsewhere = accepted.domain_type != "authoritative" or accepted.alias_of or accepted.catch_all_recipient_id
    if elsewhere or accepted.recipient_validation != "directory" or accepted.edge_blocking != "enforce":
        return None
    because = f"{verdict.recipient.original} looks like the sender of forwarded mail, but {why}"
    return refuse(_NAME, verdict, replies.NO_WAY_BACK, _SUBJECT, because, Hit.NO)


def _sent_back(facts: Facts, verdict: Verdict, sender: Address) -> Verdict:
    if facts.envelope is None or facts.envelope.sender is not None:
        because = f"it stands for {sender}, but only reports, which have no sender, take this way"
        return refuse(_NAME, verdict, replies.REPORTS_ONLY, _SUBJECT, because)
    because = f"we made {verdict.recipient.original} of {sender} when we sent mail on"
    step = Step(_NAME, _SUBJECT, Hit.YES, because, f"goes to {sender}", verdict.recipient.original.text)
    # From here on it is mail that leaves: no domain of ours, no directory and no policy of a recipient concern it.
    standing = msgspec.structs.replace(verdict.standing, accepted_domain="", relay=True)
    return msgspec.structs.replace(told(verdict, step, standing=standing), target=sender)
