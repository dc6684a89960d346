"""Octets of chance: never the same twice, whatever is asked for."""

from __future__ import annotations

import pytest

from lockgate.edge import chance
from lockgate.edge.chance import Chance


def test_no_octet_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[bytes] = []

    def counted(count: int) -> bytes:
        fetched.append(bytes([len(fetched)]) * count)
        return fetched[-1]

    monkeypatch.setattr(chance.os, "urandom", counted)
    one = Chance()
    given = b"".join(one.octets(1 + number % 30) for number in range(1000))
    assert len(given) == sum(1 + number % 30 for number in range(1000))
    for number, octets in enumerate(fetched):
        assert given.count(bytes([number])) <= len(octets)
    assert list(given) == sorted(given), "in the order in which they were fetched"


def test_it_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({Chance().octets(8) for _ in range(100)}) == 100
    one = Chance()
    assert len({one.octets(8) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("count", [0, -1, 4097])
def test_what_cannot_be_given_is_said(count: int) -> None:
    with pytest.raises(ValueError, match="octets of chance"):
        Chance().octets(count)
