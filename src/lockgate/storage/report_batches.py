"""How reports get from the workers to the one process that keeps them: small files in a folder, taken and removed.

A worker counts in memory and writes what is new every other second; so much is lost when it is killed, and counts of
messages are worth no more. A file is whole or not there. What the folder cannot take stays counted, within bounds.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lockgate.mail.reports.counted import DAY, Arrived, Batch, Failed, Seen, TlsPublished, TlsSeen
from lockgate.seams import Clock, Journal
from lockgate.storage.batch_files import files, named, put, read

PAUSE = 2.0
"""Seconds between two writings of one worker."""

MOST_COUNTED = 20_000
"""Different rows that one worker holds in memory; further ones are counted without their row."""

MOST_FAILED = 200
"""Failures that one worker holds in memory."""

MOST_WAITING = 5_000
"""Files of counts that may wait for the process that takes them."""

MOST_LETTERS = 500
"""Letters that may wait to be read."""

MOST_OCTETS = 512 * 1024 * 1024
"""Octets of all letters that may wait."""

_HOURS_KNOWN = 10_000

_ENCODER = msgspec.msgpack.Encoder()
_BATCH = msgspec.msgpack.Decoder(Batch)
_ARRIVED = msgspec.msgpack.Decoder(Arrived)


class Tally:
    """What one worker counts (flow/observing.py); implements seams.TlsResults. Never raises."""

    def __init__(self, folder: Path, slot: int, clock: Clock, journal: Journal) -> None:
        self._folder = folder
        self._slot = slot
        self._clock = clock
        self._journal = journal
        self._seen: dict[Seen, int] = {}
        self._tls: dict[TlsSeen, int] = {}
        self._published: dict[tuple[str, int, str, str], tuple[str, ...]] = {}
        self._failed: list[Failed] = []
        self._told: OrderedDict[tuple[str, str, int], int] = OrderedDict()
        self._kept_at = 0.0
        self._numbers = itertools.count()
        self._dropped = 0

    def seen(self, one: Seen) -> None:
        """Count one message."""
        if one not in self._seen and len(self._seen) >= MOST_COUNTED:
            one = msgspec.structs.replace(one, row=None, published="")
            if one not in self._seen and len(self._seen) >= 2 * MOST_COUNTED:
                self._dropped += 1
                return
        self._seen[one] = self._seen.get(one, 0) + 1

    def failed(self, one: Failed, most: int) -> None:
        """Note a failure to be told, unless `most` of this domain were within the hour."""
        hour = (one.organisation, one.domain, int(one.at) // 3600)
        told = self._told.get(hour, 0)
        if told >= most or len(self._failed) >= MOST_FAILED:
            return
        self._told[hour] = told + 1
        self._told.move_to_end(hour)
        if len(self._told) > _HOURS_KNOWN:
            self._told.popitem(last=False)
        self._failed.append(one)

    def note(
        self,
        organisation: str,
        domain: str,
        kind: str,
        result: str,
        *,
        receiving_mx: str = "",
        sending_ip: str = "",
        policy: tuple[str, ...] = (),
    ) -> None:
        """See TlsResults."""
        day = int(self._clock.now()) // DAY
        one = TlsSeen(organisation, day, domain, kind, result, receiving_mx, sending_ip)
        if one in self._tls or len(self._tls) < MOST_COUNTED:
            self._tls[one] = self._tls.get(one, 0) + 1
            if policy:
                self._published[organisation, day, domain, kind] = policy
        else:
            self._dropped += 1

    def keep(self, *, at_once: bool = False) -> None:
        """Write what is new, if the pause is over. Never raises."""
        now = self._clock.monotonic()
        if (now - self._kept_at < PAUSE and not at_once) or not (self._seen or self._failed or self._tls):
            return
        self._kept_at = now
        batch = Batch(
            tuple([msgspec.structs.replace(one, count=count) for one, count in self._seen.items()]),
            tuple(self._failed),
            tuple([msgspec.structs.replace(one, count=count) for one, count in self._tls.items()]),
            tuple([TlsPublished(*key, policy) for key, policy in self._published.items()]),
        )
        name = named(self._clock.now(), self._slot, next(self._numbers))
        try:
            put(self._folder / "counts", name, _ENCODER.encode(batch), MOST_WAITING)
        except OSError as trouble:
            self._journal.note("counts for reports not kept yet", because=str(trouble))
            return
        except Exception as trouble:  # counts that cannot be written down must not stop the worker, nor stay for ever
            self._journal.alarm("unforeseen", at="keeping counts for reports", trouble=trouble)
        self._seen, self._failed, self._tls, self._published = {}, [], {}, {}
        if self._dropped:
            self._journal.note("counts for reports lost", messages=self._dropped, because="there were too many")
            self._dropped = 0


class Letters:
    """Letters on their way to be read. `put` may be called by any process, `waiting` by one."""

    def __init__(self, folder: Path, slot: int, clock: Clock) -> None:
        self._folder = folder / "letters"
        self._slot = slot
        self._clock = clock
        self._numbers = itertools.count()

    def put(self, arrived: Arrived) -> bool:
        """Keep it until it is read; False: there is no room. Never raises."""
        name = named(self._clock.now(), self._slot, next(self._numbers))
        data = _ENCODER.encode(arrived)
        try:
            if len(data) + sum(path.stat().st_size for path in files(self._folder)) > MOST_OCTETS:
                return False
            put(self._folder, name, data, MOST_LETTERS)
        except OSError:
            return False
        return True


def letters_waiting(folder: Path) -> Iterator[tuple[Path, Arrived | None]]:
    """The letters in their order; None for a file that is damaged. Whoever has read one removes it."""
    for path in files(folder / "letters"):
        yield path, read(path, _ARRIVED)


def batches_waiting(folder: Path) -> Iterator[tuple[Path, Batch | None]]:
    """The counts in their order; None for a file that is damaged. Whoever has taken one removes it."""
    for path in files(folder / "counts"):
        yield path, read(path, _BATCH)
