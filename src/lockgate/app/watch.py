"""Looks at the queue, the disk and the certificates from time to time, and alarms when a threshold is crossed."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockgate.app.config_operation import Alerts
from lockgate.seams import Clock, Journal, Keeping, Unavailable
from lockgate.wire.certificates import certificate_facts

PAUSE = 10.0
"""Seconds between two looks."""


class Watch:
    """The thresholds of one installation; wired once, in the desk's process.

    A crossing is told once; when the value is back on the right side, that is noted, and the next one is told again.
    `certificates` gives the end of validity in seconds since the epoch by name, and is asked at each look.
    """

    def __init__(
        self,
        keeping: Keeping,
        alerts: Alerts,
        clock: Clock,
        journal: Journal,
        *,
        state: Path,
        certificates: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._keeping = keeping
        self._alerts = alerts
        self._clock = clock
        self._journal = journal
        self._state = state
        self._certificates = certificates
        self._told: set[tuple[str, str]] = set()

    async def run(self, pause: float = PAUSE) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """One look; never raises."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        try:
            for lane in await self._keeping.queue_list({}):
                found |= self._lane(lane)
        except Unavailable as trouble:
            found["keeper away", ""] = {"because": str(trouble)}
        except Exception as trouble:
            found["queue unreadable", ""] = {"trouble": trouble}
        found |= self._disk()
        try:
            found |= self._expiring()
        except Exception as trouble:
            found["certificate unreadable", ""] = {"trouble": trouble}
        for (what, which), details in found.items():
            if (what, which) not in self._told:
                self._journal.alarm(what, **details)
        for what, which in self._told - set(found):
            self._journal.note("over", what=what, which=which)
        self._told = set(found)

    def _lane(self, lane: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        name, tasks = str(lane.get("lane", "")), int(lane.get("tasks") or 0)
        oldest, why = lane.get("oldest"), lane.get("why", "")
        waiting = tasks - int(lane.get("held") or 0)
        found: dict[tuple[str, str], dict[str, Any]] = {}
        if waiting >= self._alerts.queued_messages:
            found["many messages wait", name] = {"lane": name, "count": waiting, "because": why}
        if waiting and isinstance(oldest, int | float) and oldest > 0:
            age = self._clock.now() - oldest
            if age >= self._alerts.oldest_message:
                found["a message waits long", name] = {"lane": name, "minutes": int(age // 60), "because": why}
        return found

    def _disk(self) -> dict[tuple[str, str], dict[str, Any]]:
        try:
            free = shutil.disk_usage(self._state).free
        except OSError as trouble:
            return {("state directory unreadable", ""): {"folder": str(self._state), "trouble": trouble}}
        if free < self._alerts.disk_free:
            return {("disk nearly full", ""): {"folder": str(self._state), "free_mib": free // 1024**2}}
        return {}

    def _expiring(self) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for name, ends in self._certificates().items():
            days = (ends - self._clock.now()) / 86400
            if days < self._alerts.certificate_days:
                found["certificate ends soon", name] = {"certificate": name, "days": round(days, 1)}
        return found


def ends_of(chains: Sequence[Path]) -> dict[str, float]:
    """When each of our certificates ends, by file. Raises OSError, ValueError for what cannot be read."""
    ends = {}
    for chain in chains:
        _, mark, rest = chain.read_text("ascii", "replace").partition(ssl.PEM_HEADER)
        first = mark + rest.partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER
        ends[str(chain)] = certificate_facts(ssl.PEM_cert_to_DER_cert(first)).not_after
    return ends
