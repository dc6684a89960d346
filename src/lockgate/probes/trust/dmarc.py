"""Is the author that a reader sees the one who was proven? Finds the records and compares (RFC 9989)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from publicsuffixlist import PublicSuffixList

from lockgate.mail.authentication import Dkim, DkimVerdict, Dmarc, DmarcVerdict, Spf, SpfVerdict
from lockgate.mail.dmarc import (
    DmarcRecord,
    organisational_domain,
    policy_domain,
    published,
    read_record,
    walk,
    wish_of,
)
from lockgate.mail.headers import Headers, unfold
from lockgate.mail.mailboxes import Mailboxes, read_mailboxes
from lockgate.seams import DnsNone, DnsTemporary, Resolver

Records = dict[str, DmarcRecord]


@functools.cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


class DmarcCheck:
    """The list of public suffixes is read once, for the first guess about a domain without a record."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    @property
    def _suffixes(self) -> PublicSuffixList:
        return _public_suffixes()

    async def records(self, domain: str) -> Records:
        """The records from this domain upwards, by the domain that each was found at. Raises DnsTemporary."""
        return await self._records(domain)

    async def check(self, headers: Headers, spf: Spf | None, dkim: Sequence[Dkim]) -> Dmarc:
        """What DMARC says. Never raises for what message or DNS say."""
        domain, why = author_domain(headers)
        if not domain:
            return Dmarc(DmarcVerdict.PERMERROR, "", problem=why)
        try:
            return await self._judged(domain, spf, dkim)
        except DnsTemporary as trouble:
            return Dmarc(DmarcVerdict.TEMPERROR, domain, problem=str(trouble)[:200])

    async def _judged(self, domain: str, spf: Spf | None, dkim: Sequence[Dkim]) -> Dmarc:
        records = await self._records(domain)
        place = policy_domain(domain, records)
        if not place:
            return self._guessed(domain, spf, dkim)
        record = records[place]
        organisation = organisational_domain(domain, records)
        aligned = await self._aligned(domain, organisation, record, spf, dkim)
        own = place == domain
        exists = own or record.absent is None or await self._exists(domain)
        wish = wish_of(record, own=own, exists=exists)
        verdict = DmarcVerdict.PASS if aligned else DmarcVerdict.FAIL
        problem = ""
        if not aligned and (waits := _temporary(spf, dkim, domain, organisation, record)):
            # RFC 9989 5.3: what could not be found out may have been the proof. Only what could be aligned is: else a
            # forger with a silent name server of his own would never be told no.
            verdict, problem = DmarcVerdict.TEMPERROR, waits
        return Dmarc(
            verdict, domain, organisation, place, wish.value, record.testing, aligned, record.aggregate, problem,
            published(record) if record.aggregate else "",
        )  # fmt: skip

    def _guessed(self, domain: str, spf: Spf | None, dkim: Sequence[Dkim]) -> Dmarc:
        """No record: nothing is wanted, but it is worth knowing whether the author was proven all the same."""
        mine = self._suffixes.privatesuffix(domain) or domain
        proven = [name for name, proof in _proofs(spf, dkim) if (self._suffixes.privatesuffix(proof) or proof) == mine]
        verdict = DmarcVerdict.BEST_GUESS_PASS if proven else DmarcVerdict.NONE
        return Dmarc(verdict, domain, mine, aligned_by=tuple(proven))

    async def _aligned(
        self, domain: str, organisation: str, record: DmarcRecord, spf: Spf | None, dkim: Sequence[Dkim]
    ) -> tuple[str, ...]:
        found: list[str] = []
        for name, proof in _proofs(spf, dkim):
            strict = record.strict_spf if name == "spf" else record.strict_dkim
            if proof == domain or (not strict and await self._organisation(proof, organisation) == organisation):
                found.append(name)
        return tuple(dict.fromkeys(found))

    async def _organisation(self, proof: str, organisation: str) -> str:
        """The organisational domain of a proven one; not asked for where it cannot be this one."""
        if not _below(proof, organisation):
            return ""
        return organisational_domain(proof, await self._records(proof))

    async def _records(self, domain: str) -> Records:
        """The records that a walk from this domain meets, until one says where to stop (RFC 9989 4.10)."""
        found: Records = {}
        for place in walk(domain):
            record = await self._record(place)
            if record is None:
                continue
            found[place] = record
            if record.public == "n" or (record.public == "y" and place != domain):
                break
        return found

    async def _record(self, domain: str) -> DmarcRecord | None:
        try:
            texts = await self._resolver.txt(f"_dmarc.{domain}")
        except DnsNone:
            return None
        records = [record for text in texts if (record := read_record(text)) is not None]
        return records[0] if len(records) == 1 else None

    async def _exists(self, domain: str) -> bool:
        """Whether DNS knows the name at all: any address or mail exchanger (RFC 9989 3.2.13)."""
        for look_up in (self._resolver.addresses, self._resolver.mx):
            try:
                if await look_up(domain):
                    return True
            except DnsNone:
                return False
        return False


def _below(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _proofs(spf: Spf | None, dkim: Sequence[Dkim]) -> list[tuple[str, str]]:
    """What was proven: (how, domain). A signature over part of the body proves nothing of what is read (l=)."""
    found = []
    if spf is not None and spf.verdict is SpfVerdict.PASS:
        found.append(("spf", spf.domain))
    found += [
        (f"dkim={one.domain}", one.domain) for one in dkim if one.verdict is DkimVerdict.PASS and not one.partial
    ]
    return found


def _temporary(
    spf: Spf | None, dkim: Sequence[Dkim], domain: str, organisation: str, record: DmarcRecord
) -> str:
    """What could still prove the author, had DNS answered; "" if nothing could."""

    def near(proof: str, *, strict: bool) -> bool:
        return proof == domain or (not strict and _below(proof, organisation))

    if spf is not None and spf.verdict is SpfVerdict.TEMPERROR and near(spf.domain, strict=record.strict_spf):
        return f"SPF: {spf.problem}"
    waiting = [one for one in dkim if one.verdict is DkimVerdict.TEMPERROR and not one.partial]
    return next((f"DKIM: {one.problem}" for one in waiting if near(one.domain, strict=record.strict_dkim)), "")


def author_domain(headers: Headers) -> tuple[str, str]:
    """The one domain of From, or "" and why nobody can say which it is (RFC 9989 5.3.1)."""
    if headers.malformed or headers.oversize:
        return "", "the header is malformed, and readers would disagree about its author"
    values = [value for name, value in headers.fields if name.lower() == b"from"]
    if len(values) != 1:
        return "", "there is no From field" if not values else "there are several From fields"
    authors: Mailboxes = read_mailboxes(unfold(values[0]))
    if authors.trouble:
        return "", f"From: {authors.trouble}"
    domains = {author.domain for author in authors.found}
    if len(domains) != 1:
        return "", "From names authors of several domains"
    (domain,) = domains
    if domain.startswith("[") or "." not in domain:
        return "", "the author's domain cannot have a record"
    return domain, ""
