"""Alarms that come again and again: told once, then counted, then told to be over; a flood of lines helps nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

EVERY = 5.0
"""Seconds between two lines about the same trouble; what happens in between is counted."""

OVER = 15.0
"""Seconds without the trouble after which it is said to be over."""

VARIANTS = 8
"""Details by which alarms of one name are told apart; whatever comes beyond them is counted together."""

_OF_ONE = frozenset({"id", "peer", "task", "pid"})
"""Details that name one message or connection: the trouble is the same for the next one."""

Key = tuple[str, tuple[tuple[str, str], ...]]


class Told(NamedTuple):
    """A line to be written about a trouble; `alarm` is false for the one that says it is over."""

    happening: str
    details: dict[str, object]
    alarm: bool


class _Trouble(msgspec.Struct):
    details: dict[str, object]
    told: float
    last: float
    held: int = 0
    times: int = 1


class Storms:
    """Which alarms are told now and which are counted; times are seconds of a monotonic clock. For any thread."""

    def __init__(self) -> None:
        self._troubles: dict[Key, _Trouble] = {}
        self._changing = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether `due` has to be asked from time to time."""
        return bool(self._troubles)

    def heard(self, happening: str, details: Mapping[str, object], now: float) -> Told | None:
        """An alarm: what is to be written of it now, or None if it is counted."""
        key = _key(happening, details)
        with self._changing:
            if key not in self._troubles and self._variants(happening) >= VARIANTS:
                key = (happening, ())
            trouble = self._troubles.get(key)
            if trouble is None:
                self._troubles[key] = _Trouble(dict(details), now, now)
                return Told(happening, dict(details), alarm=True)
            trouble.details, trouble.last = dict(details), now
            trouble.held += 1
            trouble.times += 1
            return _counted(happening, trouble, now) if now - trouble.told >= EVERY else None

    def due(self, now: float, *, last: bool = False) -> list[Told]:
        """What has to be written although nothing new happened; with `last` nothing is left untold."""
        with self._changing:
            return list(self._due(now, last=last))

    def _due(self, now: float, *, last: bool) -> Iterator[Told]:
        for key, trouble in list(self._troubles.items()):
            if trouble.held and (last or now - trouble.told >= EVERY):
                yield _counted(key[0], trouble, now)
            if now - trouble.last >= OVER:
                del self._troubles[key]
                if trouble.times > 1:
                    yield Told("over", {"what": key[0], **dict(key[1]), "times": trouble.times}, alarm=False)

    def _variants(self, happening: str) -> int:
        return sum(name == happening for name, _ in self._troubles)


def _counted(happening: str, trouble: _Trouble, now: float) -> Told:
    details = {**trouble.details, "times": trouble.held, "seconds": round(now - trouble.told)}
    trouble.told, trouble.held = now, 0
    return Told(happening, details, alarm=True)


def _key(happening: str, details: Mapping[str, object]) -> Key:
    said = [(name, f"{value}"[:200]) for name, value in details.items() if name not in _OF_ONE]
    return happening, tuple(said)
