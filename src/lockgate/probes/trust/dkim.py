"""Which signatures of a message verify? Finds the keys, verifies, and gives each signature its result (RFC 6376 6)."""

from __future__ import annotations

import asyncio

from lockgate.mail.authentication import Dkim, DkimVerdict
from lockgate.mail.dkim.canonical import Bodies, Field, Forms
from lockgate.mail.dkim.key import BadKey, PublicKey, read_key
from lockgate.mail.dkim.signature import FIELD, BadSignature, Signature, read_signature, why_not
from lockgate.mail.headers import Headers
from lockgate.seams import DnsNone, DnsTemporary, Resolver

MOST_SIGNATURES = 10
"""Signatures that are verified; what comes after them is noted, and costs nothing."""

CLOCK_SKEW = 300.0
"""Seconds by which clocks may differ."""


async def check_signatures(resolver: Resolver, headers: Headers, bodies: Bodies, now: float) -> tuple[Dkim, ...]:
    """One result for each DKIM-Signature field, in order. Never raises for what message or DNS say."""
    fields = headers.fields
    names = [name.lower() for name, _ in fields]
    if FIELD not in names:
        return ()
    signatures = [field for name, field in zip(names, fields, strict=True) if name == FIELD]
    authors = names.count(b"from")
    if headers.malformed or headers.oversize:
        # Parsers disagree about such a header: what one of them verifies is not what another one shows.
        return (_unread("the header is malformed, so nothing in it is proven"),)
    if len(signatures) == 1:  # as with nearly all mail; a task would cost as much as reading the signature
        return (await _check(resolver, signatures[0], headers, bodies, now, authors),)
    prepare(headers, bodies)
    forms: Forms = {}
    results = await asyncio.gather(
        *(_check(resolver, field, headers, bodies, now, authors, forms) for field in signatures[:MOST_SIGNATURES])
    )
    rest = len(signatures) - len(results)
    return (*results, *[_unread("there are too many signatures")] * min(rest, 1))


def prepare(headers: Headers, bodies: Bodies) -> None:
    """Hash what the signatures sign of the body, all of one form in one pass: with l= each may want another part."""
    wanted: dict[bool, set[int]] = {}
    fields = [field for field in headers.fields if field[0].lower() == FIELD]
    for field in fields[:MOST_SIGNATURES]:
        try:
            signature = read_signature(field)
        except BadSignature:
            continue
        lengths = wanted.setdefault(signature.relaxed_body, set())
        if signature.length is not None:
            lengths.add(signature.length)
    for relaxed, lengths in wanted.items():
        bodies.prepare(relaxed=relaxed, lengths=lengths)


def _unread(why: str) -> Dkim:
    return Dkim(DkimVerdict.PERMERROR, "", "", problem=why)


async def _check(
    resolver: Resolver,
    field: Field,
    headers: Headers,
    bodies: Bodies,
    now: float,
    authors: int,
    forms: Forms | None = None,
) -> Dkim:
    try:
        signature = read_signature(field)
    except BadSignature as bad:
        verdict = DkimVerdict.POLICY if bad.weak else DkimVerdict.PERMERROR
        return Dkim(verdict, bad.domain, bad.selector, problem=str(bad))
    if signature.expires is not None and signature.expires < now - CLOCK_SKEW:
        return _result(signature, DkimVerdict.FAIL, "it has expired")
    if authors != 1:
        return _result(signature, DkimVerdict.PERMERROR, "the message has not one From field")
    try:
        key = await _key(resolver, signature)
    except DnsTemporary as trouble:
        return _result(signature, DkimVerdict.TEMPERROR, str(trouble)[:200])
    except BadKey as bad:
        return _result(signature, DkimVerdict.POLICY if bad.weak else DkimVerdict.PERMERROR, str(bad))
    why = why_not(signature, headers.fields, bodies, key, forms)
    return _result(signature, DkimVerdict.FAIL if why else DkimVerdict.PASS, why, key)


async def _key(resolver: Resolver, signature: Signature) -> PublicKey:
    """The key of a signature. Raises BadKey, DnsTemporary."""
    try:
        records = await resolver.txt(signature.key_name)
    except DnsNone:
        records = ()
    if not records:
        raise BadKey("the domain publishes no key under this selector")
    # RFC 6376 3.6.2.2: with several records, any may be taken; the first one that is a key is.
    trouble = BadKey("there is no key")
    for record in records[:3]:
        try:
            return read_key(record)
        except BadKey as bad:
            trouble = bad
    raise trouble


def _result(signature: Signature, verdict: DkimVerdict, why: str, key: PublicKey | None = None) -> Dkim:
    return Dkim(
        verdict,
        signature.domain,
        signature.selector,
        signature.identity,
        signature.algorithm,
        key.bits if key is not None else 0,
        why,
        signature.length is not None,
        key is not None and key.testing,
        signature.names.count(b"from"),
    )
