"""MTA-STS wired: the policies of others for the couriers and the desk, and what our certificates show to others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.names import resolver_of
from lockgate.app.showing import certificate_files
from lockgate.couriers.reach import Reach
from lockgate.flow.desk.publishing import PublishDesk, ShownKey
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.tls import TlsDesk
from lockgate.probes.trust.sts import StsKeeper, StsTimes
from lockgate.probes.trust.sts_fetch import FetchSettings, HttpsFetch
from lockgate.seams import Clock, Journal
from lockgate.storage.sts_shelf import StsFile
from lockgate.wire.certificates import key_facts

if TYPE_CHECKING:
    from lockgate.app.office import Office

_TURN = 300.0
"""Seconds between two looks at which policies have become old."""


def fetch_of(config: OperatorFile, clock: Clock, listening: Sequence[str]) -> HttpsFetch:
    """Who fetches policies: only from where outgoing connections may go."""
    said = config.mta_sts
    reach = Reach(config.outgoing.allow, listening)
    settings = FetchSettings(str(config.ca_bundle or ""), said.https_port, said.fetch_timeout)
    return HttpsFetch(resolver_of(config, clock, remembers=False), settings, reach.refuses)


def keeper_of(config: OperatorFile, clock: Clock, journal: Journal, listening: Sequence[str]) -> StsKeeper:
    """The policies of others for one process; what it finds is there for all of them."""
    said = config.mta_sts
    return StsKeeper(
        # It remembers nothing: the keeper does, and knows when to ask again.
        resolver_of(config, clock, remembers=False), fetch_of(config, clock, listening), StsFile(config.sts_file),
        clock, journal,
        StsTimes(first=said.first_answer, fetch=said.fetch_timeout, calm=said.retry, age=said.refresh),
    )  # fmt: skip


def courier_sts(
    config: OperatorFile, clock: Clock, journal: Journal, listening: Sequence[str]
) -> StsKeeper | None:
    """The same for a courier; None where the operator wants none of it."""
    return keeper_of(config, clock, journal, listening) if config.mta_sts.fetch else None


def shown_certificates(config: OperatorFile) -> list[tuple[Path, Path]]:
    """Chain and key of the certificates that we show now."""
    return [(Path(one.chain), Path(one.key)) for one in certificate_files(config)]


def shown_keys(config: OperatorFile) -> tuple[ShownKey, ...]:
    """The keys of the certificates that are shown, and of those that are next. Raises OSError, ValueError."""
    now = [(chain, False) for chain, _ in shown_certificates(config)]
    found: list[ShownKey] = []
    for file, following in itertools.chain(now, [(file, True) for file in config.mta_sts.next_keys]):
        try:
            names, spki = key_facts(file.read_bytes())
        except ValueError as trouble:
            raise ValueError(f"{file}: {trouble}") from None
        found.append(ShownKey(str(file), names, spki, following))
    return tuple(found)


class StsRoom:
    """What the desk's process has for MTA-STS."""

    def __init__(self, config: OperatorFile, journal: Journal, listening: Sequence[str]) -> None:
        clock = SystemClock()
        self._config, self._clock, self._journal = config, clock, journal
        self._resolver = resolver_of(config, clock, remembers=False)
        self._fetch = fetch_of(config, clock, listening)
        self.keeper = keeper_of(config, clock, journal, listening)

    def desks(self, office: Office) -> tuple[Section, ...]:
        """The sections of the desk."""
        config = self._config
        return (
            TlsDesk(self.keeper.look, self._resolver, self._clock, config.mta_sts.fetch),
            PublishDesk(
                office.compiled.in_force, self._resolver, self._fetch, lambda: shown_keys(config),
                config.mta_sts.port is not None,
            ),
        )  # fmt: skip

    async def refresh(self) -> None:
        """Have policies fetched anew before they die, until cancelled."""
        said = ""
        while self._config.mta_sts.fetch:
            await asyncio.sleep(min(_TURN, self._config.mta_sts.refresh / 4))
            try:
                await self.keeper.refresh()
                said = ""
            except Exception as trouble:
                if str(trouble) != said:  # a full disk is told once
                    said = str(trouble)
                    self._journal.alarm("MTA-STS policies not refreshed", because=trouble)
