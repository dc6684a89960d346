"""Who would be refused, were edge blocking enforced: counted within bounds, whatever strangers make up."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

DAY = 86400
DAYS = 30
"""Older counts are forgotten."""
MOST = 1000
"""Addresses kept for one organisation; when there are twice as many, those named least and longest ago are dropped."""
MOST_DOMAINS = 1000


class Unlisted(msgspec.Struct):
    """One address: messages by day since the epoch, the last sender, when it was first and last named."""

    days: dict[int, int]
    last_sender: str
    first_seen: float
    last_seen: float

    def count(self, since: int) -> int:
        """Messages since this day."""
        return sum(count for day, count in self.days.items() if day >= since)


class Estimate(msgspec.Struct):
    """What one worker has counted: by organisation and domain, addresses; `others` counts what was dropped."""

    addresses: dict[str, dict[str, dict[str, Unlisted]]] = msgspec.field(default_factory=dict)
    others: dict[str, int] = msgspec.field(default_factory=dict)


class Counter:
    """Counts for one worker. Nothing here waits or raises; `fresh` tells that there is something new to keep."""

    def __init__(self, kept: Estimate | None = None) -> None:
        self.kept = kept or Estimate()
        self.fresh = False

    def note(self, organisation: str, domain: str, address: str, sender: str, now: float) -> None:
        """One message more for an address that nobody has."""
        self.fresh = True
        domains = self.kept.addresses.setdefault(organisation, {})
        named = domains.get(domain)
        if named is None:
            if len(domains) >= MOST_DOMAINS:
                self._drop(organisation, 1)
                return
            named = domains[domain] = {}
        day, there = int(now // DAY), named.get(address)
        if there is None:
            named[address] = Unlisted({day: 1}, sender, now, now)
            if len(named) >= 2 * MOST // min(len(domains), MOST // 10):
                self._prune(organisation, named, now)
            return
        there.days[day] = there.days.get(day, 0) + 1
        there.last_sender, there.last_seen = sender, now
        if len(there.days) > DAYS:
            del there.days[min(there.days)]

    def _prune(self, organisation: str, named: dict[str, Unlisted], now: float) -> None:
        """Half of them go. Who is named again and again stays; guesses are mostly named once."""
        since = int(now // DAY) - DAYS
        ranked = sorted(named.items(), key=lambda pair: (pair[1].count(since), pair[1].last_seen), reverse=True)
        stay = dict(ranked[: len(ranked) // 2])
        self._drop(organisation, sum(one.count(since) for address, one in named.items() if address not in stay))
        named.clear()
        named.update(stay)

    def _drop(self, organisation: str, count: int) -> None:
        self.kept.others[organisation] = self.kept.others.get(organisation, 0) + count


def summed(parts: Iterable[Estimate], organisation: str, domain: str, since: int) -> tuple[dict[str, Unlisted], int]:
    """The counts of all workers for one domain since a day, and the messages to addresses that were dropped."""
    total: dict[str, Unlisted] = {}
    others = 0
    for part in parts:
        others += part.others.get(organisation, 0)
        for address, one in part.addresses.get(organisation, {}).get(domain, {}).items():
            days = {day: count for day, count in one.days.items() if day >= since}
            if not days:
                continue
            there = total.get(address)
            if there is None:
                total[address] = Unlisted(days, one.last_sender, one.first_seen, one.last_seen)
                continue
            for day, count in days.items():
                there.days[day] = there.days.get(day, 0) + count
            there.first_seen = min(there.first_seen, one.first_seen)
            if one.last_seen > there.last_seen:
                there.last_seen, there.last_sender = one.last_seen, one.last_sender
    return total, others
