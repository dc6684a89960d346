"""What a server's certificate is, whether it meets the demand, and what would have to change for it to do so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509

from lockgate.couriers.settings import CourierSettings
from lockgate.couriers.terms import PLAIN
from lockgate.couriers.tls import Assurance
from lockgate.couriers.witness import Attempt
from lockgate.mail.connection import Certificate
from lockgate.mail.hop import NextHop, TlsDemand
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.validation import StepName, ValidationStep, failed, passed, skipped
from lockgate.seams import Clock
from lockgate.wire.certificates import certificate_facts, read_store

_DAY = 86400.0
SOON = 14
"""Days before its end from which on a certificate is said to end soon."""

_CHECKED = (TlsLevel.CERTIFICATE_VALIDATION, TlsLevel.DOMAIN_VALIDATION)


def certificate_steps(
    hop: NextHop, attempt: Attempt, assurance: Assurance, settings: CourierSettings, clock: Clock
) -> list[ValidationStep]:
    """The steps chain, and name or pin. The reasons are asked of delivery's own `Assurance`, one demand at a time."""
    server = str(attempt.target)
    named = StepName.PIN if hop.tls.pins else StepName.NAME
    if not attempt.chain:
        told = "there was no TLS" if not attempt.tls else "the server showed no certificate"
        return [skipped(step, told, server=server) for step in (StepName.CHAIN, named)]
    leaf = certificate_facts(attempt.chain[0])
    details = _details(leaf, attempt.chain, hop.tls, settings, clock)
    # Pins stand in for the chain, so the chain is asked about without them, and the pin without the name.
    bare = _with(hop, TlsLevel.CERTIFICATE_VALIDATION, pins=())
    chain_why = _objection(assurance, bare, attempt)
    pin_why = _objection(assurance, _with(hop, TlsLevel.CERTIFICATE_VALIDATION), attempt) if hop.tls.pins else ""
    name_why = _name_why(assurance, hop, attempt, chain_why, pin_why)
    chain = _chain(hop, attempt, leaf, details, chain_why, server)
    if hop.tls.pins:
        return [chain, _pin(hop, leaf, pin_why, name_why, server)]
    return [chain, _name(hop, attempt, leaf, name_why, server)]


def _with(hop: NextHop, level: TlsLevel, pins: tuple[str, ...] | None = None) -> NextHop:
    demand = msgspec.structs.replace(hop.tls, level=level, pins=hop.tls.pins if pins is None else pins)
    return msgspec.structs.replace(hop, tls=demand, require_tls=False)


def _objection(assurance: Assurance, hop: NextHop, attempt: Attempt) -> str:
    found = assurance.objection(hop, attempt.target.name, PLAIN, attempt.chain)
    # What was seen is told in the steps themselves.
    return found.why.partition(", seen: ")[0] if found is not None else ""


def _name_why(assurance: Assurance, hop: NextHop, attempt: Attempt, chain_why: str, pin_why: str) -> str:
    """What delivery would object to the name, whatever it objects to the rest: the leaf's own key is taken as proof."""
    leaf = certificate_facts(attempt.chain[0])
    sure = _with(hop, TlsLevel.DOMAIN_VALIDATION, pins=(leaf.spki_sha256,))
    why = _objection(assurance, sure, attempt)
    return "" if "expired" in why or "not valid yet" in why else why


def _chain(
    hop: NextHop, attempt: Attempt, leaf: Certificate, details: dict[str, Any], why: str, server: str
) -> ValidationStep:
    who = f"{leaf.subject or 'no subject'}, issued by {leaf.issuer or 'nobody'}, until {_date(leaf.not_after)}"
    soon = f"; it ends in {details['days_left']} days" if 0 <= details["days_left"] < SOON else ""
    if not why:
        return passed(StepName.CHAIN, f"{who}; the chain leads to {details['ca_file']}{soon}", server=server, **details)
    missing = details["missing_issuer"]
    seen = f"{who}; {_reason(why, missing, len(attempt.chain))}"
    fix = _fix(why, missing, leaf.spki_sha256)
    if hop.tls.pins:
        return skipped(StepName.CHAIN, f"{seen}; a pin stands in for the chain", server=server, **details)
    if hop.tls.level not in _CHECKED:
        return skipped(StepName.CHAIN, f"{seen}; not demanded ({hop.tls.level})", server=server, **details)
    return failed(StepName.CHAIN, seen, fix, server=server, **details)


def _reason(why: str, missing: str, count: int) -> str:
    if not missing:
        return why
    sent = "it sent only its own certificate" if count == 1 else f"it sent {count} certificates"
    return f"{sent}, and the issuer {missing} is neither among them nor in the CA file ({why})"


def _fix(why: str, missing: str, pin: str) -> str:
    if "expired" in why:
        return "The other side has to renew its certificate."
    if "not valid yet" in why:
        return "Compare the clocks of both sides; else the other side has to show a certificate that is valid now."
    if "revoked" in why:
        return "The other side has to show another certificate; this one was revoked by its issuer."
    if "made for servers" in why:
        return "The other side has to get a certificate with the purpose serverAuth."
    if "cannot be used" in why or "cannot be read" in why:
        return "Mend the file named; the service's account must be able to read it."
    if missing:
        return (
            f"The other side has to send the intermediate certificate {missing} behind its own (the full chain); if "
            "that is a private CA, put its certificate into a file and name it: ca_file of the connector."
        )
    pinned = f' or pin this key on the connector: pinned_keys = ["{pin}"].' if pin else "."
    return f"Have the other side get a certificate of a public CA, name its CA with ca_file,{pinned}"


def _name(hop: NextHop, attempt: Attempt, leaf: Certificate, why: str, server: str) -> ValidationStep:
    wanted = hop.tls.name or (attempt.target.name if hop.smart_hosts else "")
    names = list(leaf.names[:20])
    details: dict[str, Any] = {"wanted": wanted, "names": names, "spki_sha256": leaf.spki_sha256}
    shown = ", ".join(names[:5]) or "none"
    if hop.tls.level is not TlsLevel.DOMAIN_VALIDATION:
        seen = f"not demanded ({hop.tls.level}); the certificate's names are {shown}"
        return skipped(StepName.NAME, seen, server=server, **details)
    if not why:
        return passed(StepName.NAME, f"the certificate is for {wanted} ({shown})", server=server, **details)
    fix = (
        "Set tls_domain of the connector to a name that the certificate has"
        f"{f' (such as {names[0]})' if names else ''}, if that is the server you mean; else the other side has to get "
        f"a certificate for {wanted or 'its name'}."
    )
    return failed(StepName.NAME, f"{why}; its names are {shown}", fix, server=server, **details)


def _pin(hop: NextHop, leaf: Certificate, why: str, name_why: str, server: str) -> ValidationStep:
    pin, names = leaf.spki_sha256, list(leaf.names[:20])
    details: dict[str, Any] = {"spki_sha256": pin, "pinned": list(hop.tls.pins), "names": names}
    step = StepName.PIN
    if why:
        fix = (
            "The other side has to renew its certificate." if "expired" in why
            else "Compare the clocks of both sides." if "not valid yet" in why
            else "If the other side confirms (by telephone) that this is its new key, add it beside the old one: "
            f'pinned_keys += "{leaf.spki_sha256}".'
        )  # fmt: skip
        return failed(step, f"{why}; it is {leaf.spki_sha256}", fix, server=server, **details)
    if hop.tls.level is TlsLevel.DOMAIN_VALIDATION and name_why:
        return failed(step, name_why, "Set tls_domain of the connector to a name that the certificate has.",
                      server=server, **details)  # fmt: skip
    return passed(step, f"the key {leaf.spki_sha256} is pinned", server=server, **details)


def _details(
    leaf: Certificate, chain: Sequence[bytes], demand: TlsDemand, settings: CourierSettings, clock: Clock
) -> dict[str, Any]:
    ca_file = demand.ca_file or settings.ca_bundle
    return {
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "names": list(leaf.names[:20]),
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "days_left": int((leaf.not_after - clock.now()) // _DAY),
        "self_signed": leaf.self_signed,
        "spki_sha256": leaf.spki_sha256,
        "certificates": [certificate_facts(der).subject for der in chain[:10]],
        "ca_file": ca_file,
        "missing_issuer": missing_issuer(chain, ca_file),
    }


def missing_issuer(chain: Sequence[bytes], ca_file: str) -> str:
    """Whose certificate would have to follow the last one that was sent; "" if none is missing.

    The path is followed from the leaf by names. It breaks off at an issuer that neither was sent nor is in the CA file:
    an intermediate that the server forgets (the commonest fault of all), or a CA that is not trusted here.
    """
    try:
        sent = [x509.load_der_x509_certificate(der) for der in chain]
        known = read_store(Path(ca_file).read_bytes()).subjects if ca_file else frozenset()
        at = sent[0]
        for _ in sent:
            issuer = at.issuer.public_bytes()
            if issuer in known or at.subject == at.issuer:
                return ""
            follower = next((one for one in sent if one.subject == at.issuer), None)
            if follower is None:
                return "".join(c if c.isprintable() else "?" for c in at.issuer.rfc4514_string())[:200]
            at = follower
    except Exception:
        # A stranger's certificates, and a file that may not be there: then nothing is said of what is missing.
        return ""
    return ""


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d") if 0 < at < 2e11 else "?"
