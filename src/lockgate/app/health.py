"""How the service is: alive, ready, and the figures that are not counted but looked at."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockgate.app.backup import restored_from
from lockgate.app.config import OperatorFile
from lockgate.app.meters import Meters, slot_of
from lockgate.app.policies import Policies
from lockgate.app.showing import certificate_files
from lockgate.edge.load import Workload, workloads
from lockgate.mail.findings import Known
from lockgate.seams import Clock
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.recipients import RecipientStore
from lockgate.storage.restoring import RESTORED
from lockgate.storage.summary import QueueSummary, summary_of
from lockgate.wire.certificates import leaf_facts

SILENT = 10.0
"""Seconds after which a worker that says nothing counts as gone."""

LOW_SPACE = 256 * 1024 * 1024
"""Free octets below which workers put new mail off."""

_AGAIN = 10.0
"""Seconds for which the queue's figures are not looked at again: with a million tasks they take a second."""


_SECOND = 1.0


class Gauges(msgspec.Struct, frozen=True):
    """Figures of one moment. `queue` is None when it cannot be read; `certificates`: days left by file."""

    ready: bool
    queue: QueueSummary | None
    at: float
    load: tuple[Workload, ...]
    policy_revision: int
    directory_revision: int
    disk_free: int
    workers_up: int
    alerts: int
    certificates: dict[str, float]


class Health:
    """Looks at one running installation; wired once, in the desk's process. `alerts` counts those that are active."""

    def __init__(
        self, config: OperatorFile, policies: Policies, clock: Clock, meters: Meters,
        listening: Sequence[str] = (), alerts: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        self._config = config
        self._policies = policies
        self._clock = clock
        self._meters = meters
        self._listening = listening
        self._alerts = alerts
        self._keeping = KeeperKeeping(config.state_directory, patience=5.0)
        self._summary: QueueSummary | None = None
        self._summed = float("-inf")
        self._answered = False
        self._asked = float("-inf")

    async def troubles(self) -> list[str]:
        """Why the service cannot do its work now, in sentences; none: it is ready."""
        found = []
        if not await self._keeper_answers():
            found.append("the keeper of the queue does not answer, so no mail is accepted")
        up = self.workers_up()
        if not up:
            found.append("no worker is up, so nobody answers the senders")
        if self.disk_free() < LOW_SPACE:
            reserve = f"{LOW_SPACE // 1024**2} MiB"
            found.append(f"less than {reserve} is free in {self._config.state_directory}, so new mail is put off")
        return found

    async def _keeper_answers(self) -> bool:
        """Asked at most once a second, however often others ask us."""
        now = self._clock.monotonic()
        if now - self._asked >= _SECOND:
            self._answered = await self._ask_keeper()
            self._asked = now
        return self._answered

    async def _ask_keeper(self) -> bool:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(5.0):
                return await self._keeping.answers()
        return False

    def workers_up(self) -> int:
        """How many workers have said within the last seconds that they are well."""
        beats, now = self._meters.beats(), self._clock.monotonic()
        mine = beats[slot_of("worker-0") :]
        return sum(1 for beat in mine if beat and now - beat < SILENT)

    def disk_free(self) -> int:
        """Free octets where the queue lies; 0 if that cannot be told."""
        try:
            there = os.statvfs(self._config.state_directory)
        except OSError:
            return 0
        return there.f_bavail * there.f_frsize

    async def gauges(self) -> Gauges:
        """All figures; never raises."""
        config = self._config
        revision = 0
        with contextlib.suppress(Exception):
            revision = self._policies.in_force().number
        certificates: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError):
            now = self._clock.now()
            certificates = {name: (end - now) / 86400 for name, end in _ends(config).items()}
        return Gauges(
            ready=not await self.troubles(),
            queue=await self._queue(),
            at=self._clock.now(),
            load=self._load(),
            policy_revision=revision,
            directory_revision=self._directory_revision(),
            disk_free=self.disk_free(),
            workers_up=self.workers_up(),
            alerts=self._alerts(),
            certificates=certificates,
        )

    def _directory_revision(self) -> int:
        table = RecipientStore(self._config.recipients_directory).table
        answer = DirectoryTable(table, self._clock).who_is("", "")
        return answer.revision if isinstance(answer, Known) else 0

    async def _queue(self) -> QueueSummary | None:
        now = self._clock.monotonic()
        if now - self._summed >= _AGAIN:
            self._summed = now
            self._summary = None
            with contextlib.suppress(Exception):
                at = self._clock.now()
                self._summary = await asyncio.to_thread(summary_of, self._config.state_directory, at)
        return self._summary

    def _load(self) -> tuple[Workload, ...]:
        """What each worker has to do, by slot; nothing if that cannot be told."""
        with contextlib.suppress(OSError, ValueError):
            return workloads(self._config.run_directory / "load.table", self._config.worker_count)
        return ()

    async def status(self) -> Mapping[str, Any]:
        """What `lockgate status` says."""
        config = self._config
        waiting: object
        try:
            waiting = sum(int(lane.get("tasks", 0)) for lane in await self._keeping.queue_list({}))
        except Exception as trouble:
            waiting = f"unknown: {trouble}"
        troubles = await self.troubles()
        return {
            "hostname": config.hostname,
            "ready": not troubles,
            **({"not_ready_because": troubles} if troubles else {}),
            "listening": ", ".join(self._listening),
            "workers": f"{self.workers_up()} of {config.worker_count} up",
            "policy_revision": self._policies.in_force().number,
            "waiting": waiting,
            "alerts": self._alerts(),
            **await self._restored(),
        }

    async def _restored(self) -> dict[str, str]:
        since = restored_from(self._config.state_directory)
        if not since:
            return {}
        with contextlib.suppress(Exception):
            held = len(await self._keeping.queue_list({"held": f"held by {RESTORED}"}))
            if held:
                what = f"{held} tasks are" if held < 5000 else "5000 tasks and more are"
                see = "see `lockgate queue release --restored --what-if`"
                return {"restored": f"{what} held since the restore of the backup of {since}; {see}"}
        return {}


def _ends(config: OperatorFile) -> dict[str, float]:
    """When each of our certificates ends, by its file's name. Raises OSError, ValueError."""
    files = [Path(one.chain) for one in certificate_files(config)]
    return {file.name: leaf_facts(file.read_bytes()).not_after for file in files}
