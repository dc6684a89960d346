"""Counts of edge blocking on disk: each worker writes its own file now and then, the desk reads them all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from lockgate.flow.unlisted import Counter, Estimate
from lockgate.mail.facts import Facts
from lockgate.mail.ruling import Verdict
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Journal

PAUSE = 1.0
"""Seconds between two writings of one worker; so much may be lost when it dies."""

_DECODE = msgspec.msgpack.Decoder(Estimate).decode
_ENCODE = msgspec.msgpack.Encoder().encode


class Estimates:
    """The files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def counter(self, slot: int) -> Counter:
        """The counter of one worker, going on where the last one of that number stopped."""
        return Counter(_read(self._path(slot)))

    def keep(self, slot: int, counter: Counter) -> None:
        """Write what is new. Raises OSError."""
        if not counter.fresh:
            return
        counter.fresh = False
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        early = self._path(slot).with_suffix(".new")
        early.write_bytes(_ENCODE(counter.kept))
        early.replace(self._path(slot))

    def all(self) -> list[Estimate]:
        """What all workers have counted, those that are gone included."""
        return [one for path in sorted(self._folder.glob("*.msgpack")) if (one := _read(path)) is not None]

    def _path(self, slot: int) -> Path:
        return self._folder / f"{slot}.msgpack"


class Unlisted:
    """What one worker counts of recipients that edge blocking would refuse."""

    def __init__(self, estimates: Estimates, slot: int, clock: Clock, journal: Journal) -> None:
        self._estimates, self._slot = estimates, slot
        self._clock, self._journal = clock, journal
        self._counter = estimates.counter(slot)
        self._kept_at = 0.0

    def note(self, policy: Policy, facts: Facts, verdict: Verdict) -> None:
        """Count this recipient; at the step "estimate" the log tells of each."""
        standing, sender = verdict.standing, facts.envelope.sender_text if facts.envelope is not None else ""
        recipient = verdict.recipient.original
        domain = policy.accepted(recipient.domain)
        self._counter.note(standing.organisation, standing.accepted_domain, recipient.key, sender, self._clock.now())
        if domain is not None and domain.edge_blocking == "estimate":
            self._journal.note("would be refused", id=facts.connection.id, sender=sender, recipient=recipient.text)

    def keep(self, *, at_once: bool = False) -> None:
        """Write what is new, if the pause is over. Never raises."""
        now = self._clock.monotonic()
        if now - self._kept_at < PAUSE and not at_once:
            return
        self._kept_at = now
        try:
            self._estimates.keep(self._slot, self._counter)
        except OSError as trouble:
            self._journal.note("counts of edge blocking not kept", because=str(trouble))


def _read(path: Path) -> Estimate | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return _DECODE(path.read_bytes())
    return None
