"""How counts of devices get from the workers to the one process that keeps them (storage/batch_files.py).

A worker counts in memory and writes what is new every other second; so much is lost when it is killed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lockgate.mail.devices import NOT_ALLOWED, DeviceBatch, DeviceSeen, Told, Traffic
from lockgate.seams import Clock, Journal
from lockgate.storage.batch_files import files, named, put, read

PAUSE = 2.0
"""Seconds between two writings of one worker."""

MOST_DEVICES = 5_000
"""Devices that one worker holds in memory; what further ones did is counted as lost."""

MOST_SENDERS = 20
"""Senders of one device that are told apart between two writings."""

MOST_WAITING = 5_000
"""Files that may wait for the process that takes them."""

_ENCODER = msgspec.msgpack.Encoder()
_BATCH = msgspec.msgpack.Decoder(DeviceBatch)


class DeviceTally:
    """What one worker counts (flow/devices.py). Never raises."""

    def __init__(self, folder: Path, slot: int, clock: Clock, journal: Journal) -> None:
        self._folder = folder / "counts"
        self._slot = slot
        self._clock = clock
        self._journal = journal
        self._devices: dict[tuple[str, str], DeviceSeen] = {}
        self._traffic: dict[tuple[str, str, int], Traffic] = {}
        self._kept_at = 0.0
        self._numbers = itertools.count()
        self._lost = 0

    def device(self, told: Told) -> None:
        """Count one message, or one refusal."""
        one = self._of(told.organisation, told.host, told.at)
        if one is None:
            return
        one.connector = told.connector or one.connector
        if told.refusal:
            one.refused += 1
            one.bare_refused += told.bare
            one.last_refused, one.refusal, one.refusal_id = told.at, told.refusal, told.refusal_id
        else:
            one.messages += 1
            one.inside += told.inside
            one.outside += told.outside
            one.others += told.other
            one.mended += told.mended
            one.last_taken = told.at
        if not (told.refusal and one.last_taken):
            one.way, one.helo, one.tls = told.way, told.helo, told.tls
        if told.sender in one.senders or len(one.senders) < MOST_SENDERS:
            one.senders[told.sender] = one.senders.get(told.sender, 0) + 1
        else:
            one.more_senders += 1

    def other(self, organisation: str, host: str, at: float) -> None:
        """Count a message from a sender of another domain."""
        one = self._of(organisation, host, at)
        if one is not None:
            one.others += 1

    def traffic(self, one: Traffic) -> None:
        """Count one message over a connector."""
        key = (one.organisation, one.connector, one.at)
        known = self._traffic.get(key)
        self._traffic[key] = one if known is None else known.plus(one)

    def _of(self, organisation: str, host: str, at: float) -> DeviceSeen | None:
        key = (organisation, host)
        one = self._devices.get(key)
        if one is None:
            if len(self._devices) >= MOST_DEVICES:
                self._lost += 1
                return None
            one = self._devices[key] = DeviceSeen(organisation, host, NOT_ALLOWED, first_seen=at, senders={})
        one.last_seen = at
        return one

    def keep(self, *, at_once: bool = False) -> None:
        """Write what is new, if the pause is over. Never raises."""
        now = self._clock.monotonic()
        if (now - self._kept_at < PAUSE and not at_once) or not (self._devices or self._traffic):
            return
        self._kept_at = now
        batch = DeviceBatch(tuple(self._devices.values()), tuple(self._traffic.values()))
        try:
            name = named(self._clock.now(), self._slot, next(self._numbers))
            put(self._folder, name, _ENCODER.encode(batch), MOST_WAITING)
        except OSError as trouble:
            self._journal.note("counts of devices not kept yet", because=str(trouble))
            return
        except Exception as trouble:  # counts that cannot be written down must not stop the worker, nor stay for ever
            self._journal.alarm("unforeseen", at="keeping counts of devices", trouble=trouble)
        self._devices, self._traffic = {}, {}
        if self._lost:
            self._journal.note("counts of devices lost", messages=self._lost, because="there were too many devices")
            self._lost = 0


def batches_waiting(folder: Path) -> Iterator[tuple[Path, DeviceBatch | None]]:
    """The counts in their order; None for a file that is damaged. Whoever has taken one removes it."""
    for path in files(folder / "counts"):
        yield path, read(path, _BATCH)
