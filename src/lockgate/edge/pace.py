"""How the octets of one message arrive: without a stop, not too slowly, not for too long (RFC 5321 4.5.3.2.5)."""

from __future__ import annotations

from lockgate.edge.settings import DoorSettings
from lockgate.mail import replies
from lockgate.mail.reply import Reply
from lockgate.wire.smtp.server import ServerSession


class Pace:
    """Of one message; made when its octets begin. Times in monotonic seconds, sizes in octets.

    The rate is that of the time in which octets are awaited: between two chunks the window stands still, and how long
    that may last is the deadline of a command. The time for the whole message goes on.
    """

    __slots__ = ("_due", "_ends", "_left", "_seen")

    def __init__(self, now: float, size: int, settings: DoorSettings) -> None:
        self._ends = now + settings.data_timeout
        self._due = now + settings.rate_window
        self._seen = size
        self._left = -1.0  # of the window, while it stands still

    def awaited(self, now: float) -> float:
        """Octets are awaited: when to look at them."""
        if self._left >= 0:
            self._due, self._left = now + self._left, -1.0
        return min(self._due, self._ends)

    def rests(self, now: float) -> float:
        """A chunk is complete and the next has not begun: when it is over at the latest."""
        if self._left < 0:
            self._left = max(self._due - now, 0.0)
        return self._ends

    def look(self, now: float, size: int, settings: DoorSettings) -> float | Reply:
        """When to look again, or why it is cut off."""
        if now >= self._ends:
            return replies.TOO_LONG
        if self._left >= 0:
            return replies.TIMED_OUT  # no next chunk has begun in the time of a command
        if size - self._seen < settings.min_rate * settings.rate_window:
            return replies.TOO_SLOW
        return self._again(now, size, settings)

    def heard(self, now: float, size: int, settings: DoorSettings, *, lone_end: bool) -> float:
        """When to look again, after octets of an old device: soon, if its message seems to be over."""
        again = self._again(now, size, settings)
        return min(again, now + settings.silence) if lone_end else again

    def _again(self, now: float, size: int, settings: DoorSettings) -> float:
        self._seen = size
        self._due = now + settings.rate_window
        return min(self._due, self._ends)


def timed(pace: Pace | None, session: ServerSession, now: float, settings: DoorSettings) -> tuple[Pace, float]:
    """The pace of the message that is under way, and the deadline of what is awaited now: its octets, or a chunk."""
    pace = pace or Pace(now, session.heard, settings)
    if session.between_chunks:
        return pace, min(now + settings.command_timeout, pace.rests(now))
    if session.mends:
        return pace, pace.heard(now, session.heard, settings, lone_end=session.lone_end)
    return pace, pace.awaited(now)
