"""Look-up tables: the most specific domain pattern for a name, the longest prefix for an address.

Both are built once and never change. Domains are dictionaries walked label by label from the right; networks are
cut into disjoint stretches of the address space, found by one binary search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from lockgate.policy.networks import Network

T = TypeVar("T")


class DomainMap(Generic[T]):
    """Values by domain pattern: "x" (this name), "*.x" (x and every name below it), "*" (every name).

    With `apex=False` "*.x" covers only the names below x (recipient domains of connectors, specification 2.4).
    Names are A-labels in lower case. Of two values for one pattern the later one holds.
    """

    __slots__ = ("_apex", "_below", "_depth", "_everything", "_exact")

    def __init__(self, entries: Iterable[tuple[str, T]] = (), *, apex: bool = True) -> None:
        self._exact: dict[str, T] = {}
        self._below: dict[str, T] = {}
        self._everything: tuple[T, ...] = ()
        self._apex = apex
        self._depth = 0
        for pattern, value in entries:
            if pattern == "*":
                self._everything = (value,)
            elif pattern.startswith("*."):
                self._below[pattern[2:]] = value
                self._depth = max(self._depth, pattern.count("."))
            else:
                self._exact[pattern] = value

    def __len__(self) -> int:
        return len(self._exact) + len(self._below) + len(self._everything)

    def find(self, domain: str) -> T | None:
        """The value of the most specific pattern that covers the name: exact, longest wildcard, "*"; else None."""
        if domain in self._exact:
            return self._exact[domain]
        below = self._below
        if below:
            for rest in self._suffixes(domain):
                if rest in below:
                    return below[rest]
        return self._everything[0] if self._everything else None

    def every(self, domain: str) -> tuple[T, ...]:
        """The values of all patterns that cover the name, most specific first."""
        found = [self._exact[domain]] if domain in self._exact else []
        below = self._below
        if below:
            found += [below[rest] for rest in self._suffixes(domain) if rest in below]
        return (*found, *self._everything)

    def wild(self, domain: str) -> tuple[T, ...]:
        """Like `every`, but of wildcard patterns only."""
        below = self._below
        if not below:
            return self._everything
        return (*(below[rest] for rest in self._suffixes(domain) if rest in below), *self._everything)

    def _suffixes(self, domain: str) -> Iterator[str]:
        """The name itself (if a wildcard covers its apex) and the names above it, as deep as any pattern goes."""
        rest = domain
        surplus = domain.count(".") + 1 - self._depth
        if surplus > 0:  # the labels that no pattern reaches are cut at once
            rest = domain.split(".", surplus)[surplus]
        elif not self._apex:
            rest = domain.partition(".")[2]
        while rest:
            yield rest
            rest = rest.partition(".")[2]


class CertificateNames(Generic[T]):
    """Values by configured certificate name ("x" or "*.x"); look-ups by one name that a certificate bears.

    The same rule as `mail.certificate_names.name_covered`: a configured "*.x" covers x and any depth, a wildcard in
    the certificate stands for one label.
    """

    __slots__ = ("_children", "_names")

    def __init__(self, entries: Iterable[tuple[str, T]] = ()) -> None:
        grouped: dict[str, list[T]] = {}
        children: dict[str, list[T]] = {}
        for name, value in entries:
            grouped.setdefault(name, []).append(value)
            if not name.startswith("*."):
                children.setdefault(name.partition(".")[2], []).append(value)
        self._names = DomainMap((name, tuple(values)) for name, values in grouped.items())
        self._children = {parent: tuple(values) for parent, values in children.items() if parent}

    def find(self, name: str) -> tuple[T, ...]:
        """All values whose configured name is satisfied by this name of the certificate, most specific first."""
        base = name.removeprefix("*.")
        if not base or "*" in base:
            return ()
        if base == name:
            return tuple(value for group in self._names.every(name) for value in group)
        # *.b stands for names directly below b: exact ones there, and whatever a configured wildcard covers
        covering = tuple(value for group in self._names.wild(base) for value in group)
        return self._children.get(base, ()) + covering


class _Stretch(Generic[T]):
    """What covers a stretch of addresses: the values of its longest prefix, and the shorter ones around it."""

    __slots__ = ("around", "value")

    def __init__(self, value: T, around: _Stretch[T] | None) -> None:
        self.value = value
        self.around = around


class NetworkMap(Generic[T]):
    """Values by network; look-ups by packed address (4 or 16 octets). The later of two values for one network holds.

    With `merge(inner, outer)` a network's value is merged with that of the network around it, so that `find` tells of
    all of them at once.
    """

    __slots__ = ("_found4", "_found6", "_size", "_starts4", "_starts6")

    def __init__(self, entries: Iterable[tuple[Network, T]] = (), *, merge: Callable[[T, T], T] | None = None) -> None:
        values = dict(entries)
        self._size = len(values)
        self._starts4, self._found4 = _cut({n: v for n, v in values.items() if len(n.packed) == 4}, 32, merge)
        self._starts6, self._found6 = _cut({n: v for n, v in values.items() if len(n.packed) == 16}, 128, merge)

    def __len__(self) -> int:
        return self._size

    def _stretch(self, packed: bytes) -> _Stretch[T] | None:
        number = int.from_bytes(packed, "big")
        if len(packed) == 4:
            return self._found4[bisect_right(self._starts4, number)]
        if len(packed) == 16:
            return self._found6[bisect_right(self._starts6, number)]
        return None

    def find(self, packed: bytes) -> T | None:
        """The value of the longest prefix that covers the address, or None (also for a peer without address)."""
        if not self._size:
            return None
        stretch = self._stretch(packed)
        return None if stretch is None else stretch.value

    def every(self, packed: bytes) -> tuple[T, ...]:
        """The values of all networks that cover the address, longest prefix first."""
        found: list[T] = []
        stretch = self._stretch(packed)
        while stretch is not None:
            found.append(stretch.value)
            stretch = stretch.around
        return tuple(found)


def _cut(
    values: dict[Network, T], width: int, merge: Callable[[T, T], T] | None
) -> tuple[list[int], list[_Stretch[T] | None]]:
    """Starts of the stretches, and what covers them; one more of the latter, for addresses before the first start."""
    starts: list[int] = []
    found: list[_Stretch[T] | None] = [None]
    open_: list[tuple[int, _Stretch[T]]] = []

    def begin(at: int, stretch: _Stretch[T] | None) -> None:
        if starts and starts[-1] == at:
            found[-1] = stretch
        else:
            starts.append(at)
            found.append(stretch)

    for network in sorted(values):
        start = int.from_bytes(network.packed, "big")
        while open_ and open_[-1][0] <= start:
            end, _ = open_.pop()
            begin(end, open_[-1][1] if open_ else None)
        around = open_[-1][1] if open_ else None
        value = values[network]
        stretch = _Stretch(value if merge is None or around is None else merge(value, around.value), around)
        open_.append((start + (1 << width - network.length), stretch))
        begin(start, stretch)
    while open_:
        end, _ = open_.pop()
        begin(end, open_[-1][1] if open_ else None)
    return starts, found
