"""`preflight` and `doctor`: all the looks together, safe to repeat, nothing is changed by them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lockgate.app.checkup import hops, names, papers, place, stores
from lockgate.app.checkup.service import listening, service
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, check_files, read_config, resolvers
from lockgate.app.journal import SilentJournal
from lockgate.app.ways import courier_settings, pools_of
from lockgate.flow.checkup import Found, blocked
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid
from lockgate.probes.trust.resolver import DnsResolver


def preflight(config_path: Path) -> tuple[Found, ...]:
    """Everything that has to be right before mail can flow, whether the service runs or not. Never raises."""
    return _over(config_path, running=False)


def doctor(config_path: Path) -> tuple[Found, ...]:
    """The same, and what the running service says of itself."""
    return _over(config_path, running=True)


def _over(config_path: Path, *, running: bool) -> tuple[Found, ...]:
    try:
        config = read_config(config_path)
        problems = check_files(config, config_path)
    except Invalid as trouble:
        problems = trouble.problems
    except (OSError, UnicodeDecodeError) as trouble:
        return (blocked("operator's file", f"{config_path} cannot be read: {trouble}", "lockgate init"),)
    if problems:
        return tuple([blocked("operator's file", str(one), f"edit {one.file}, line {one.line}") for one in problems])
    return tuple(asyncio.run(_all(config, config_path, running=running)))


async def _all(config: OperatorFile, config_path: Path, *, running: bool) -> list[Found]:
    clock = SystemClock()
    found: list[Found] = []
    if running:
        found += await service(config, config_path)
    found += place.folders(config)
    found += place.limits()
    found += place.ports(config, await asyncio.to_thread(listening, config))
    found += papers.certificates(config, clock.now(), SilentJournal())
    told, made = await asyncio.to_thread(papers.policy, config)
    found += told
    if made is not None:
        found += papers.recipients(config, made)
    found += await _network(config, made, clock)
    return found


async def _network(config: OperatorFile, made: Policy | None, clock: SystemClock) -> list[Found]:
    servers = resolvers(config)
    resolver = DnsResolver(servers, clock, timeout=min(config.dns.timeout, 3.0), trusted=config.dns.trusted)
    answer = await names.resolver_answers(resolver, config, servers)
    found = [answer]
    if answer.mend == "":
        found.append(await names.validates(resolver, config, servers))
        found += [one async for one in names.own_name(resolver, config)]
        if made is not None:
            found += await names.domains(resolver, config, made)
    if made is not None:
        settings = courier_settings(config, ())
        found += await hops.next_hops(config, made, resolver, settings, pools_of(config), clock)
        found += await stores.mailbox_stores(config, made, resolver, settings, pools_of(config), clock)
    return found
