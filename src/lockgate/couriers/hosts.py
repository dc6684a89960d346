"""Where does a next hop's mail go, in which order? (RFC 5321 5.1, RFC 7505, specification 2.4)"""

from __future__ import annotations

import asyncio
import ipaddress
import random

import msgspec

from lockgate.couriers.reach import Reach, split_port
from lockgate.mail import replies
from lockgate.mail.hop import NextHop
from lockgate.mail.reply import Reply
from lockgate.seams import DnsBogus, DnsNone, DnsTemporary, MxHost, Resolver, Unreachable

MOST_EXCHANGERS = 20
"""Mail exchangers of one domain that are looked at; more are published only to make us work."""


_SOCKET = "unix:"


class Target(msgspec.Struct, frozen=True):
    """One address to dial. `name` is the server's name as configured or published, used for SNI and to speak of it.

    An address that begins with / is a Unix socket, `port` is 0 then, and `name` the name of the store behind it.
    """

    name: str
    address: str
    port: int

    @property
    def is_socket(self) -> bool:
        """Whether this is a Unix socket of this machine."""
        return self.address.startswith("/")

    def __str__(self) -> str:
        if self.is_socket:
            return f"{self.name}[{self.address}]"
        return f"{self.name}[{self.address}]:{self.port}"


class Search(msgspec.Struct, frozen=True):
    """What the search for targets needs; `chance` orders equals."""

    resolver: Resolver
    reach: Reach
    port: int
    own_names: frozenset[str]
    chance: random.Random


async def targets(hop: NextHop, search: Search) -> tuple[Target, ...]:
    """The addresses to dial, best first; at least one. Raises Unreachable."""
    if hop.smart_hosts:
        return await _smart_hosts(hop, search)
    if hop.mx_domain.startswith("["):
        return _permitted([_literal(hop.mx_domain, search.port)], search.reach, ())
    return await _exchangers(hop, search)


async def _smart_hosts(hop: NextHop, search: Search) -> tuple[Target, ...]:
    """Several smart hosts share the load: each connection begins with another one and goes on to the rest."""
    hosts = list(hop.smart_hosts)
    search.chance.shuffle(hosts)
    # Sockets are on this machine, so they are tried first; that they are permitted was seen when the hop was planned.
    sockets = [Target(hop.store, host.removeprefix(_SOCKET), 0) for host in hosts if host.startswith(_SOCKET)]
    hosts = [host for host in hosts if not host.startswith(_SOCKET)]
    answers = await asyncio.gather(*[_smart_host(host, hop.family, search) for host in hosts])
    found = [target for some, _ in answers for target in some]
    troubles = tuple([why for _, why in answers if why is not None])
    if sockets or (hop.trusted and found):
        return (*sockets, *[one for one in found if hop.trusted or not search.reach.refuses(one.address, one.port)])
    return _permitted(found, search.reach, troubles)


async def _smart_host(text: str, family: str, search: Search) -> tuple[list[Target], Reply | None]:
    try:
        host, port = split_port(text)
    except ValueError as trouble:
        return [], replies.waits(f"The smart host cannot be read: {trouble}")
    port = port or search.port
    host = host.rstrip(".").lower()
    if is_address(host):
        return [Target(host, host, port)], None
    try:
        addresses = await search.resolver.addresses(host, family)
    except DnsNone:
        return [], replies.unreachable(f"The smart host {host} does not exist in DNS")
    except DnsTemporary as trouble:
        return [], _dns_failed(trouble)
    if not addresses:
        return [], replies.unreachable(f"The smart host {host} has no address of the family {family}")
    return _ordered(host, addresses, port, search.chance), None


async def _exchangers(hop: NextHop, search: Search) -> tuple[Target, ...]:
    hosts = await _published(hop.mx_domain, search)
    looked_up = await asyncio.gather(*[_addresses(host, hop.family, search) for host in hosts])
    # RFC 5321 5.1: we ourselves and everything not better than ourselves is no place to send to.
    ours = min(
        [
            host.preference
            for host, (addresses, _) in zip(hosts, looked_up, strict=True)
            if host.name in search.own_names or any(search.reach.is_own(a, search.port) for a in addresses)
        ],
        default=None,
    )
    found: list[Target] = []
    troubles: list[Reply] = []
    for host, (addresses, trouble) in zip(hosts, looked_up, strict=True):
        if ours is not None and host.preference >= ours:
            continue
        found += _ordered(host.name, addresses, search.port, search.chance)
        if trouble is not None:
            troubles.append(trouble)
    if not found and ours is not None and not troubles:
        raise Unreachable(replies.LOOPS_BACK, permanent=True, host=hop.mx_domain)
    return _permitted(found, search.reach, tuple(troubles))


async def _published(domain: str, search: Search) -> list[MxHost]:
    """The exchangers of a domain in the order to try them; without MX the domain itself (RFC 5321 5.1)."""
    try:
        published = await search.resolver.mx(domain)
    except DnsNone:
        raise Unreachable(replies.NO_SUCH_DOMAIN, permanent=True, host=domain) from None
    except DnsTemporary as trouble:
        raise Unreachable(_dns_failed(trouble), host=domain) from None
    if not published:
        return [MxHost(0, domain.lower())]
    if all(not host.name for host in published):
        raise Unreachable(replies.NULL_MX, permanent=True, host=domain)
    # An address where a name belongs (RFC 5321 5.1, RFC 1035 3.3.9) is not followed: it would dodge every name check.
    named = [host for host in published if host.name and not is_address(host.name)]
    if not named:
        raise Unreachable(replies.NO_MAIL_HOST, permanent=True, host=domain)
    search.chance.shuffle(named)
    return sorted(named, key=lambda host: host.preference)[:MOST_EXCHANGERS]


async def _addresses(host: MxHost, family: str, search: Search) -> tuple[tuple[str, ...], Reply | None]:
    try:
        found = await search.resolver.addresses(host.name, family)
    except DnsNone:
        return (), replies.NO_MAIL_HOST
    except DnsTemporary as trouble:
        return (), _dns_failed(trouble)
    return found, None if found else replies.NO_MAIL_HOST


def _dns_failed(trouble: DnsTemporary) -> Reply:
    return replies.dns_failed(str(trouble), forged=isinstance(trouble, DnsBogus))


def _ordered(name: str, addresses: tuple[str, ...], port: int, chance: random.Random) -> list[Target]:
    """IPv6 first, in each family by chance."""
    mixed = list(addresses)
    chance.shuffle(mixed)
    mixed.sort(key=lambda address: ":" not in address)
    return [Target(name, address, port) for address in mixed]


def _permitted(found: list[Target], reach: Reach, troubles: tuple[Reply, ...]) -> tuple[Target, ...]:
    """The targets that may be dialled; raises Unreachable with the reason that leaves most hope."""
    permitted = tuple([target for target in found if not reach.refuses(target.address, target.port)])
    if permitted:
        return permitted
    temporary = next((reply for reply in troubles if not reply.permanent), None)
    if temporary is None and found:
        why = reach.refuses(found[0].address, found[0].port)
        refused = replies.NOT_REACHABLE_BY_RULE
        temporary = Reply(refused.code, refused.enhanced, f"{refused.text} ({found[0]} is {why})")
    if temporary is not None:
        raise Unreachable(temporary, host=str(found[0]) if found else "")
    reply = troubles[0] if troubles else replies.NO_MAIL_HOST
    raise Unreachable(reply, permanent=reply.permanent)


def _literal(text: str, port: int) -> Target:
    inner = text.strip("[]")
    address = inner[5:] if inner[:5].lower() == "ipv6:" else inner
    if not is_address(address):
        raise Unreachable(replies.NO_MAIL_HOST, permanent=True, host=text)
    return Target(text, address, port)


def is_address(text: str) -> bool:
    """Whether a host is given as an address: it has no name in SNI (RFC 6066 3), and DNS proves nothing of it."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
