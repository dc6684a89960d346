"""What DNS (DANE) and the domain (MTA-STS) demand of a server, and whether it meets that."""

from __future__ import annotations

from typing import Any

import msgspec

from lockgate.couriers.dane import DaneState
from lockgate.couriers.hosts import Target
from lockgate.couriers.objection import Objection
from lockgate.couriers.terms import PLAIN, Terms
from lockgate.couriers.tls import Assurance
from lockgate.couriers.witness import Witness
from lockgate.mail.hop import DaneMode, NextHop
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.validation import StepName, ValidationStep, failed, passed, skipped

_RECORDS = (
    "The other side has to publish TLSA records for the certificate that its server shows, in a signed zone; until "
    "then its mail waits."
)
_SIGNED = (
    "See that our resolver validates (lockgate doctor) and that the other side's zone is signed as it should be; "
    'smtp_dane_mode of the connector says how much DANE counts.'
)
_POLICY = "The other side has to put its MTA-STS policy, its MX or its certificate right; until then its mail waits."


def dane_step(hop: NextHop, witness: Witness, assurance: Assurance, target: Target) -> ValidationStep:
    """TLSA records (RFC 7672): what they are, and whether the certificate fits."""
    step, server, terms = StepName.DANE, str(target), witness.terms
    dane = terms.dane
    records = list(terms.published) if terms.sts is None else []
    details: dict[str, Any] = {"state": dane.state.value, "records": records, "why": dane.why}
    if hop.dane is DaneMode.NONE:
        return skipped(step, "TLSA records are not looked at here (smart hosts, or smtp_dane_mode)", server=server)
    if terms.refused is not None and terms.sts is None:
        fix = _SIGNED if dane.state is DaneState.BROKEN or not dane.signed else _RECORDS
        return failed(step, terms.refused.text, fix, server=server, **details)
    if dane.state is DaneState.ABSENT:
        return skipped(step, f"no TLSA records count: {dane.why or 'there are none'}", server=server, **details)
    if dane.state is DaneState.UNUSABLE:
        return passed(step, f"encryption is demanded, and no more: {dane.why}", server=server, **details)
    if dane.state is not DaneState.USABLE:
        return skipped(step, dane.why or "not asked", server=server, **details)
    if not _chain(witness):
        return skipped(step, "there are TLSA records, and no certificate was seen", server=server, **details)
    only = msgspec.structs.replace(PLAIN, kind=terms.kind, dane=dane)
    objection = _objects(assurance, hop, target, only, witness)
    if objection is not None:
        return failed(step, objection.why, _RECORDS, server=server, **details)
    seen = f"the certificate fits the TLSA records of {dane.base or target.name}"
    return passed(step, seen, server=server, **details)


def sts_step(hop: NextHop, witness: Witness, assurance: Assurance, target: Target) -> ValidationStep:
    """The policy of the recipients' domain (RFC 8461), and whether the server meets it."""
    step, server, terms = StepName.MTA_STS, str(target), witness.terms
    policy = terms.sts
    if not hop.sts:
        return skipped(step, "MTA-STS policies are not looked at here (smart hosts, or mta_sts_mode)", server=server)
    if policy is None:
        return skipped(step, f"no policy of {hop.mx_domain} counts for this server", server=server)
    details: dict[str, Any] = {"domain": policy.domain, "mode": policy.mode.value, "mx": list(policy.mx)}
    if terms.refused is not None:
        return failed(step, terms.refused.text, _POLICY, server=server, **details)
    chain = _chain(witness)
    if not chain:
        return skipped(step, f"a policy ({policy.mode}), and no certificate was seen", server=server, **details)
    why = assurance.misses_test(_bare(hop), target.name, chain)
    named = "" if not terms.uncovered else f"the policy does not name {target.name}"
    trouble = named or (why.why if why is not None else "")
    if not trouble:
        return passed(step, f"it meets the policy of {policy.domain} ({policy.mode})", server=server, **details)
    if terms.enforced:
        return failed(step, trouble, _POLICY, server=server, **details)
    seen = f"{trouble}; the policy is only in testing, so mail goes all the same"
    return skipped(step, seen, fix=_POLICY.partition(";")[0] + ".", server=server, **details)


def _chain(witness: Witness) -> tuple[bytes, ...]:
    return witness.attempts[-1].chain if witness.attempts else ()


def _bare(hop: NextHop) -> NextHop:
    """Without what the connector itself demands."""
    demand = msgspec.structs.replace(hop.tls, level=TlsLevel.OPPORTUNISTIC, pins=())
    return msgspec.structs.replace(hop, tls=demand, require_tls=False)


def _objects(
    assurance: Assurance, hop: NextHop, target: Target, terms: Terms, witness: Witness
) -> Objection | None:
    return assurance.objection(_bare(hop), target.name, terms, _chain(witness))
