"""May what a program of ours wrote leave for this domain, and whose mail from there would be trusted?

Specification 1.5: the remote domain that names the destination most exactly holds; what it keeps in is dropped, nobody
is told, and the trace says why. Called by the stage `route`, because only there it is known where a copy leaves to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, decided, told
from lockgate.mail.answers import ByProgram, Sort, by_program
from lockgate.mail.facts import Facts
from lockgate.mail.ruling import Direction, Drop, Hit, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.remote_domains import RemoteDomain
    from lockgate.policy.policy import OrganisationPolicy, Policy

_NO_OOF = "none"


def kept_in(stage: str, policy: Policy, facts: Facts, verdict: Verdict, depth: Depth) -> Verdict:
    """The verdict, with the copy dropped if the remote domain of its target lets no such mail out.

    Only mail of the organisation itself is asked about: what strangers wrote and somebody has forwarded is none of its
    answers. What is meant for an own domain never leaves.
    """
    mine, domain = policy.organisations[verdict.standing.organisation], verdict.target.domain
    if verdict.standing.direction is not Direction.ORIGINATING or not len(mine.remote) or facts.message is None:
        return verdict
    remote = mine.remote.find(domain)
    if remote is None or (depth is Depth.LIVE and _lets_all_out(remote)):
        return verdict
    home = policy.accepted(domain)
    if home is not None and home.organisation == mine.organisation.name:
        return verdict
    null = facts.envelope is None or facts.envelope.sender is None
    written = by_program(facts.message.fields, null_sender=null)
    if written is None:
        return verdict
    whom, subject = verdict.recipient.original.text, f"remote domain {remote.domain_name}"
    setting = _shut(remote, written)
    if not setting:
        because = f"it names {domain} most exactly, and lets such mail out: {written.sort}, by {written.sign}"
        return told(verdict, Step(stage, subject, Hit.NO, because, "", whom)) if depth is Depth.FULL else verdict
    why = f"no {written.sort} may leave to {domain} (remote domain {remote.domain_name}: {setting})"
    because = f"{why}; by {written.sign} it is one"
    return decided(verdict, Drop(why), Step(stage, subject, Hit.YES, because, "dropped", whom))


def _lets_all_out(remote: RemoteDomain) -> bool:
    return (
        remote.auto_reply_enabled
        and remote.auto_forward_enabled
        and remote.ndr_enabled
        and remote.allowed_oof_type != _NO_OOF
    )


def _shut(remote: RemoteDomain, written: ByProgram) -> str:
    """The setting that keeps it in; "" if none does.

    The header of a report that an own server wrote does not say whether it tells of success or of failure, so it is
    kept in only where both are. Our own reports say it, and are stopped one by one (flow/withheld.py).
    """
    match written.sort:
        case Sort.REPLY if not remote.auto_reply_enabled:
            return "auto_reply_enabled = false"
        case Sort.REPLY if remote.allowed_oof_type == _NO_OOF:
            return 'allowed_oof_type = "none"'
        case Sort.FORWARD if not remote.auto_forward_enabled:
            return "auto_forward_enabled = false"
        case Sort.REPORT if not (remote.ndr_enabled or remote.delivery_report_enabled):
            return "ndr_enabled = false, delivery_report_enabled = false"
        case _:
            return ""


def trusts(mine: OrganisationPolicy, facts: Facts) -> RemoteDomain | None:
    """The remote domain of the envelope sender, if its mail shall skip content and recipient filters.

    The right is no proof: a filter that asks this asks besides whether the sender is who it says (decision/proof.py).
    """
    envelope = facts.envelope
    if envelope is None or envelope.sender is None or not len(mine.remote):
        return None
    remote = mine.remote.find(envelope.sender_domain)
    return remote if remote is not None and remote.trusted_mail_inbound_enabled else None
