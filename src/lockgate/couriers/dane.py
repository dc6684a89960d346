"""What DNS proves of a server's certificate: DANE for SMTP (RFC 7672, RFC 7671).

Only proven answers count. What DNS says without proof is as if it were not there; what cannot be found out, or is
proven wrong, keeps mail from this server: else whoever suppresses an answer could have the mail in clear.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
from collections.abc import Iterable, Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from lockgate.couriers.objection import Objection, seen
from lockgate.mail.certificate_names import name_covered
from lockgate.mail.connection import Certificate
from lockgate.seams import DnsAnswer, DnsState, Resolver

_TRUST_ANCHOR, _END_ENTITY = 2, 3
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
_LENGTHS = {1: 32, 2: 64}
_BROKEN = (DnsState.BOGUS, DnsState.TEMPORARY)
_MOST = 100
"""TLSA records of one server that are looked at."""


class Tlsa(msgspec.Struct, frozen=True):
    """One usable TLSA record (RFC 6698 2.1): usage 2 or 3, selector 0 or 1, matching type 0, 1 or 2."""

    usage: int
    selector: int
    matching: int
    data: bytes


class DaneState(enum.Enum):
    """What DNS has for one server: nothing, records to prove it by, only records of no use for SMTP, or no answer."""

    ABSENT = "absent"
    USABLE = "usable"
    UNUSABLE = "unusable"
    BROKEN = "broken"


class Dane(msgspec.Struct, frozen=True):
    """What was found for one server.

    `base` is the name the records stand at, said in SNI; `names` are those that a certificate below a trust anchor may
    bear (RFC 7672 3.2.2). `signed` tells that DNSSEC covers the way to the server, `why` is the rest of a sentence.
    """

    state: DaneState
    records: tuple[Tlsa, ...] = ()
    base: str = ""
    names: tuple[str, ...] = ()
    signed: bool = False
    why: str = ""


NOTHING = Dane(DaneState.ABSENT, why="nobody asked for it")


def usable(records: Iterable[str]) -> tuple[Tlsa, ...]:
    """The records (presentation form) that SMTP can use: PKIX-TA and PKIX-EE are not among them (RFC 7672 3.1.3).

    Of several digests of the same kind only the strongest counts (RFC 7671 9).
    """
    found: list[Tlsa] = []
    for text in records:
        with contextlib.suppress(ValueError):
            usage, selector, matching, *rest = text.split()
            one = Tlsa(int(usage), int(selector), int(matching), bytes.fromhex("".join(rest)))
            fits = len(one.data) == _LENGTHS[one.matching] if one.matching in _LENGTHS else one.matching == 0
            if one.usage in (_TRUST_ANCHOR, _END_ENTITY) and one.selector in (0, 1) and fits and one.data:
                found.append(one)
    best = {kind: max(one.matching for one in found if (one.usage, one.selector) == kind)
            for kind in {(one.usage, one.selector) for one in found}}  # fmt: skip
    return tuple([one for one in found if one.matching in (0, best[one.usage, one.selector])])[:_MOST]


# --- looking up ------------------------------------------------------------------------------------------------------


async def discover(resolver: Resolver, host: str, port: int, *, domain: str = "", family: str = "any") -> Dane:
    """What DNS proves of this server; `domain` is the one whose MX named it, "" for a smart host. Never raises.

    RFC 7672 2.2: records count only behind a proven MX and proven addresses. Whatever has been looked up to dial is
    not asked of DNS again.
    """
    names: list[str] = []
    if domain:
        exchangers = await resolver.look_up(domain, "MX")
        if exchangers.state in _BROKEN:
            return _broken(f"the mail exchangers of {domain}", exchangers)
        if exchangers.state is not DnsState.SECURE:
            return Dane(DaneState.ABSENT, why=f"DNSSEC does not cover the mail exchangers of {domain}")
        names = [domain, exchangers.canonical or domain]
    bases = await _bases(resolver, host, family)
    if isinstance(bases, Dane):
        return bases
    for base in bases:
        asked = f"_{port}._tcp.{base}"
        answer = await resolver.look_up(asked, "TLSA")
        if answer.state in _BROKEN:
            return _broken(f"the TLSA records at {asked}", answer)
        if answer.state is DnsState.SECURE and answer.records:
            texts = [str(record) for record in answer.records]
            records = usable(texts)
            named = tuple(dict.fromkeys([base, *(names or [host])]))
            state = DaneState.USABLE if records else DaneState.UNUSABLE
            why = "" if records else f"no TLSA record at {asked} is of a kind that SMTP uses"
            return Dane(state, records, base, named, signed=True, why=why)
    return Dane(DaneState.ABSENT, signed=True, why=f"there is no TLSA record at _{port}._tcp.{bases[0]}")


async def _bases(resolver: Resolver, host: str, family: str) -> tuple[str, ...] | Dane:
    """The names to look for records at, best first (RFC 7672 2.2.2, 2.2.3), or why there are none."""
    kinds = {"ipv4": ("A",), "ipv6": ("AAAA",)}.get(family, ("AAAA", "A"))
    answers = await asyncio.gather(*[resolver.look_up(host, kind) for kind in kinds])
    proven = next((one for one in answers if one.state is DnsState.SECURE and one.records), None)
    if proven is not None:
        last = proven.canonical or host
        return (last, host) if last != host else (host,)
    alias = next((one for one in answers if one.canonical not in ("", host) and one.records), None)
    if alias is not None:
        # The alias itself may be proven although what it leads to is not.
        own = await resolver.look_up(host, "CNAME")
        if own.state in _BROKEN:
            return _broken(f"the alias {host}", own)
        if own.state is DnsState.SECURE and own.records:
            return (host,)
    return Dane(DaneState.ABSENT, why=f"DNSSEC does not cover the addresses of {host}")


def _broken(what: str, answer: DnsAnswer) -> Dane:
    return Dane(DaneState.BROKEN, why=f"{what} cannot be looked up ({answer.why or answer.state})")


# --- proving ---------------------------------------------------------------------------------------------------------


def disproves(dane: Dane, leaf: Certificate, chain: Sequence[bytes]) -> Objection | None:
    """Why what the server showed (DER, leaf first) is not what DNS says; None if it is.

    A record of the server's own key says nothing of names and times (RFC 7672 3.1.1); one of a trust anchor needs a
    chain to it, in time, and a name (3.1.2, 3.2.3).
    """
    if any(one.usage == _END_ENTITY and _matches(one, chain[0]) for one in dane.records):
        return None
    anchors = [one for one in dane.records if one.usage == _TRUST_ANCHOR]
    trusted = [der for der in chain if any(_matches(one, der) for one in anchors)]
    trusted += [one.data for one in anchors if (one.selector, one.matching) == (0, 0) and one.data not in chain]
    if not trusted:
        return Objection(f"no TLSA record fits the certificate, {seen(leaf)}", "4.7.323", "validation-failure")
    if why := _leads_not_to(trusted, chain):
        expired = "expired" in why
        code, word = ("4.7.322", "certificate-expired") if expired else ("4.7.323", "validation-failure")
        return Objection(f"the chain does not hold up to the key in the TLSA record: {why}, {seen(leaf)}", code, word)
    shown = leaf.names or ((leaf.common_name.lower(),) if leaf.common_name else ())
    if any(name_covered(name, shown) is not None for name in dane.names):
        return None
    wanted = " or ".join(dane.names)
    return Objection(f"the certificate is not for {wanted}, {seen(leaf)}", "4.7.325", "certificate-host-mismatch")


def _matches(record: Tlsa, der: bytes) -> bool:
    selected = der
    if record.selector == 1:
        try:
            key = x509.load_der_x509_certificate(der).public_key()
            selected = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except Exception:  # a stranger's certificate: cryptography raises what its parser raises
            return False
    digest = _DIGESTS.get(record.matching)
    return record.data == (digest(selected).digest() if digest is not None else selected)


def _leads_not_to(anchors: Sequence[bytes], chain: Sequence[bytes]) -> str:
    """Why the chain does not lead to one of these certificates now; "" if it does. An anchor needs no issuer."""
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    try:
        for der in anchors:
            store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
        leaf, *others = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain]
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as trouble:
        return str(trouble)
    except crypto.Error:
        return "a certificate cannot be read"
    return ""
