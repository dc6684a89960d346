"""DNS: does a resolver answer, does our name lead here and back, do the domains' records say what they have to?"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator

from lockgate.app.config import OperatorFile
from lockgate.flow.checkup import Found, blocked, passed, warned
from lockgate.mail.dkim.published import zone_line
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.policy import Policy
from lockgate.policy.publishing import Published, is_covered, mail_hosts, published
from lockgate.seams import DnsNone, DnsState, DnsTemporary, Resolver

MOST_DOMAINS = 200
"""Domains looked at in one go; an installation with thousands looks at its first ones."""

_AT_ONCE = 20

_OWN_RESOLVER = '[dns]\nresolvers = ["127.0.0.1"]    # apt-get install unbound; it validates by default'


async def resolver_answers(resolver: Resolver, config: OperatorFile, servers: tuple[tuple[str, int], ...]) -> Found:
    """Somebody answers our questions: asked for our own name, so that nothing else is told to anybody."""
    told = ", ".join(f"{address} port {port}" for address, port in servers)
    try:
        await resolver.addresses(config.hostname)
    except DnsNone:
        pass
    except DnsTemporary as trouble:
        mend = '[dns]\nresolvers = ["127.0.0.1"]    # a resolver that answers, unbound for one'
        return blocked("resolver", str(trouble), mend)
    return passed("resolver", f"{told} answers")


async def validates(resolver: Resolver, config: OperatorFile, servers: tuple[tuple[str, int], ...]) -> Found:
    """The resolver validates, and its word may be believed; asked for the name that the operator's file gives."""
    subject, probe = "DNSSEC", config.dns.probe
    far = [address for address, _ in servers if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    if not probe:
        return passed(subject, "not looked at: [dns] probe names no signed name whose answer could be validated")
    if far and not config.dns.trusted and len(far) == len(servers):
        what = f"what {', '.join(far)} validates is not believed, as it is not on this machine"
        return warned(subject, what, _OWN_RESOLVER)
    answer = await resolver.look_up(probe, "A")
    if answer.validated and far and not config.dns.trusted:
        what = f"{probe} was validated, but {', '.join(far)} is asked as well, and what it says is not believed"
        return warned(subject, what, "take it out of [dns] resolvers, or leave it and have answers that nobody proved")
    if answer.validated:
        return passed(subject, f"the answer for {probe} was validated")
    match answer.state:
        case DnsState.BOGUS:
            return warned(subject, answer.why, f"delv +vtrace {probe}    # says which signature is wrong")
        case DnsState.TEMPORARY:
            return warned(subject, answer.why, "look again when the resolver answers")
    what = f"the answer for {probe} was not validated: the resolver does not validate, or the name is not signed"
    return warned(subject, what, _OWN_RESOLVER)


async def own_name(resolver: Resolver, config: OperatorFile) -> AsyncIterator[Found]:
    """Our host name leads to this machine, and each of its addresses back to the name (RFC 1912 2.1)."""
    name = config.hostname
    try:
        addresses = await resolver.addresses(name)
    except DnsNone:
        addresses = ()
    except DnsTemporary as trouble:
        yield warned("host name", f"{name}: {trouble}", "look again when the resolver answers")
        return
    if not addresses:
        mend = f"{name}. 3600 IN A <public address of this machine>"
        yield blocked("host name", f"{name} has no address in DNS", mend)
        return
    here = [address for address in addresses if _is_here(address)]
    if here:
        yield passed("host name", f"{name} leads to {', '.join(addresses)}")
    else:
        mend = f"{name}. 3600 IN A <address of this machine>    # nothing to do behind a NAT that passes mail on"
        yield warned("host name", f"{name} leads to {', '.join(addresses)}, none of which is this machine's", mend)
    for address in addresses:
        yield await _reverse(resolver, address, name)


async def _reverse(resolver: Resolver, address: str, name: str) -> Found:
    try:
        names = await resolver.names(address)
    except DnsNone:
        names = ()
    except DnsTemporary as trouble:
        return warned("reverse name", f"{address}: {trouble}", "look again when the resolver answers")
    if name in names:
        return passed("reverse name", f"{address} leads back to {name}")
    pointer = ipaddress.ip_address(address).reverse_pointer
    told = f"leads to {', '.join(names[:3])}" if names else "has no reverse name"
    mend = f"{pointer}. 3600 IN PTR {name}.    # the network's owner enters it; many servers refuse mail without"
    return warned("reverse name", f"{address} {told}, not {name}", mend)


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True


async def domains(resolver: Resolver, config: OperatorFile, made: Policy) -> list[Found]:
    """The MX of each domain is ours, and its SPF record names us."""
    wanted = [domain for mine in made.organisations.values() for domain in mine.accepted][:MOST_DOMAINS]
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(domain: AcceptedDomain) -> list[Found]:
        async with places:
            found = [await _receives(resolver, config, domain), await _spf(resolver, config, domain)]
            ours = published(domain, config.hostname)
            return [*found, await _sts(resolver, ours)] if ours is not None else found

    return [found for group in await asyncio.gather(*(one(domain) for domain in wanted)) for found in group]


async def _receives(resolver: Resolver, config: OperatorFile, domain: AcceptedDomain) -> Found:
    name = domain.domain_name
    ours = mail_hosts(domain, config.hostname)
    line = f"{name}. 3600 IN MX 10 {ours[0].replace('*.', 'mx.')}."
    if not domain.receives:
        mend = f'{name}. 3600 IN TXT "{domain.proof}"' if domain.proof else f"lockgate domain verify {name}"
        return blocked(f"domain {name}", "it is not proven, so nothing is received for it", mend)
    if domain.outbound_only:
        return passed(f"domain {name}", "only sends through us")
    try:
        hosts = await resolver.mx(name)
    except DnsNone:
        return warned(f"domain {name}", "the domain does not exist in DNS", line)
    except DnsTemporary as trouble:
        return warned(f"domain {name}", str(trouble), "look again when the resolver answers")
    if any(host.name == config.hostname or is_covered(host.name, ours) for host in hosts):
        return passed(f"domain {name}", f"its MX is {', '.join(host.name for host in hosts)}")
    others = ", ".join(host.name or "null" for host in hosts) or "none"
    return warned(f"domain {name}", f"its MX is {others}, so mail does not come to us yet", line)


async def _sts(resolver: Resolver, ours: Published) -> Found:
    subject, line = f"MTA-STS of {ours.domain}", zone_line(f"_mta-sts.{ours.domain}", ours.record)
    try:
        records = [text for text in await resolver.txt(f"_mta-sts.{ours.domain}") if text.startswith("v=STSv1")]
    except DnsNone:
        records = []
    except DnsTemporary as trouble:
        return warned(subject, str(trouble), "look again when the resolver answers")
    if records != [ours.record]:
        told = "another policy than ours is announced" if records else "our policy is announced to nobody"
        return warned(subject, told, f"{line}    # `lockgate domain dns {ours.domain}` shows the whole")
    return passed(subject, ours.record)


async def _spf(resolver: Resolver, config: OperatorFile, domain: AcceptedDomain) -> Found:
    name, subject = domain.domain_name, f"SPF of {domain.domain_name}"
    line = f'{name}. 3600 IN TXT "v=spf1 mx a:{config.hostname} ~all"'
    try:
        records = [text for text in await resolver.txt(name) if text.lower().split(" ")[0] == "v=spf1"]
    except DnsNone:
        records = []
    except DnsTemporary as trouble:
        return warned(subject, str(trouble), "look again when the resolver answers")
    if len(records) > 1:
        return warned(subject, "there are two records, which counts as an error (RFC 7208 4.5)", line)
    if not records:
        return warned(subject, "there is none: others cannot tell our mail from forged mail", line)
    return passed(subject, records[0][:200])
