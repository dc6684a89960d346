"""From a next hop to addresses, told step by step: what DNS said of each host, and what may not be dialled, and why."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lockgate.couriers.hosts import Search, Target, is_address, targets
from lockgate.couriers.reach import Reach, split_port
from lockgate.couriers.settings import CourierSettings
from lockgate.mail.hop import NextHop
from lockgate.mail.validation import StepName, ValidationStep, failed, passed
from lockgate.seams import DnsAnswer, DnsBogus, DnsNone, DnsTemporary, MxHost, Resolver, Unreachable

_FORBIDDEN = (
    "Correct the address; if this one is meant, the operator lists it under [outgoing] allow in lockgate.toml."
)
_SILENT = "See that the resolvers of [dns] in lockgate.toml answer: lockgate doctor."


class NotingResolver:
    """Implements seams.Resolver by another one; `exchangers` and `hosts` are what it said, or why it said nothing."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.exchangers: dict[str, tuple[MxHost, ...] | str] = {}
        self.hosts: dict[str, tuple[str, ...] | str] = {}
        self.silent: set[str] = set()

    async def look_up(self, name: str, kind: str) -> DnsAnswer:
        """See Resolver."""
        return await self._resolver.look_up(name, kind)

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """See Resolver."""
        try:
            found = await self._resolver.mx(domain)
        except (DnsNone, DnsTemporary) as trouble:
            self.exchangers[domain] = self._why(domain, trouble)
            raise
        self.exchangers[domain] = found
        return found

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """See Resolver."""
        try:
            found = await self._resolver.addresses(name, family)
        except (DnsNone, DnsTemporary) as trouble:
            self.hosts[name] = self._why(name, trouble)
            raise
        self.hosts[name] = found
        return found

    async def txt(self, name: str) -> tuple[str, ...]:
        """See Resolver."""
        return await self._resolver.txt(name)

    async def names(self, address: str) -> tuple[str, ...]:
        """See Resolver."""
        return await self._resolver.names(address)

    def _why(self, name: str, trouble: DnsNone | DnsTemporary) -> str:
        if isinstance(trouble, DnsNone):
            return "there is no such name in DNS"
        self.silent.add(name)
        if isinstance(trouble, DnsBogus):
            return f"what DNS says is forged, or signed wrongly: {trouble}"
        return f"DNS gave no answer: {trouble}"


class NotingReach(Reach):
    """What may be dialled; `refused` is what was not allowed, and why."""

    __slots__ = ("refused",)

    def __init__(self, settings: CourierSettings) -> None:
        super().__init__(settings.allowed, settings.own_addresses)
        self.refused: dict[tuple[str, int], str] = {}

    def refuses(self, address: str, port: int) -> str:
        """See Reach."""
        why = super().refuses(address, port)
        if why:
            self.refused[address, port] = why
        return why


async def resolved(
    hop: NextHop, resolver: Resolver, settings: CourierSettings, chance: random.Random
) -> tuple[list[ValidationStep], tuple[Target, ...]]:
    """The steps, and the addresses that delivery would try, best first."""
    noting, reach = NotingResolver(resolver), NotingReach(settings)
    own_names = frozenset([name.rstrip(".").lower() for name in settings.own_names])
    why = ""
    try:
        found = await targets(hop, Search(noting, reach, settings.mx_port, own_names, chance))
    except Unreachable as trouble:
        found, why = (), str(trouble.reply)
    steps: list[ValidationStep] = []
    hosts: list[tuple[str, int]] = []
    if hop.smart_hosts:
        for text in hop.smart_hosts:
            try:
                host, port = split_port(text)
            except ValueError as trouble:
                steps.append(failed(StepName.RESOLVE, str(trouble), "Correct smart_hosts of the connector."))
                continue
            hosts.append((host.rstrip(".").lower(), port or settings.mx_port))
    elif not hop.mx_domain.startswith("["):
        steps += _exchangers(hop, noting, why)
        hosts = [(name, settings.mx_port) for name in noting.hosts]
    steps += [_host(hop, host, port, found, noting, reach) for host, port in dict.fromkeys(hosts)]
    if why and not any(step.fix for step in steps):
        steps.append(failed(StepName.RESOLVE, why, "Correct the next hop of the connector."))
    return steps, tuple(dict.fromkeys(found))


def _exchangers(hop: NextHop, noting: NotingResolver, why: str) -> list[ValidationStep]:
    """What DNS says of the domain's mail exchangers."""
    domain = hop.mx_domain
    published = noting.exchangers.get(domain, ())
    if isinstance(published, str):
        fix = _SILENT if domain in noting.silent else "Correct the recipient's domain, or publish an MX for it."
        return [failed(StepName.RESOLVE, f"MX of {domain}: {published}", fix, domain=domain)]
    listed = [f"{host.preference} {host.name or '.'}" for host in published]
    seen = f"MX of {domain}: {', '.join(listed)}" if listed else f"{domain} has no MX; its own address is used"
    if why and not any(not isinstance(one, str) and one for one in noting.hosts.values()):
        fix = "The domain takes no mail as it is published; name smart hosts, or have its MX corrected."
        return [failed(StepName.RESOLVE, f"{seen} ({why})", fix, domain=domain, mx=listed)]
    return [passed(StepName.RESOLVE, seen, domain=domain, mx=listed)]


def _host(
    hop: NextHop, host: str, port: int, found: Sequence[Target], noting: NotingResolver, reach: NotingReach
) -> ValidationStep:
    """One smart host or mail exchanger."""
    answer: tuple[str, ...] | str = (host,) if is_address(host) else noting.hosts.get(host, ())
    if isinstance(answer, str):
        where = "smart_hosts of the connector" if hop.smart_hosts else "the MX of the domain"
        fix = _SILENT if host in noting.silent else f"Publish an address for {host}, or correct {where}."
        return failed(StepName.RESOLVE, f"{host}: {answer}", fix, host=host)
    if not answer:
        family = "" if hop.family == "any" else f" of the family {hop.family}"
        fix = f"Publish one for {host}" + (", or change address_family of the connector." if family else ".")
        return failed(StepName.RESOLVE, f"{host} has no address{family}", fix, host=host)
    dialled = [address for address in answer if any(t.address == address and t.port == port for t in found)]
    refused = {address: reach.refused[address, port] for address in answer if (address, port) in reach.refused}
    not_tried = "; ".join(f"{address} may not be dialled: it is {why}" for address, why in refused.items())
    if dialled:
        seen = f"{host}: {', '.join(dialled)}, port {port}" + (f" ({not_tried})" if not_tried else "")
        return passed(StepName.RESOLVE, seen, host=host, addresses=dialled, refused=refused)
    if refused:
        return failed(StepName.RESOLVE, f"{host}: {not_tried}", _FORBIDDEN, host=host, refused=refused)
    seen = f"{host}: {', '.join(answer)}, but it is this server itself, or no better than it (RFC 5321 5.1)"
    return failed(StepName.RESOLVE, seen, "Mail would come back: name smart hosts, or correct the MX.", host=host)
