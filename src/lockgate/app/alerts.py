"""Alerts: what is wrong now, told once, repeated until somebody takes it, and told to be over when it has settled.

Kept in a file, so that a restart neither tells everything again nor forgets who took what.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

MOST_OVER = 200
"""Alerts kept after they are over."""


class Alert(msgspec.Struct, frozen=True):
    """One thing that is or was wrong: `what` is wrong with `which` (a next hop, a file, "").

    Times are seconds since the epoch, 0 for never: `since` it is wrong, `seen` last, `told` last, `taken` by `taken_by`
    (who wants to hear no more of it), `over` since.
    """

    id: str
    what: str
    which: str
    details: dict[str, Any]
    since: float
    seen: float
    told: float
    taken: float = 0.0
    taken_by: str = ""
    over: float = 0.0

    @property
    def active(self) -> bool:
        """Whether somebody should look at it."""
        return not self.over and not self.taken


class Notice(msgspec.Struct, frozen=True):
    """Something to tell: `kind` is raised, repeated or over."""

    kind: str
    alert: Alert


Found = Mapping[tuple[str, str], Mapping[str, object]]
"""What is wrong at one look: (what, which) -> details."""


class AlertBook:
    """All alerts of one installation; wired once. Without `path` nothing is kept over a restart.

    `repeat`: seconds until an alert is told again; `settle`: seconds for which it must be well to be over.
    """

    def __init__(self, path: Path | None = None, *, repeat: float = float("inf"), settle: float = 0.0) -> None:
        self._path = path
        self._repeat = repeat
        self._settle = settle
        self._alerts: list[Alert] = []
        if path is not None:
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                self._alerts = msgspec.json.decode(path.read_bytes(), type=list[Alert])

    def listed(self) -> list[Alert]:
        """All that are kept, newest first."""
        return sorted(self._alerts, key=lambda alert: -alert.since)

    def active(self) -> int:
        """How many somebody should look at."""
        return sum(alert.active for alert in self._alerts)

    def update(self, found: Found, now: float) -> list[Notice]:
        """Take in one look; what is to be told now. Raises OSError when it cannot be kept."""
        notices: list[Notice] = []
        known: set[tuple[str, str]] = set()
        alerts: list[Alert] = []
        for alert in self._alerts:
            if not alert.over:
                known.add((alert.what, alert.which))
                alert, kind = self._again(alert, found.get((alert.what, alert.which)), now)
                if kind:
                    notices.append(Notice(kind, alert))
            alerts.append(alert)
        for (what, which), details in found.items():
            if (what, which) not in known:
                fresh = Alert(_id(what, which, now), what, which, _plain(details), now, now, now)
                alerts.append(fresh)
                notices.append(Notice("raised", fresh))
        over = sorted((one for one in alerts if one.over), key=lambda alert: -alert.over)[:MOST_OVER]
        self._alerts = [one for one in alerts if not one.over] + over
        if notices:
            self._keep()
        return notices

    def _again(self, alert: Alert, details: Mapping[str, object] | None, now: float) -> tuple[Alert, str]:
        if details is None:
            if now - alert.seen >= self._settle:
                return msgspec.structs.replace(alert, over=now), "over"
            return alert, ""
        alert = msgspec.structs.replace(alert, seen=now, details=_plain(details))
        if not alert.taken and now - alert.told >= self._repeat:
            return msgspec.structs.replace(alert, told=now), "repeated"
        return alert, ""

    def take(self, names: list[str], by: str, now: float) -> list[Alert]:
        """Somebody looks after these (ids, or none for all that are active); those it changed. Raises OSError."""
        changed = []
        for number, alert in enumerate(self._alerts):
            if alert.active and (not names or alert.id in names):
                self._alerts[number] = msgspec.structs.replace(alert, taken=now, taken_by=by)
                changed.append(self._alerts[number])
        if changed:
            self._keep()
        return changed

    def _keep(self) -> None:
        if self._path is None:
            return
        early = self._path.with_name(f".{self._path.name}.new")
        with early.open("wb") as file:
            file.write(msgspec.json.encode(self._alerts))
            file.flush()
            os.fsync(file.fileno())
        early.replace(self._path)


def _id(what: str, which: str, now: float) -> str:
    return hashlib.sha256(f"{what}\0{which}\0{now!r}".encode()).hexdigest()[:8]


def _plain(details: Mapping[str, object]) -> dict[str, Any]:
    return {name: value if isinstance(value, int | float) else str(value) for name, value in details.items()}


def sentence(alert: Alert) -> str:
    """The alert in words, on one line."""
    told = ", ".join(f"{name}: {value}" for name, value in alert.details.items() if value not in ("", None))
    return f"{alert.what}: {told}" if told else alert.what
