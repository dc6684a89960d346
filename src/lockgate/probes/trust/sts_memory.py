"""What one process remembers of the MTA-STS policies of other domains, bounded by weight."""

from __future__ import annotations

import sys

from lockgate.mail.sts import StsPolicy

MOST = 16 * 1024 * 1024
"""Octets, about: some 50,000 domains, most of which have no policy."""

_EACH = 300
_HOST = 80


class Entry:
    """One domain: its policy or None, from when on to look again, when it was last looked at, told used, its weight.

    `word` says why an announced policy is not to be had, as RFC 8460 4.3 has it.
    """

    __slots__ = ("look", "policy", "seen", "used", "weight", "word")

    def __init__(self, policy: StsPolicy | None, look: float, seen: float, used: float = 0.0, word: str = "") -> None:
        self.policy, self.look, self.seen, self.used, self.word = policy, look, seen, used, word
        self.weight = _EACH
        if policy is not None:
            self.weight += sum(sys.getsizeof(text) for text in (*policy.mx, *policy.text)) + _HOST


class StsMemory:
    """Domains by name; what was put first is dropped first (and then found again on the shelf)."""

    def __init__(self, most: int = MOST) -> None:
        self._entries: dict[str, Entry] = {}
        self._most = most
        self._weight = 0

    def find(self, domain: str) -> Entry | None:
        """What is remembered of a domain."""
        return self._entries.get(domain)

    def put(self, domain: str, entry: Entry) -> None:
        """Remember this instead of what was before."""
        old = self._entries.pop(domain, None)
        if old is not None:
            self._weight -= old.weight
        self._entries[domain] = entry
        self._weight += entry.weight
        while self._weight > self._most and len(self._entries) > 1:
            first = next(iter(self._entries))
            self._weight -= self._entries.pop(first).weight
