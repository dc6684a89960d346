"""What the documents cannot say: whether DNS leads back to us, whether files can be used, whether rules still act, and
whether somebody reads what postmaster gets.

Looked at by `check` and `plan`. An outage is no finding: what cannot be found out now is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from OpenSSL import SSL

from lockgate.app.checkup.postmasters import look_at_postmasters
from lockgate.app.checkup.rules import look_at_rules
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.names import resolver_of
from lockgate.mail.ruling import TlsLevel
from lockgate.policy.checks import Key, Report
from lockgate.policy.compile import Understood
from lockgate.policy.documents import Written
from lockgate.policy.linter.outbound import cannot_match, shows
from lockgate.policy.linter.shared_hosts import host_of
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.objects.domains import DomainType
from lockgate.policy.problems import Problem
from lockgate.seams import Directory, DnsNone, DnsTemporary, Resolver
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.recipients import RecipientStore
from lockgate.wire.certificates import leaf_facts, read_chain, read_store

MOST_DOMAINS = 200
"""Domains asked for at one look."""

SECONDS = 10.0
"""All questions together."""

_AT_ONCE = 20


class Around(NamedTuple):
    """Who we are, and how far ahead expiry is told. `addresses` are our own besides those of `hostname`; `directory` is
    asked for the groups that rules name and for postmasters.
    """

    resolver: Resolver | None
    hostname: str
    addresses: frozenset[str]
    days: int
    directory: Directory | None = None

    async def look(self, understood: Understood, now: float) -> tuple[Problem, ...]:
        """The findings, in the order of files and lines. Never raises."""
        report = Report(understood.places)
        await asyncio.to_thread(_files, understood, report, now, self.days)
        look_at_rules(understood, self.directory, report, now)
        look_at_postmasters(understood, self.directory, report)
        if self.resolver is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_names(self, self.resolver, understood, report), SECONDS)
        return tuple(sorted(set(report.warnings)))


def around_of(config: OperatorFile, resolver: Resolver | None) -> Around:
    """What the operator's file says of us."""
    own = frozenset(listener.address for listener in config.listener)
    directory = DirectoryTable(RecipientStore(config.recipients_directory).table, SystemClock())
    return Around(resolver, config.hostname, own, max(config.alerts.certificate_days, default=0), directory)


async def look_around(config: OperatorFile, understood: Understood) -> tuple[Problem, ...]:
    """The same once, with a resolver of its own."""
    clock = SystemClock()
    resolver = resolver_of(config, clock, remembers=False)
    return await around_of(config, resolver).look(understood, clock.now())


# --- DNS


async def _names(around: Around, resolver: Resolver, understood: Understood, report: Report) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    ours = await _addresses(resolver, around.hostname) | {one for one in around.addresses if _tells(one)}

    async def one(written: Written[Any], key: Key, domain: str) -> None:
        async with places:
            await _mx(around.hostname, ours, resolver, written, key, domain, report)

    wanted: list[_Wanted] = [*_by_mx(understood), *_without_connector(understood)]
    await asyncio.gather(*(one(*each) for each in wanted[:MOST_DOMAINS]))


_Wanted = tuple[Written[Any], Key, str]
"""What is looked at: an object, the key at which a finding is told, and the domain whose MX is asked for."""


def _by_mx(understood: Understood) -> Iterator[_Wanted]:
    """The domains for which a connector asks the MX."""
    for written in understood.documents.outbound:
        connector = written.value
        if connector.enabled and connector.use_mx_record:
            for index, domain in enumerate(connector.recipient_domains):
                if not domain.startswith("*"):
                    yield written, ("recipient_domains", index), domain


def _without_connector(understood: Understood) -> Iterator[_Wanted]:
    """Domains whose unknown recipients are relayed, and by MX, as no connector is for them."""
    policy = understood.policy
    for written in understood.documents.domains:
        domain = written.value
        mine = policy.organisations[domain.organisation].outbound
        if domain.domain_type is not DomainType.INTERNAL_RELAY or domain.outbound_only:
            continue
        if mine.central or mine.all_accepted or mine.everything or domain.domain_name in mine.exact:
            continue
        if not mine.wildcard.every(domain.domain_name):
            yield written, "domain_name", domain.domain_name


async def _mx(
    hostname: str, ours: set[str], resolver: Resolver, written: Written[Any], key: Key, domain: str, report: Report
) -> None:
    try:
        hosts = [host.name for host in await resolver.mx(domain) if host.name] or [domain]
    except (DnsNone, DnsTemporary):
        return
    for name in hosts:
        if name == hostname or not ours.isdisjoint(await _addresses(resolver, name)):
            report.doubtful(
                written,
                (key,),
                f"the MX of {domain} is {name}, which is this server itself",
                why="mail sent there by MX would come back at once; it is returned to its sender as a loop (5.4.14)",
                mend="use_mx_record = false, and the servers of your own that keep these mailboxes as smart_hosts",
            )
            break
    connector = written.value
    if isinstance(connector, OutboundConnector) and _is_checked(connector):
        _named_otherwise(written, key, hosts, report)


async def _addresses(resolver: Resolver, name: str) -> set[str]:
    """The addresses of a name by which it can be told from others."""
    try:
        return {one for one in await resolver.addresses(name) if _tells(one)}
    except (DnsNone, DnsTemporary):
        return set()


def _tells(address: str) -> bool:
    """Whether an address says whose it is: everybody is at home on the loopback network."""
    plain = ipaddress.ip_address(address)
    return not plain.is_loopback and not plain.is_unspecified


def _is_checked(connector: OutboundConnector) -> bool:
    return connector.tls_settings is TlsLevel.DOMAIN_VALIDATION and not connector.pinned_keys


def _named_otherwise(
    written: Written[OutboundConnector], key: Key, hosts: list[str], report: Report
) -> None:
    """All mail hosts of the domain belong to services that cannot show the name which is demanded."""
    wanted = written.value.tls_domain or ""
    services = [host_of(name) for name in hosts]
    first = services[0]
    if first is not None and wanted and all(one is not None and not shows(one, wanted) for one in services):
        cannot_match(written, key, hosts[0], first, report)


# --- files


def _files(understood: Understood, report: Report, now: float, days: int) -> None:
    for inbound in understood.documents.inbound:
        if inbound.value.enabled:
            _authorities(inbound, inbound.value.ca_file, report)
    for outbound in understood.documents.outbound:
        connector = outbound.value
        if connector.enabled:
            _authorities(outbound, connector.ca_file, report)
            if connector.certificate_file and connector.key_file:
                _own(outbound, connector.certificate_file, connector.key_file, report, now, days)


def _authorities(written: Written[Any], file: str | None, report: Report) -> None:
    """CAs that a connector trusts instead of the public ones."""
    if not file:
        return
    try:
        read_store(Path(file).read_bytes())
    except PermissionError:
        return  # the service may read what whoever asks may not
    except (OSError, ValueError) as trouble:
        report.doubtful(
            written,
            ("ca_file",),
            f"{file} cannot be used: {trouble}",
            why="no certificate can be checked against it, so that nobody meets what the connector demands",
            mend="put the PEM certificates of the CAs there; the file is read again while the service runs",
        )


def _own(written: Written[OutboundConnector], chain: str, key: str, report: Report, now: float, days: int) -> None:
    """The certificate that a connector shows to servers."""
    renew = f"put a new chain and its own key at {chain} and {key}; they are read again while the service runs"
    try:
        pem = Path(chain).read_text("ascii")
        facts = leaf_facts(pem.encode()) if read_chain(pem) else None
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(chain)
        context.use_privatekey_file(key)
        context.check_privatekey()
    except PermissionError:
        return
    except (OSError, ValueError, SSL.Error) as trouble:
        why = "servers that demand a certificate of us turn this mail away"
        told = str(trouble) if not isinstance(trouble, SSL.Error) else "it is no PEM chain with its own key"
        report.doubtful(written, ("certificate_file",), f"{chain} cannot be used: {told}", why=why, mend=renew)
        return
    left = (facts.not_after - now) / 86400 if facts is not None else days + 1
    if left < days:
        told = f"expired {-left:.0f} days ago" if left < 0 else f"expires in {left:.0f} days"
        why = "servers that demand a certificate of us will turn this mail away"
        report.doubtful(written, ("certificate_file",), f"{chain} {told}", why=why, mend=renew)
