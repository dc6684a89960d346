"""The state of an ARC chain: every seal, and the last message signature, tried with the keys in DNS (RFC 8617 5.2)."""

from __future__ import annotations

import msgspec

from lockgate.mail.arc import ArcSet, BrokenChain, read_chain, seal_holds, sealed_digests
from lockgate.mail.authentication import Arc, ArcVerdict
from lockgate.mail.dkim.canonical import Bodies, Forms
from lockgate.mail.dkim.key import BadKey, PublicKey, read_key
from lockgate.mail.dkim.signature import why_not
from lockgate.mail.headers import Headers
from lockgate.seams import DnsNone, DnsTemporary, Resolver


async def check_chain(resolver: Resolver, headers: Headers, bodies: Bodies) -> Arc:
    """What became of the chain. Never raises for what message or DNS say."""
    try:
        sets = read_chain(headers.fields)
    except BrokenChain as broken:
        return Arc(ArcVerdict.FAIL, problem=str(broken)[:200])
    if not sets:
        return Arc(ArcVerdict.NONE)
    last = sets[-1]
    signer = last.signature.domain if last.signature is not None else ""
    known = Arc(ArcVerdict.FAIL, len(sets), last.seal.domain, signer)
    if headers.malformed or headers.oversize:
        return msgspec.structs.replace(known, problem="the header is malformed, so nothing in it is proven")
    forms: Forms = {}
    try:
        why = await _why_not(resolver, sets, headers, bodies, forms)
        oldest = await _oldest(resolver, sets, headers, bodies, forms) if not why else 0
    except DnsTemporary as trouble:
        return msgspec.structs.replace(known, verdict=ArcVerdict.TEMPERROR, problem=str(trouble)[:200])
    if why:
        return msgspec.structs.replace(known, problem=why)
    sealers = tuple([one.seal.domain for one in sets])
    results = last.results[1].decode("utf-8", "replace")[:4000]
    results = " ".join(results.split())
    return msgspec.structs.replace(known, verdict=ArcVerdict.PASS, oldest=oldest, sealers=sealers, results=results)


async def _why_not(
    resolver: Resolver, sets: tuple[ArcSet, ...], headers: Headers, bodies: Bodies, forms: Forms
) -> str:
    last = sets[-1].signature
    if last is None:
        return "the last message signature cannot be read"
    digests = sealed_digests(sets, forms)
    key = await _key(resolver, last.key_name)
    if isinstance(key, str):
        return f"the last message signature: {key}"
    if why := why_not(last, headers.fields, bodies, key, forms):
        return f"the last message signature: {why}"
    for number in range(len(sets), 0, -1):
        key = await _key(resolver, sets[number - 1].seal.key_name)
        if isinstance(key, str):
            return f"the seal of instance {number}: {key}"
        if not seal_holds(sets[number - 1].seal, digests[number - 1], key):
            return f"the seal of instance {number} does not hold"
    return ""


async def _oldest(
    resolver: Resolver, sets: tuple[ArcSet, ...], headers: Headers, bodies: Bodies, forms: Forms
) -> int:
    """The oldest instance since which the message was not changed (RFC 8617 5.2 step 6); 0: since the first."""
    for number in range(len(sets) - 1, 0, -1):
        signature = sets[number - 1].signature
        if signature is None:
            return number + 1
        key = await _key(resolver, signature.key_name)
        if isinstance(key, str) or why_not(signature, headers.fields, bodies, key, forms):
            return number + 1
    return 0


async def _key(resolver: Resolver, name: str) -> PublicKey | str:
    """The key, or why there is none. Raises DnsTemporary."""
    try:
        records = await resolver.txt(name)
    except DnsNone:
        records = ()
    if not records:
        return "the domain publishes no key under this selector"
    try:
        return read_key(records[0])
    except BadKey as bad:
        return str(bad)
