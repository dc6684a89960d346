"""A ruling told as sentences: what becomes of each recipient, the step that decided, and what was known.

Pure: rows are plain data (JSON-ready), so that log, terminal, API and pages tell the same story.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lockgate.mail.authentication import Authenticated
from lockgate.mail.connection import Tls
from lockgate.mail.facts import Facts
from lockgate.mail.findings import (
    CallForward,
    InList,
    Known,
    ListInText,
    Members,
    MembersOf,
    OnList,
    Unknown,
    WhoIs,
    WhoSent,
)
from lockgate.mail.ruling import (
    Defer,
    Deliver,
    Disposition,
    Drop,
    Hit,
    Hold,
    Refuse,
    Resolved,
    Route,
    Step,
    Verdict,
    Via,
)

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

SIGNS = MappingProxyType({Hit.YES: "+", Hit.NO: "-", Hit.UNKNOWN: "?"})
"""How a step reads at a glance: it hit, it did not, nobody knows."""


def step_rows(steps: Iterable[Step], recipient: str = "") -> list[dict[str, str]]:
    """Steps as rows: stage, sign, subject, because, effect and recipient."""
    return [
        {
            "stage": step.stage,
            "sign": SIGNS[step.hit],
            "subject": step.subject,
            "because": step.because,
            "effect": step.effect,
            "recipient": step.recipient or recipient,
        }
        for step in steps
    ]


def decided_by(steps: Iterable[Step]) -> str:
    """The step that decided, as the rest of "because ..."; "" if there is none. The last step of a stage decides."""
    last = ""
    for step in steps:
        if step.effect or not last:
            last = f"{step.subject}: {step.because}"
    return last


def fate(disposition: Disposition | None, policy: Policy | None = None) -> dict[str, Any]:
    """What becomes of a copy: `what` in one word, `sentence`, and the route's parts where it leaves.

    `what` is delivered, waits, held, refused, put off, dropped, expanded, resolved or undecided. With the policy the
    next hop is named.
    """
    match disposition:
        case Deliver(route, target, rewrite):
            told = _leaving(route, target.text, policy)
            return told | {"sender_rewritten_under": rewrite} if rewrite else told
        case Hold(why):
            return {"what": "held", "sentence": f"held: {why}"}
        case Drop(why):
            return {"what": "dropped", "sentence": f"dropped: {why}"}
        case Resolved(why, expanded):
            word = "expanded" if expanded else "resolved"
            return {"what": word, "sentence": f"{word}: {why}"}
        case Refuse(reply):
            return {"what": "refused", "sentence": f"refused: {reply}", "reply": str(reply)}
        case Defer(reply):
            return {"what": "put off", "sentence": f"put off: {reply}", "reply": str(reply)}
        case None:
            return {"what": "undecided", "sentence": "nothing is decided"}


def _leaving(route: Route, target: str, policy: Policy | None) -> dict[str, Any]:
    hops = _next_hops(route, policy)
    if route.via is Via.MX:
        way = f"the MX of {route.domain}"
    else:
        way = f"connector {route.connector}" + (f" ({hops})" if hops else "")
    verb, what = ("waits for", "waits") if route.waits else ("leaves by", "delivered")
    sentence = f"{verb} {way}, TLS {route.demanded}, to {target}"
    if route.via is Via.MAILBOX:
        store = f"in the store {route.store}" if route.store else "here"
        sentence = f"{'waits for' if route.waits else 'goes into'} the mailbox {target} {store}"
    return {
        "what": what,
        "sentence": f"{sentence}; {route.waits}" if route.waits else sentence,
        "target": target,
        "route": {
            "via": str(route.via),
            "connector": route.connector,
            "next_hop": hops,
            "domain": route.domain,
            "tls_demanded": route.demanded,
            "lane": route.lane,
            "waits": route.waits,
        },
    }


def _next_hops(route: Route, policy: Policy | None) -> str:
    if route.domain:
        return f"the MX of {route.domain}"
    mine = policy.organisations.get(route.organisation) if policy is not None else None
    connector = mine.outbound.named.get(route.connector) if mine is not None else None
    return ", ".join(connector.smart_hosts) if connector is not None else ""


def verdict_row(verdict: Verdict, policy: Policy | None = None) -> dict[str, Any]:
    """One recipient: who, whose, what becomes of it and why, and every step."""
    standing = verdict.standing
    address, parent = verdict.recipient.original.text, verdict.recipient.derived_from
    told = fate(verdict.disposition, policy)
    return {
        "recipient": address,
        "derived_from": parent.original.text if parent is not None else "",
        "derivation": verdict.recipient.derivation,
        "organisation": standing.organisation,
        "direction": str(standing.direction),
        "inbound_connector": standing.inbound_connector,
        "partner_connector": standing.partner_connector,
        **told,
        "because": decided_by(verdict.steps),
        "steps": step_rows(verdict.steps, address),
    }


def known(facts: Facts) -> dict[str, Any]:
    """What was known, as names and values; what was not there is left out."""
    connection, envelope, message = facts.connection, facts.envelope, facts.message
    told: dict[str, Any] = {
        "at": facts.at,
        "peer": connection.peer,
        "helo": connection.helo,
        "listener": "" if connection.own_report else connection.listener,
        "proxied_by": connection.proxied_by,
        "login": connection.login,
        "tls_in": f"{connection.tls.version} {connection.tls.cipher}".strip() if connection.tls else "",
        "certificate_in": certificate(connection.tls),
        "certificate_seen": certificate_seen(connection.tls),
    }
    if envelope is not None:
        told["sender"] = envelope.sender_text or "<>"
        told["require_tls"] = envelope.require_tls
        told["declared_size"] = envelope.size
        told["recipients"] = [recipient.original.text for recipient in facts.recipients]
        told["recipients_before"] = facts.before
    if message is not None:
        told["size"] = message.size
        told["subject"] = message.subject
        told["message_id"] = message.message_id
    told["directory"] = directory(facts)
    told["lists"] = lists(facts)
    told["authentication"] = authentication(facts)
    return {name: value for name, value in told.items() if value not in ("", False, 0, [], {}, None)}


def certificate(tls: Tls | None) -> str:
    """The certificate the peer presented, and what was made of it; "" if there was none."""
    if tls is None or tls.certificate is None:
        return ""
    shown = tls.certificate
    names = ", ".join(shown.names[:5]) or shown.common_name or shown.subject or "no name"
    if tls.trusted_by:
        aside = f"; not under the public CAs: {tls.trouble}" if tls.trouble else ""
        return f"for {names}, verifies under {', '.join(tls.trusted_by)}{aside}"
    return f"for {names}, does not verify: {tls.trouble or 'its issuer is not trusted'}"


def certificate_seen(tls: Tls | None) -> dict[str, Any]:
    """What the presented certificate says of itself; {} if there was none. Times are seconds since the epoch."""
    if tls is None or tls.certificate is None:
        return {}
    shown = tls.certificate
    told: dict[str, Any] = {
        "subject": shown.subject,
        "names": list(shown.names),
        "issuer": shown.issuer,
        "self_signed": shown.self_signed,
        "serial": shown.serial,
        "not_before": shown.not_before,
        "not_after": shown.not_after,
        "spki_sha256": shown.spki_sha256,
        "purposes": list(shown.purposes),
        "trusted_by": list(tls.trusted_by),
        "trouble": tls.trouble,
    }
    return {name: value for name, value in told.items() if value not in ("", False, 0, [])}


def directory(facts: Facts) -> dict[str, str]:
    """What the directory answered, by address."""
    told: dict[str, str] = {}
    for question, answer in facts.findings.items():
        if not isinstance(question, WhoIs | CallForward | MembersOf):
            continue
        match answer:
            case Members(known, others, revision):
                count = len(known) + len(others)
                told[f"members of {question.address}"] = f"{count} (revision {revision})"
            case Unknown(why) if isinstance(question, MembersOf):
                told[f"members of {question.address}"] = f"unknown: {why}"
            case Known(None, revision):
                told[question.address] = f"nobody (revision {revision})"
            case Known(who, revision) if who is not None:
                external = f" -> {who.external}" if who.external is not None else ""
                onward = f", forwards to {who.forwarding.to}" if who.forwarding is not None else ""
                told[question.address] = f"{who.kind} {who.primary}{external}{onward} (revision {revision})"
            case Unknown(why):
                told[question.address] = f"unknown: {why}"
            case _:
                pass
    return told


def lists(facts: Facts) -> dict[str, str]:
    """What named lists answered, by list and what was looked for."""
    told: dict[str, str] = {}
    for question, answer in facts.findings.items():
        if isinstance(question, InList | ListInText):
            whom = question.value if isinstance(question, InList) else "the text"
            match answer:
                case OnList(entry, revision):
                    told[f"{question.list}: {whom}"] = f"{entry or 'not on it'} (revision {revision})"
                case Unknown(why):
                    told[f"{question.list}: {whom}"] = f"unknown: {why}"
                case _:
                    pass
    return told


def authentication(facts: Facts) -> dict[str, str]:
    """What was found out about the sender, by the name of the check; the same for every organisation that asked.

    Where the true source behind a gateway was looked for, it is what was found for that, with its address.
    """
    asked = [(question, answer) for question, answer in facts.findings.items() if isinstance(question, WhoSent)]
    for question, answer in sorted(asked, key=lambda pair: not pair[0].source):
        match answer:
            case Authenticated(spf, dkim, dmarc, arc):
                signed = ", ".join(f"{one.verdict} ({one.domain or one.problem})" for one in dkim)
                source = {"source": question.source} if question.source else {}
                return source | {
                    "spf": f"{spf.verdict} ({spf.domain})",
                    "dkim": signed or "none",
                    "dmarc": f"{dmarc.verdict} ({dmarc.domain or dmarc.problem})",
                    "arc": str(arc.verdict),
                }
            case Unknown(why):
                return {"sender": f"unknown: {why}"}
            case _:
                pass
    return {}


def revisions(facts: Facts) -> list[int]:
    """The revisions of the directory that answered, ascending."""
    found = {answer.revision for _, answer in facts.findings.items() if isinstance(answer, Known | Members)}
    return sorted(found)


def decisions(verdicts: Iterable[Verdict]) -> Mapping[str, str]:
    """By recipient what was decided, as one sentence that says all of it."""
    return {
        verdict.recipient.text: fate(verdict.disposition)["sentence"] if verdict.disposition else _GOES_ON
        for verdict in verdicts
    }


_GOES_ON = "goes on (the message itself is not on record)"
