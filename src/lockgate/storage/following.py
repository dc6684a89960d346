"""Following the trace: which rows are new or have changed since a mark that outlives the keeper."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.events import Event
from lockgate.mail.redaction import Redactor
from lockgate.storage.frames import unpack_events
from lockgate.storage.refused import find_refused, newest_refusal
from lockgate.storage.trace_filters import UnknownFilter, wanted
from lockgate.storage.traces import LAST, day_files, reader, rows_of

MOST = 5000
"""Refusals told at once."""

LOOK_BACK = 2.0
"""Seconds: after the keeper has been started again, rows that happened so long before the last look are told again."""

_EVENT = msgspec.msgpack.Decoder(Event)


class Mark(msgspec.Struct, frozen=True):
    """How far somebody has seen: the keeper's memory and batch, the newest refusal, and when that was."""

    epoch: str
    batch: str
    refusal: int
    at: float

    @property
    def text(self) -> str:
        """As it travels."""
        return f"{self.epoch}-{self.batch}-{self.refusal:x}-{self.at!r}"


def read_mark(text: str) -> Mark:
    """The mark in this text. Raises UnknownFilter."""
    try:
        epoch, batch, refusal, at = text.split("-", 3)
        return Mark(epoch, batch, int(refusal, 16), float(at))
    except ValueError:
        raise UnknownFilter(f"'{text[:60]}' is no mark of an earlier answer") from None


def first_mark(folder: Path, told: Sequence[Any]) -> Mark:
    """From now on."""
    epoch, batch, _, now = told
    return Mark(epoch, str(batch), newest_refusal(folder), now)


def changed(
    queue: Path, folder: Path, filters: Mapping[str, str], mark: Mark, told: Sequence[Any], masks: Sequence[Redactor]
) -> tuple[list[dict[str, Any]], Mark]:
    """Rows since the mark, oldest first, and the next mark. `told` is the keeper's answer about its changes."""
    epoch, batch, numbers, now = told
    search = wanted(filters, masks)
    if numbers is None:
        numbers = _happened_since(queue, folder, mark.at - LOOK_BACK)
    rows = [row for _, row in rows_of(queue, folder, numbers, search)] if search.messages else []
    newest = newest_refusal(folder)
    seen = mark.refusal if newest >= mark.refusal else 0  # the file was begun anew
    if search.refusals:
        refused = find_refused(folder, search, MOST, LAST, seen)
        rows = sorted([*rows, *(row for _, row in refused)], key=lambda row: float(row["received"]))
        newest = max([newest, *(number for number, _ in refused)])
    return rows, Mark(epoch, str(batch), newest, now)


def _happened_since(queue: Path, folder: Path, at: float) -> list[int]:
    """Rows of the queue, and of the newest day, whose last event is as young as this."""

    def last(events: bytes) -> float:
        found = unpack_events(events)
        return _EVENT.decode(found[-1]).at if found else 0.0

    numbers: list[int] = []
    for path in (queue, *(path for _, path in day_files(folder)[:1])):
        with contextlib.suppress(Exception), contextlib.closing(reader(path)) as db:
            db.create_function("lockgate_last", 1, last, deterministic=True)
            # What has moved to a day's file lately was accepted lately, or waited long and is among its last.
            query = "SELECT number FROM (SELECT number, events FROM trace ORDER BY number DESC LIMIT 200000)"
            numbers += [number for (number,) in db.execute(f"{query} WHERE lockgate_last(events) >= ?", (at,))]
    return numbers
