"""How the octets of one message arrive: they must not stop, nor come too slowly (RFC 5321 4.5.3.2.5)."""

from __future__ import annotations

from lockgate.edge.settings import DoorSettings
from lockgate.mail import replies
from lockgate.mail.reply import Reply


class Pace:
    """Of one message; made when its octets begin. Times in monotonic seconds, sizes in octets."""

    __slots__ = ("_seen", "_started")

    def __init__(self, now: float, size: int) -> None:
        self._started = now
        self._seen = size

    def first(self, settings: DoorSettings) -> float:
        """When to look for the first time."""
        return self._started + min(settings.rate_window, settings.data_timeout)

    def look(self, now: float, size: int, settings: DoorSettings) -> float | Reply:
        """When to look again, or why it is cut off."""
        if now - self._started >= settings.data_timeout:
            return replies.TIMED_OUT
        if size - self._seen < settings.min_rate * settings.rate_window:
            return replies.TOO_SLOW
        return self._again(now, size, settings)

    def heard(self, now: float, size: int, settings: DoorSettings, *, lone_end: bool) -> float:
        """When to look again, after octets of an old device: soon, if its message seems to be over."""
        again = self._again(now, size, settings)
        return min(again, now + settings.silence) if lone_end else again

    def _again(self, now: float, size: int, settings: DoorSettings) -> float:
        self._seen = size
        return min(now + settings.rate_window, self._started + settings.data_timeout)
