"""Longest suffix for domains, longest prefix for networks: a few look-ups, however many entries there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from lockgate.policy.networks import Network

T = TypeVar("T")


class DomainMap(Generic[T]):
    """Values by domain. The pattern `x` means x alone, `*.x` every name below x (and not x itself).

    Domains are A-labels in lower case without trailing dot.
    """

    __slots__ = ("_below", "_exact")

    def __init__(self, entries: Iterable[tuple[str, T]] = ()) -> None:
        self._exact: dict[str, T] = {}
        self._below: dict[str, T] = {}
        for pattern, value in entries:
            if pattern.startswith("*."):
                self._below[pattern[2:]] = value
            else:
                self._exact[pattern] = value

    def find(self, domain: str) -> T | None:
        """The value of the most specific pattern that covers `domain`: exact, then the longest wildcard."""
        found = self._exact.get(domain)
        if found is not None or not self._below:
            return found
        below = self._below
        dot = domain.find(".")
        while dot >= 0:
            found = below.get(domain[dot + 1 :])
            if found is not None:
                return found
            dot = domain.find(".", dot + 1)
        return None

    def every(self, domain: str) -> Iterator[T]:
        """The values of all patterns that cover `domain`, the most specific first."""
        found = self._exact.get(domain)
        if found is not None:
            yield found
        dot = domain.find(".")
        while dot >= 0:
            found = self._below.get(domain[dot + 1 :])
            if found is not None:
                yield found
            dot = domain.find(".", dot + 1)

    def __len__(self) -> int:
        return len(self._exact) + len(self._below)


class NetworkMap(Generic[T]):
    """Values by network, IPv4 and IPv6 apart; the longest prefix wins. Of two equal networks the first one counts."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, entries: Iterable[tuple[Network, T]] = ()) -> None:
        v4: dict[int, dict[int, T]] = {}
        v6: dict[int, dict[int, T]] = {}
        for network, value in entries:
            width = len(network.packed) * 8
            table = (v4 if width == 32 else v6).setdefault(width - network.length, {})
            table.setdefault(int.from_bytes(network.packed, "big") >> (width - network.length), value)
        # (bits to cut off, table), longest prefix first
        self._v4 = tuple(sorted(v4.items()))
        self._v6 = tuple(sorted(v6.items()))

    def find(self, packed: bytes) -> T | None:
        """The value of the longest prefix that covers the address (4 or 16 octets), or None."""
        number = int.from_bytes(packed, "big")
        for shift, table in self._v4 if len(packed) == 4 else self._v6:
            found = table.get(number >> shift)
            if found is not None:
                return found
        return None

    def every(self, packed: bytes) -> Iterator[T]:
        """The values of all networks that cover the address, the longest prefix first."""
        number = int.from_bytes(packed, "big")
        for shift, table in self._v4 if len(packed) == 4 else self._v6:
            found = table.get(number >> shift)
            if found is not None:
                yield found

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)
