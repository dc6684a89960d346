"""Happenings to log lines: never blocks, never raises; what cannot be written is counted."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lockgate.app.lines import Stamp, cleaned, json_line, line
from lockgate.app.storms import Storms, Told
from lockgate.seams import Clock

WAITING = 20_000
"""Lines that may wait for a slow disk or a full pipe; more are dropped and counted."""

ALARMS_KEPT = 200
"""Alarms that `recent_alarms` can show at most."""

_Happening = tuple[float, str, Mapping[str, object], bool]
"""Seconds since the epoch, what happened, its details, and whether it is an alarm."""

_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
"""What stays what it is; most details are of these."""

_BATCH_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_ALARM_FILE_OCTETS = 512 * 1024


class SilentJournal:
    """seams.Journal for commands that look at things and tell a person themselves."""

    def note(self, happening: str, **details: object) -> None:
        """Say nothing."""

    def alarm(self, happening: str, **details: object) -> None:
        """Say nothing."""


class LineJournal:
    """seams.Journal for one process: a thread of its own makes the lines and writes them, many in a row.

    `write` puts octets where they belong and may block or raise; it is called from the writer thread only.
    `form` is lines.line or lines.json_line; lines name `host`, as those of syslog do. Alarms are also appended to
    `alarms` (one JSON object a line), from which every process of the installation can show them. An alarm that comes
    again and again is told every few seconds with a count (see storms). Make one after the process was started, not
    before a fork.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        clock: Clock,
        *,
        role: str,
        form: Callable[..., bytes] = line,
        alarms: Path | None = None,
        host: str = "",
    ) -> None:
        self._write = write
        self._clock = clock
        self._origin = f"lockgate/{role}[{os.getpid()}]"
        if host and form is line:
            self._origin = f"{host} {self._origin}"
        self._form = form
        self._alarms = alarms
        self._stamp, self._alarm_stamp = Stamp(), Stamp()
        self._storms = Storms()
        self._waiting: deque[_Happening] = deque()
        self._alarms_waiting: deque[bytes] = deque()
        self._something = threading.Event()
        self._counting = threading.Lock()
        self._written = threading.Condition(self._counting)
        self._noted = 0
        self._done = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def note(self, happening: str, **details: object) -> None:
        """Note one thing. Never blocks, never raises."""
        self._put(happening, details, alarm=False)

    def alarm(self, happening: str, **details: object) -> None:
        """Note what a person has to see tonight; what comes again and again is counted."""
        try:
            told = self._storms.heard(happening, details, self._clock.monotonic())
        except Exception:  # Details that cannot even be compared are no reason to hide the alarm.
            told = Told(happening, dict(details), alarm=True)
        if told is not None:
            self._put(told.happening, told.details, alarm=True)

    def flush(self, patience: float = 5.0) -> bool:
        """Wait until everything noted so far is written; False if that took longer than `patience` seconds."""
        with self._written:
            upto = self._noted
            return self._written.wait_for(lambda: self._done >= upto, patience)

    def close(self, patience: float = 5.0) -> None:
        """Write what is waiting and end the writer thread."""
        self._tell_storms(last=True)
        self.flush(patience)
        self._closing = True
        self._something.set()
        if self._thread is not None:
            self._thread.join(patience)

    def _tell_storms(self, *, last: bool = False) -> None:
        for told in self._storms.due(self._clock.monotonic(), last=last):
            self._put(told.happening, told.details, alarm=told.alarm, kept=True)

    def _put(self, happening: str, details: Mapping[str, object], *, alarm: bool, kept: bool = False) -> None:
        try:
            if len(self._waiting) >= WAITING:
                self.dropped += 1
                return
            now = self._clock.now()
            # What may be another thing by the time the thread comes to it is put into words at once.
            fixed = details if _PLAIN.issuperset(map(type, details.values())) else _worded(details)
            if (alarm or kept) and self._alarms is not None:
                when = self._alarm_stamp.at(now)
                self._alarms_waiting.append(json_line(when, self._origin, happening, fixed, alarm=alarm))
            with self._counting:
                self._waiting.append((now, happening, fixed, alarm))
                self._noted += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
                self._thread.start()
            # The writer clears it before it looks how many lines wait, so a set one is seen to include this line.
            if not self._something.is_set():
                self._something.set()
        except Exception:  # A log line is never worth a message: whatever is wrong with it, it is dropped.
            self.dropped += 1

    def _write_all(self) -> None:
        told = 0
        pause = threading.Event()
        while not (self._closing and not self._waiting):
            self._something.wait(_LOOK_SECONDS if self._storms.open else None)
            self._something.clear()
            if not self._closing:
                self._tell_storms()
                pause.wait(_BATCH_SECONDS)
            lines = len(self._waiting)
            batch = b"".join([self._line_of(*self._waiting.popleft()) for _ in range(lines)])
            untold, lost = told, self.dropped - told
            if lost:
                told = self.dropped
                batch += self._line_of(self._clock.now(), "lines dropped", {"count": lost}, alarm=True)
            if batch:
                try:
                    self._write(batch)
                except (OSError, ValueError):
                    self.dropped, told = self.dropped + lines, untold
            alarms = len(self._alarms_waiting)
            self._keep_alarms(b"".join([self._alarms_waiting.popleft() for _ in range(alarms)]))
            with self._written:
                self._done += lines
                self._written.notify_all()

    def _line_of(self, now: float, happening: str, details: Mapping[str, object], alarm: bool) -> bytes:
        try:
            return self._form(self._stamp.at(now), self._origin, happening, details, alarm=alarm)
        except Exception:  # A log line is never worth the others: whatever is wrong with it, it is dropped.
            self.dropped += 1
            return b""

    def _keep_alarms(self, batch: bytes) -> None:
        if not batch or self._alarms is None:
            return
        with contextlib.suppress(OSError):
            self._alarms.parent.mkdir(parents=True, exist_ok=True)
            if self._alarms.exists() and self._alarms.stat().st_size > _ALARM_FILE_OCTETS:
                self._alarms.replace(self._alarms.with_name(self._alarms.name + ".1"))
            with self._alarms.open("ab", buffering=0) as file:
                file.write(batch)


def _worded(details: Mapping[str, object]) -> dict[str, object]:
    return {name: value if type(value) in _PLAIN else cleaned(value) for name, value in details.items()}


def recent_alarms(path: Path, count: int = 20) -> list[dict[str, Any]]:
    """The last alarms of all processes, newest last; none if the file is missing or damaged."""
    found: deque[dict[str, Any]] = deque(maxlen=min(count, ALARMS_KEPT))
    for name in (path.with_name(path.name + ".1"), path):
        with contextlib.suppress(OSError):
            for text in name.read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError):
                    record = json.loads(text)
                    if isinstance(record, dict):
                        found.append(record)
    return list(found)


def writer_to(destination: str) -> Callable[[bytes], object]:
    """What writes to "stderr", "stdout" or a file (appended to, opened anew after a log rotator moved it)."""
    match destination:
        case "stderr" | "stdout":
            descriptor = 2 if destination == "stderr" else 1
            return lambda data: _write_whole(descriptor, data)
        case _:
            return _Appender(Path(destination)).write


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


class _Appender:
    """A log file that survives being rotated: before each batch its name is compared with what is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def write(self, data: bytes) -> None:
        try:
            there = self._path.stat()
        except OSError:
            there = None
        if self._descriptor >= 0:
            mine = os.fstat(self._descriptor)
            if there is None or (there.st_ino, there.st_dev) != (mine.st_ino, mine.st_dev):
                os.close(self._descriptor)
                self._descriptor = -1
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        _write_whole(self._descriptor, data)


def start_journal(
    clock: Clock, *, role: str, form: str, destination: str, alarms: Path | None, host: str = ""
) -> LineJournal:
    """The journal of one process as the operator's file wishes: `form` is "lines" or "json"."""
    shape = json_line if form == "json" else line
    return LineJournal(writer_to(destination), clock, role=cleaned(role), form=shape, alarms=alarms, host=host)
