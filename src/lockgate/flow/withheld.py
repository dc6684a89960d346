"""Why a report to the sender is not sent: whom we may not tell, who wants none, and what may not leave.

DESIGN 2 (forged senders), RFC 3461 4.1 (NOTIFY), RFC 3834 (automatic mail), specification 1.5 (remote domains) and 1.20
(never a report about a report).
"""

from __future__ import annotations

from lockgate.mail.automatic import automatic, unwanted
from lockgate.mail.headers import Headers
from lockgate.mail.recipient import RecipientId
from lockgate.mail.task import Assigned, TaskRecipient
from lockgate.policy.policy import Policy

_SUCCESS = frozenset(("relayed", "delivered"))


def barred(policy: Policy, task: Assigned, recipient: TaskRecipient, kind: str) -> str:
    """Why no report of this kind may be sent about the recipient, as the rest of a sentence; "" if one may."""
    sender = task.envelope.sender
    if sender is None:
        return "the message came from the null sender"
    if recipient.forged:
        return "it may be forged: SPF or DMARC failed for it"
    if not _asked(recipient.id, kind):
        return f"it asked for no report of this kind ({kind})"
    return _shut(policy, task.lane.partition("/")[0], sender.domain, kind)


def disliked(headers: Headers, recipient: TaskRecipient, kind: str) -> str:
    """Why the message itself wants no report of this kind, as the rest of a sentence; "" if it takes one.

    What the header suppresses is suppressed even if the envelope asks for it, as Exchange has it. That a program wrote
    the message, or that it went to many, silences delay notices only, and only those that were not asked for: a failure
    goes to the envelope sender, who keeps the list or runs the program, and RFC 3834 does not speak of it.
    """
    if word := unwanted(headers, kind):
        return f"X-Auto-Response-Suppress: {word} forbids it"
    if kind == "delayed" and "DELAY" not in recipient.id.notify and (sign := automatic(headers)):
        return f"it is no person who waits ({sign})"
    return ""


def _asked(recipient: RecipientId, kind: str) -> bool:
    """RFC 3461 4.1: what NOTIFY asks for; without it failures and delays are told, success is not."""
    if kind in _SUCCESS:
        return "SUCCESS" in recipient.notify
    return not recipient.notify or {"failed": "FAILURE", "delayed": "DELAY"}[kind] in recipient.notify


def _shut(policy: Policy, organisation: str, domain: str, kind: str) -> str:
    """Whether the remote domain of the sender lets no such report out; mail within the organisation never leaves."""
    mine, accepted = policy.organisations.get(organisation), policy.accepted(domain)
    if mine is None or (accepted is not None and accepted.organisation == organisation):
        return ""
    remote = mine.remote.find(domain)
    if remote is None:
        return ""
    if kind in _SUCCESS:
        what, setting, open_ = "receipts", "delivery_report_enabled", remote.delivery_report_enabled
    else:
        what, setting, open_ = "reports of failure", "ndr_enabled", remote.ndr_enabled
    return "" if open_ else f"the remote domain {remote.domain_name} lets no {what} out ({setting} = false)"
