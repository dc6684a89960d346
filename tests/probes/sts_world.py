"""A world for MTA-STS: a real web server with certificates of this run, a real DNS server, and keepers of policies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lockgate.couriers.reach import Reach
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sts import StsKeeper, StsTimes
from lockgate.probes.trust.sts_fetch import FetchSettings, HttpsFetch
from lockgate.storage.sts_shelf import StsFile
from lockgate.testing.journal import ListJournal
from peers.certificates import Authority, Papers
from peers.dns_server import DnsServer
from peers.policy_server import PolicyServer

DAY = 86400.0


class MovedClock:
    """The real time, and as much more as the test says."""

    def __init__(self) -> None:
        self.more = 0.0

    def now(self) -> float:
        return time.time() + self.more

    def monotonic(self) -> float:
        return time.monotonic() + self.more


@dataclass
class World:
    """A web server, a DNS server, and what keeps policies; more keepers on the same shelf are other workers."""

    dns: DnsServer
    web: PolicyServer
    authority: Authority
    clock: MovedClock
    journal: ListJournal
    shelf: StsFile
    folder: Path

    def fetch(self, seconds: float = 5.0, allowed: tuple[str, ...] = ("127.0.0.0/8",), own: tuple[str, ...] = ()):
        reach = Reach(allowed, own)
        settings = FetchSettings(str(self.authority.file), self.web.port, seconds)
        return HttpsFetch(self.resolver(), settings, reach.refuses)

    def resolver(self) -> DnsResolver:
        return DnsResolver((self.dns.address,), self.clock, 2.0, size=0)

    def keeper(self, *, other_process: bool = False, **times: float) -> StsKeeper:
        shelf = StsFile(self.folder / "sts.sqlite") if other_process else self.shelf
        return StsKeeper(self.resolver(), self.fetch(), shelf, self.clock, self.journal, StsTimes(**times))

    def announce(self, domain: str, name: str = "1", address: str = "127.0.0.1") -> None:
        self.dns.zone[f"_mta-sts.{domain}", "TXT"] = [f'"v=STSv1; id={name};"']
        self.dns.zone[f"mta-sts.{domain}", "A"] = [address]

    def publish(self, domain: str, name: str = "1", text: str = "") -> None:
        self.announce(domain, name)
        self.web.publish(domain, text)


@contextlib.asynccontextmanager
async def world_of(
    folder: Path, papers: Papers | None = None, authority: Authority | None = None
) -> AsyncIterator[World]:
    authority = authority or Authority(folder)
    papers = papers or authority.issue(*[f"mta-sts.{name}.test" for name in ("far", "other", "d1")])
    async with DnsServer({}) as dns, PolicyServer(papers.server_context()) as web:
        shelf = StsFile(folder / "sts.sqlite")
        yield World(dns, web, authority, MovedClock(), ListJournal(), shelf, folder)
        shelf.close()


async def settled(keeper: StsKeeper) -> None:
    """Wait for what goes on in the background."""
    while keeper._looking:
        await asyncio.wait([task for _, task in keeper._looking.values()])
