"""Which certificates are wanted, when each is ordered, and how long a failed order rests. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

RENEW_AFTER = 2 / 3
"""Of its life a certificate has passed when it is renewed."""

SPREAD = 1 / 20
"""Of its life the renewal is spread over, so that not all installations of one day come at one hour."""

FIRST_REST, LONGEST_REST = 3600.0, 86400.0
"""Seconds between two orders that fail: doubled each time. Authorities count failures by the hour."""


class Wanted(msgspec.Struct, frozen=True):
    """A certificate there should be: the `kind` of its key ("ecdsa", "rsa") and its names, the first being its own."""

    kind: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """How people and files call it."""
        return f"{self.names[0]}.{self.kind}"


class Held(msgspec.Struct, frozen=True):
    """A certificate there is; times are seconds since the epoch."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    serial: str


class Attempt(msgspec.Struct, frozen=True):
    """How the last orders ended: failures in a row, when, why, and until when there is no other."""

    failures: int = 0
    at: float = 0.0
    because: str = ""
    rest_until: float = 0.0


def wanted(hostname: str, more: Sequence[str], kinds: Sequence[str], sts: Iterable[str]) -> tuple[Wanted, ...]:
    """Ours, with all its names; and one for each of the MTA-STS names, so that one that fails harms no other."""
    ours = tuple(dict.fromkeys([hostname, *more]))
    groups = [ours, *[(name,) for name in sorted(set(sts)) if name not in ours]]
    return tuple(Wanted(kind, names) for names in groups for kind in dict.fromkeys(kinds))


def due_at(one: Wanted, held: Held | None) -> float:
    """When it is ordered (seconds since the epoch); 0: at once, for it is not there or has other names."""
    if held is None or set(held.names) != set(one.names):
        return 0.0
    life = held.not_after - held.not_before
    return held.not_before + life * (RENEW_AFTER + SPREAD * _chance(held.serial, one.name))


def after_failure(before: Attempt, because: str, now: float, name: str) -> Attempt:
    """The next attempt comes later each time, and never at the minute of others."""
    rest = min(FIRST_REST * 2 ** min(before.failures, 10), LONGEST_REST)
    rest *= 1 + 0.2 * _chance(name, str(before.failures))
    return Attempt(before.failures + 1, now, because[:1000], now + rest)


def due(
    all_wanted: Iterable[Wanted], held: Mapping[str, Held], attempts: Mapping[str, Attempt], now: float
) -> tuple[Wanted, ...]:
    """Those to order now; those that have failed rest."""
    return tuple(
        one
        for one in all_wanted
        if due_at(one, held.get(one.name)) <= now and attempts.get(one.name, Attempt()).rest_until <= now
    )


def worrying(one: Wanted, held: Held | None, attempt: Attempt) -> bool:
    """Whether a person must hear of the failure: nothing is there to show, or it was not a single mishap."""
    return attempt.failures >= (1 if held is None else 2)


def _chance(*parts: str) -> float:
    """A number in [0, 1) that is always the same for the same parts: a restart does not draw again."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:4], "big") / 2**32
