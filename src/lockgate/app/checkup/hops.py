"""The next hops: can each be reached, does it speak SMTP, and does it meet the TLS that its connector demands?"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Mapping

import msgspec

from lockgate.app.config import OperatorFile
from lockgate.app.ways import read_secret
from lockgate.couriers.dial import Dialler
from lockgate.couriers.link import Link
from lockgate.couriers.settings import CourierSettings
from lockgate.flow.checkup import Found, blocked, passed, warned
from lockgate.flow.hops import Pool, plan
from lockgate.mail.hop import NextHop
from lockgate.mail.ruling import Route, TlsLevel, Via
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Resolver, Unreachable

PATIENCE = 20.0
_AT_ONCE = 10


async def next_hops(
    config: OperatorFile, made: Policy, resolver: Resolver, settings: CourierSettings, pools: Mapping[str, Pool],
    clock: Clock,
) -> list[Found]:  # fmt: skip
    """Dial every connector as a courier would, up to where mail would begin, and part in peace."""
    dialler = Dialler(resolver, settings, clock, random.SystemRandom())
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(organisation: str, connector: OutboundConnector) -> list[Found]:
        async with places:
            return await _connector(config, made, dialler, pools, organisation, connector)

    tasks = [
        one(name, connector)
        for name, mine in made.organisations.items()
        for connector in mine.outbound.named.values()
        if connector.enabled
    ]
    return [found for group in await asyncio.gather(*tasks) for found in group]


async def _connector(
    config: OperatorFile, made: Policy, dialler: Dialler, pools: Mapping[str, Pool], organisation: str,
    connector: OutboundConnector,
) -> list[Found]:  # fmt: skip
    subject = f"connector {connector.name}"
    found: list[Found] = []
    hosts = [""] if connector.use_mx_record else list(connector.smart_hosts)
    for host in hosts:
        domain = _a_domain(connector) if connector.use_mx_record else ""
        if connector.use_mx_record and not domain:
            return [passed(subject, "uses the MX of each recipient's domain")]
        route = Route(Via.CONNECTOR, organisation, connector.name, domain, connector.tls_settings)
        hop = plan(made, route, pools, read_secret)
        if isinstance(hop, str):
            return [blocked(subject, hop, f"lockgate connector show {connector.name!r}")]
        if host:
            hop = _only(hop, host)
        found.append(await _dial(config, dialler, hop, subject, host or f"the MX of {domain}"))
    return found


def _a_domain(connector: OutboundConnector) -> str:
    return next((name for name in connector.recipient_domains if not name.startswith("*")), "")


def _only(hop: NextHop, host: str) -> NextHop:
    return msgspec.structs.replace(hop, smart_hosts=(host,))


async def greeted(dialler: Dialler, hop: NextHop) -> str:
    """Dial, and part where mail would begin; the TLS made, "" for plain text. Raises Unreachable, TimeoutError."""
    gone = asyncio.Event()

    def over(link: Link) -> None:
        gone.set()

    link = await asyncio.wait_for(dialler.dial(hop, functools.partial(over), set()), PATIENCE)
    tls = link.tls
    link.quit()
    try:
        await asyncio.wait_for(gone.wait(), 5.0)
    except TimeoutError:
        link.abort("it did not part")
    return tls


async def _dial(config: OperatorFile, dialler: Dialler, hop: NextHop, subject: str, where: str) -> Found:
    try:
        tls = await greeted(dialler, hop)
    except Unreachable as trouble:
        mend = _mend(config, str(trouble.reply), where)
        return blocked(subject, f"{where}: {trouble.reply.text}", mend)
    except TimeoutError:
        return blocked(subject, f"{where}: no answer within {PATIENCE:g} seconds", f"nc -vz {where.replace(':', ' ')}")
    if not tls and hop.tls.level is TlsLevel.OPPORTUNISTIC:
        mend = "switch STARTTLS on there, then set tls_settings to what you demand"
        return warned(subject, f"{where} answers, but in plain text", mend)
    return passed(subject, f"{where} answers, {tls or 'plain text'}")


def _mend(config: OperatorFile, said: str, where: str) -> str:
    if "loopback" in said or "link-local" in said or "server itself" in said:
        return '[outgoing]\nallow = ["127.0.0.0/8"]    # only if the next server really is on this machine'
    if "certificate" in said or "TLS" in said:
        return "give the connector the right tls_domain, ca_file or pinned_keys, or a lower tls_settings"
    return f"nc -vz {where.replace(':', ' ')}    # is it running, and does a firewall stand between?"
