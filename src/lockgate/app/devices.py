"""Devices in the desk's process: counts taken from the workers, kept within bounds, and weighed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.connector_watch import ConnectorWatch, block_id
from lockgate.flow.desk.blocks import BlockDesk
from lockgate.flow.desk.devices import DeviceDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.devices import DeviceWatch
from lockgate.flow.suspicion import Thresholds
from lockgate.mail.redaction import Discretion
from lockgate.seams import Clock, Journal, Unavailable
from lockgate.storage.audits import AuditBook
from lockgate.storage.blocks import BlockFile
from lockgate.storage.device_batches import DeviceTally, batches_waiting
from lockgate.storage.devices import NOT_KEPT, DeviceBook
from lockgate.storage.keeping import KeeperKeeping

if TYPE_CHECKING:
    from lockgate.app.office import Office

TURN = 1.0
"""Seconds between two looks at what the workers have left."""

LOOK = 5.0
"""Seconds between two looks at the connectors."""

_BATCHES_AT_ONCE = 200
_PRUNE = 3600.0
_T = TypeVar("_T")


def folder_of(config: OperatorFile) -> Path:
    """Where the counts of devices lie."""
    return config.state_directory / "devices"


class DeviceCounts:
    """What one worker counts of devices; made once by each."""

    def __init__(
        self, config: OperatorFile, slot: int, clock: Clock, journal: Journal, discretion: Discretion
    ) -> None:
        self._tally = DeviceTally(folder_of(config), slot, clock, journal)
        self.watch = DeviceWatch(self._tally, discretion, journal)

    def keep(self, *, at_once: bool = False) -> None:
        """Pass on what was counted, if it is time. Never raises."""
        self._tally.keep(at_once=at_once)


class DeviceOffice:
    """Implements DeviceBooks of the desk, and does what has to be done by itself (`run`)."""

    def __init__(self, office: Office) -> None:
        config = office.config
        self._office, self._clock, self._journal = office, SystemClock(), office.journal
        self._folder = folder_of(config)
        self._book = DeviceBook(self._folder)
        self.blocks = BlockFile(config.state_directory)
        said = config.connector_watch
        limits = Thresholds(
            said.window, said.least_messages, said.volume_factor, said.history, said.mismatched, said.unregistered,
            said.returned, said.signs,
        )  # fmt: skip
        self.watch = ConnectorWatch(
            self._book, self.blocks, KeeperKeeping(config.state_directory), AuditBook(config.state_directory),
            office.audit, self._clock, office.journal, office.policy, limits, said.act,
        )  # fmt: skip
        self._taking = asyncio.Lock()

    def sections(self) -> tuple[Section, ...]:
        """What the desk answers about devices and blocks."""
        office = self._office
        return (
            DeviceDesk(self, office.policy, office.privacy.redactor),
            BlockDesk(self.blocks, office.audit, self._clock, office.policy, block_id),
        )

    async def run(self) -> None:
        """Go on for as long as the process lives."""
        await asyncio.gather(
            self._again(self.take, TURN), self._again(self.watch.look, LOOK), self._again(self.prune, _PRUNE)
        )

    async def _again(self, work: Callable[[], Awaitable[object]], pause: float) -> None:
        troubled = ""
        while True:
            await asyncio.sleep(min(pause, LOOK))
            try:
                await work()
                troubled = ""
            except Exception as trouble:  # whatever is wrong now, what comes later must be looked at
                if troubled != str(trouble):  # told once, not every second
                    self._journal.alarm("devices cannot be looked after", because=str(trouble))
                troubled = str(trouble)
            await asyncio.sleep(max(0.0, pause - LOOK))

    async def take(self) -> None:
        """Take what the workers have counted. Raises Unavailable."""
        async with self._taking:  # a file that two take at once would be counted twice
            await self._ask(self._take)

    def _take(self) -> None:
        waiting = list(itertools.islice(batches_waiting(self._folder), _BATCHES_AT_ONCE))
        if not waiting:
            return
        self._book.take([(path.name, batch) for path, batch in waiting if batch is not None])
        for path, batch in waiting:
            if batch is None:
                self._journal.note("counts of devices lost", file=path.name, because="the file is damaged")
            path.unlink(missing_ok=True)
        self._book.forget([path.name for path, _ in waiting])

    async def prune(self) -> None:
        """Delete what is older than it may get, and what its organisation does not want kept. Raises Unavailable."""
        await self._ask(self._book.prune, self._clock.now(), self._life)

    def _life(self, organisation: str) -> float | None:
        redactor = self._office.privacy.redactor(organisation)
        return None if redactor is not None and not redactor.facts else self._office.privacy(organisation).life

    async def devices(self, organisation: str, limit: int) -> Sequence[Mapping[str, Any]]:
        """See DeviceBooks."""
        await self.take()
        return await self._ask(self._book.devices, organisation, limit)

    async def device(self, host: str, organisation: str) -> Sequence[Mapping[str, Any]]:
        """See DeviceBooks."""
        await self.take()
        return await self._ask(self._book.device, host, organisation)

    async def _ask(self, work: Callable[..., _T], *given: Any) -> _T:
        try:
            return await asyncio.to_thread(work, *given)
        except NOT_KEPT as trouble:
            raise Unavailable(f"the devices cannot be read or written: {trouble}") from None
