"""check_host() of RFC 7208 4: asks DNS as the record says, within its limits, and gives one of seven results."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from lockgate.mail.authentication import Spf, SpfVerdict
from lockgate.probes.trust.spf.macros import Names, expand, expand_domain, needs_validated_name
from lockgate.probes.trust.spf.record import BadRecord, Mechanism, Record, is_spf, parse_record
from lockgate.seams import DnsNone, DnsTemporary, MxHost, Resolver

MOST_TERMS = 10
"""Terms of one check that may ask DNS (RFC 7208 4.6.4)."""

MOST_VOID = 2
"""Questions of one check that may come back empty (RFC 7208 4.6.4)."""

MOST_NAMES = 10
"""Exchangers of an mx, and names of a ptr, that are looked at (RFC 7208 4.6.4)."""

_LONGEST_EXPLANATION = 400

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Permanent(Exception):
    """The result is "permerror"; the message says why."""


class _Temporary(Exception):
    """The result is "temperror"; the message says why."""


async def check_host(
    resolver: Resolver, address: str, domain: str, sender: str, helo: str, *, receiver: str = "", now: float = 0.0
) -> Spf:
    """What SPF says of `domain` sending from `address` (textual). Never raises for what DNS or the record say.

    `sender` is the address that macros see; without a local part it counts as "postmaster" (4.3). `receiver` is our
    name and `now` the time, both for explanations only.
    """
    domain = domain.lower().rstrip(".")
    if not _can_have_a_record(domain):
        return Spf(SpfVerdict.NONE, domain)
    local, at, of_sender = sender.rpartition("@")
    local = local if at and local else "postmaster"
    plain = ipaddress.ip_address(address)
    if isinstance(plain, ipaddress.IPv6Address) and plain.ipv4_mapped is not None:
        plain = plain.ipv4_mapped
    names = Names(f"{local}@{of_sender}", local, of_sender, plain, helo, receiver, now=int(now))
    check = _Check(resolver, names)
    try:
        verdict, matched, explanation = await check.evaluate(domain)
    except _Permanent as trouble:
        return Spf(SpfVerdict.PERMERROR, domain, problem=str(trouble)[:200], look_ups=check.terms)
    except _Temporary as trouble:
        return Spf(SpfVerdict.TEMPERROR, domain, problem=str(trouble)[:200], look_ups=check.terms)
    return Spf(verdict, domain, matched[:200], explanation, look_ups=check.terms)


def _can_have_a_record(domain: str) -> bool:
    """RFC 7208 4.3: a name of several labels, none of them empty or longer than 63 octets."""
    labels = domain.split(".")
    return len(labels) > 1 and len(domain) <= 253 and all(0 < len(label) <= 63 for label in labels) and domain[0] != "["


class _Check:
    """One check under way, with what it has spent."""

    def __init__(self, resolver: Resolver, names: Names) -> None:
        self._resolver = resolver
        self._names = names
        self._address = names.address
        self._family = "ipv4" if names.address.version == 4 else "ipv6"
        self._validated: tuple[str, ...] | None = None
        self.terms = 0
        self._void = 0

    async def evaluate(self, domain: str, *, included: bool = False) -> tuple[SpfVerdict, str, str]:
        """The result for one domain, the term that decided, and the explanation. Raises _Permanent, _Temporary."""
        record = await self._record(domain)
        if record is None:
            return SpfVerdict.NONE, "", ""
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                explanation = ""
                if mechanism.verdict is SpfVerdict.FAIL and record.explanation and not included:
                    explanation = await self._explanation(record.explanation, domain)
                return mechanism.verdict, mechanism.text, explanation
        if record.redirect:
            self._spend()
            target = await self._expanded(record.redirect, domain)
            result = await self.evaluate(target, included=included)
            if result[0] is SpfVerdict.NONE:
                raise _Permanent(f"{domain} redirects to {target}, which has no record")
            return result
        return SpfVerdict.NEUTRAL, "", ""

    async def _record(self, domain: str) -> Record | None:
        if not _can_have_a_record(domain):
            return None
        try:
            texts = [text for text in await self._resolver.txt(domain) if is_spf(text)]
        except DnsNone:
            return None
        except DnsTemporary as trouble:
            raise _Temporary(str(trouble)) from None
        if len(texts) > 1:
            raise _Permanent(f"{domain} has {len(texts)} records")
        try:
            return parse_record(texts[0]) if texts else None
        except BadRecord as trouble:
            raise _Permanent(f"{domain}: {trouble}") from None

    def _spend(self) -> None:
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise _Permanent(f"more than {MOST_TERMS} terms ask DNS")

    # --- mechanisms ------------------------------------------------------------------------------------------------

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        match mechanism.kind:
            case "all":
                return True
            case "ip4" | "ip6":
                return mechanism.network is not None and self._address in mechanism.network
        self._spend()
        target = await self._expanded(mechanism.domain, domain) if mechanism.domain else domain
        match mechanism.kind:
            case "include":
                return await self._include(target)
            case "exists":
                return bool(await self._addresses(target, "ipv4"))
            case "a":
                return self._among(await self._addresses(target, self._family), mechanism)
            case "mx":
                return await self._mx(target, mechanism)
            case _:
                return await self._ptr(target)

    async def _include(self, target: str) -> bool:
        verdict, _, _ = await self.evaluate(target, included=True)
        if verdict is SpfVerdict.NONE:
            raise _Permanent(f"{target} is included and has no record")
        return verdict is SpfVerdict.PASS

    async def _mx(self, target: str, mechanism: Mechanism) -> bool:
        hosts = [host.name for host in await self._exchangers(target) if host.name]
        if len(hosts) > MOST_NAMES:
            raise _Permanent(f"{target} has more than {MOST_NAMES} mail exchangers")
        for host in hosts:
            if self._among(await self._addresses(host, self._family), mechanism):
                return True
        return False

    async def _ptr(self, target: str) -> bool:
        target = target.lower()
        return any(name == target or name.endswith(f".{target}") for name in await self._validated_names())

    def _among(self, addresses: Iterable[str], mechanism: Mechanism) -> bool:
        bits, prefix = (32, mechanism.v4) if self._address.version == 4 else (128, mechanism.v6)
        mine = int(self._address) >> (bits - prefix)
        return any(int(ipaddress.ip_address(one)) >> (bits - prefix) == mine for one in addresses)

    # --- questions -------------------------------------------------------------------------------------------------

    async def _addresses(self, name: str, family: str) -> tuple[str, ...]:
        try:
            found = await self._resolver.addresses(name, family)
        except DnsNone:
            found = ()
        except DnsTemporary as trouble:
            raise _Temporary(str(trouble)) from None
        self._count(len(found), name)
        return found

    async def _exchangers(self, name: str) -> tuple[MxHost, ...]:
        try:
            found = await self._resolver.mx(name)
        except DnsNone:
            found = ()
        except DnsTemporary as trouble:
            raise _Temporary(str(trouble)) from None
        self._count(len(found), name)
        return found

    def _count(self, found: int, name: str) -> None:
        if not found:
            self._void += 1
            if self._void > MOST_VOID:
                raise _Permanent(f"more than {MOST_VOID} questions come back empty, the last for {name}")

    async def _validated_names(self) -> tuple[str, ...]:
        """Names that the address leads to and that lead back (RFC 7208 5.5); failures count as none."""
        if self._validated is not None:
            return self._validated
        names: list[str] = []
        try:
            candidates = (await self._resolver.names(str(self._address)))[:MOST_NAMES]
        except (DnsNone, DnsTemporary):
            candidates = ()
        self._count(len(candidates), str(self._address))
        for name in candidates:
            try:
                found = await self._resolver.addresses(name, self._family)
            except (DnsNone, DnsTemporary):
                continue
            if any(ipaddress.ip_address(one) == self._address for one in found):
                names.append(name.lower())
        self._validated = tuple(names)
        return self._validated

    # --- macros ----------------------------------------------------------------------------------------------------

    async def _expanded(self, text: str, domain: str) -> str:
        if "%" not in text:
            return text.rstrip(".")
        return expand_domain(text, await self._names_for(text, domain), domain)

    async def _names_for(self, text: str, domain: str) -> Names:
        if not needs_validated_name(text):
            return self._names
        names = await self._validated_names()
        inside = [name for name in names if name == domain or name.endswith(f".{domain}")]
        return msgspec.structs.replace(self._names, validated=([*inside, *names] or ["unknown"])[0])

    async def _explanation(self, text: str, domain: str) -> str:
        """What the domain wants told (6.2); whatever goes wrong, there is simply none."""
        try:
            target = await self._expanded(text, domain)
            records = await self._resolver.txt(target)
            if len(records) != 1 or not records[0].isascii():
                return ""
            names = await self._names_for(records[0], domain)
        except (DnsNone, DnsTemporary, _Permanent, _Temporary):
            return ""
        told = expand(records[0], names, domain, explaining=True)
        return "".join(letter if letter.isprintable() else " " for letter in told)[:_LONGEST_EXPLANATION]
