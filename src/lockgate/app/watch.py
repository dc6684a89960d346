"""Looks at queue, next hops, refusals, disk and what else may go wrong from time to time: is a threshold crossed?"""

from __future__ import annotations

import asyncio
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockgate.app.alerts import AlertBook, Notice
from lockgate.app.config_operation import Alerts
from lockgate.seams import Clock, Journal, Keeping, Unavailable

PAUSE = 10.0
"""Seconds between two looks."""

_WINDOW = 60.0
"""Seconds within which refusals are counted."""

Found = dict[tuple[str, str], dict[str, Any]]


class Watch:
    """The thresholds of one installation; wired once, in the desk's process.

    What is wrong goes into `book`, and what that says is new, again or over, goes into the log and to `tell`.
    `refusals` counts all refusals; `others` give what else is wrong, and are asked at each look.
    """

    def __init__(
        self,
        keeping: Keeping,
        alerts: Alerts,
        clock: Clock,
        journal: Journal,
        *,
        state: Path,
        refusals: Callable[[], float] = lambda: 0.0,
        book: AlertBook | None = None,
        tell: Callable[[Sequence[Notice]], None] = lambda notices: None,
        others: Sequence[Callable[[], Found]] = (),
    ) -> None:
        self._keeping = keeping
        self._alerts = alerts
        self._clock = clock
        self._journal = journal
        self._state = state
        self._refusals = refusals
        self._refused: deque[tuple[float, float]] = deque()
        self._book = book or AlertBook()
        self._tell = tell
        self._others = others

    async def run(self, pause: float = PAUSE) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """One look; never raises."""
        found: Found = {}
        try:
            for lane in await self._keeping.queue_list({}):
                found |= self._lane(lane)
        except Unavailable as trouble:
            found["keeper away", ""] = {"because": str(trouble)}
        except Exception as trouble:
            found["queue unreadable", ""] = {"trouble": trouble}
        found |= self._disk()
        found |= self._surge()
        for others in self._others:
            try:
                found |= others()
            except Exception as trouble:
                found["unforeseen", ""] = {"at": "looking for what is wrong", "trouble": trouble}
        try:
            notices = self._book.update(found, self._clock.now())
        except OSError as trouble:
            self._journal.alarm("alerts cannot be kept", trouble=trouble)
            return
        for notice in notices:
            self._note(notice, found)
        self._tell(notices)

    def _note(self, notice: Notice, found: Found) -> None:
        alert = notice.alert
        match notice.kind:
            case "raised":
                self._journal.alarm(alert.what, **found[alert.what, alert.which])
            case "over":
                self._journal.note("over", what=alert.what, which=alert.which)
            case _:
                self._journal.note("still", what=alert.what, which=alert.which, alert=alert.id)

    def _lane(self, lane: Mapping[str, Any]) -> Found:
        name, tasks = str(lane.get("lane", "")), int(lane.get("tasks") or 0)
        oldest, why = lane.get("oldest"), lane.get("why", "")
        waiting = tasks - int(lane.get("held") or 0)
        found: Found = {}
        if waiting >= self._alerts.queued_messages:
            found["many messages wait", name] = {"lane": name, "count": waiting, "because": why}
        if waiting and isinstance(oldest, int | float) and oldest > 0:
            age = self._clock.now() - oldest
            if age >= self._alerts.oldest_message:
                found["a message waits long", name] = {"lane": name, "minutes": int(age // 60), "because": why}
        fails = int(lane.get("fails") or 0)
        if fails >= self._alerts.connector_failures:
            found["a next hop cannot be reached", name] = {"lane": name, "failures": fails, "because": why}
        return found

    def _disk(self) -> Found:
        try:
            free = shutil.disk_usage(self._state).free
        except OSError as trouble:
            return {("state directory unreadable", ""): {"folder": str(self._state), "trouble": trouble}}
        if free < self._alerts.disk_free:
            return {("disk nearly full", ""): {"folder": str(self._state), "free_mib": free // 1024**2}}
        return {}

    def _surge(self) -> Found:
        now, count = self._clock.monotonic(), self._refusals()
        seen = self._refused
        if seen and seen[-1][1] > count:
            seen.clear()  # the service was started anew
        seen.append((now, count))
        while len(seen) > 1 and now - seen[1][0] >= _WINDOW:
            seen.popleft()
        refused = int(count - seen[0][1])
        if refused >= self._alerts.refusals:
            return {("many refusals", ""): {"count": refused, "seconds": int(now - seen[0][0])}}
        return {}
