"""As few workers as can serve them in time take new connections, and the kernel does as it is told."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest

from lockgate.app import sockets
from lockgate.app.sockets import CannotListen, Listening, close_listeners, direct, open_listeners
from lockgate.app.spread import Spread
from lockgate.edge.load import Workload

IDLE = Workload(0, 0.0)


def asked(spread: Spread, loads: list[Workload], now: float) -> int:
    spread.look(loads, now)
    return spread.asked


def loads(*connections: int, late: float = 0.0) -> list[Workload]:
    return [Workload(number, late if number else 0.0) for number in connections]


def test_one_worker_serves_as_many_as_make_a_full_batch() -> None:
    spread = Spread(4)
    assert spread.asked == 1
    for now in range(100):
        assert asked(spread, loads(32, 0, 0, 0, late=0.019), float(now)) == 1


def test_more_connections_ask_for_as_many_workers_as_they_fill() -> None:
    spread = Spread(4)
    assert asked(spread, loads(33, 0, 0, 0), 0.0) == 2
    assert asked(spread, loads(48, 17, 0, 0), 0.1) == 3
    assert asked(spread, loads(5000, 5000, 0, 0), 0.2) == 4, "never more than there are"


def test_one_worker_is_all_there_is() -> None:
    spread = Spread(1)
    assert [asked(spread, loads(500, late=1.0), float(now)) for now in range(5)] == [1] * 5


def test_a_late_worker_gets_twice_as_many_until_they_come_in_time() -> None:
    spread = Spread(8)
    late = loads(*[3] * 8, late=0.03)
    assert asked(spread, late, 0.0) == 2
    assert asked(spread, late, 0.4) == 2, "the new one has not shown yet what it can do"
    assert [asked(spread, late, now) for now in (0.6, 1.2, 1.8)] == [4, 8, 8]


def test_lateness_of_those_who_are_not_asked_does_not_count() -> None:
    spread = Spread(2)
    assert asked(spread, [IDLE, Workload(3, 9.0)], 0.0) == 1


def test_calm_takes_workers_away_one_by_one() -> None:
    spread = Spread(4)
    assert asked(spread, loads(100, 0, 0, 0), 0.0) == 4
    told = [asked(spread, loads(3, 3, 3, 3), float(now)) for now in range(1, 40)]
    assert told == [4] * 9 + [3] * 10 + [2] * 10 + [1] * 10


def test_calm_that_is_broken_begins_anew() -> None:
    spread = Spread(2)
    assert asked(spread, loads(40, 0), 0.0) == 2
    assert asked(spread, loads(3, 3), 9.0) == 2
    assert asked(spread, loads(3, 3, late=0.006), 9.5) == 2, "they are needed to come in time"
    assert asked(spread, loads(3, 3), 19.0) == 2
    assert asked(spread, loads(3, 3), 19.5) == 1


def test_whoever_got_many_before_others_were_asked_gets_no_more_until_they_have_as_many() -> None:
    spread = Spread(3)
    assert spread.look(loads(20, 0, 0), 0.0) == (0,)
    assert spread.look(loads(400, 0, 0), 0.1) == (1, 2)
    assert spread.look(loads(400, 300, 250), 0.2) == (2,)
    assert spread.look(loads(400, 370, 369), 0.3) == (0, 1, 2)
    assert spread.look(loads(400, 370, 367), 0.4) == (1, 2)


def test_a_worker_that_does_not_serve_is_not_asked() -> None:
    spread = Spread(3)
    dead = Workload(0, 0.0, serves=False)
    assert spread.look([dead, Workload(5, 0.0), IDLE], 0.0) == (1,)
    assert spread.look([Workload(40, 0.0), dead, Workload(35, 0.0)], 0.1) == (0, 2)
    assert spread.look([dead, dead, dead], 0.2) == (0, 1, 2), "whoever comes first"


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request: pytest.FixtureRequest) -> Iterator[Listening]:
    try:
        opened = open_listeners([(request.param, 0)], 3)
    except CannotListen as trouble:
        pytest.skip(f"{request.param} is not to be had here: {trouble}")
    yield opened[0]
    close_listeners(opened)


def accepted(listening: Listening, count: int) -> list[int]:
    """Connect so many times; how many came to the socket of each slot."""
    taken = [0, 0, 0]
    with contextlib.ExitStack() as open_ones:
        for _ in range(count):
            open_ones.enter_context(socket.create_connection((listening.address, listening.port)))
        while sum(taken) < count:
            ready, _, _ = select.select(listening.sockets, [], [], 10.0)
            assert ready, taken
            for one in ready:
                one.accept()[0].close()
                taken[listening.sockets.index(one)] += 1
    return taken


def test_the_kernel_gives_new_connections_to_the_slots_that_are_named(listening: Listening) -> None:
    if not direct([listening], (0,)):
        pytest.skip("this kernel has no SO_ATTACH_REUSEPORT_CBPF: it gives connections to all sockets")
    assert accepted(listening, 50) == [50, 0, 0]
    direct([listening], (0, 1))
    first, second, third = accepted(listening, 100)
    assert third == 0 and min(first, second) > 20
    direct([listening], (0, 1, 2))
    assert min(accepted(listening, 150)) > 20
    direct([listening], (0,))
    assert accepted(listening, 50) == [50, 0, 0]
    direct([listening], (2,))
    assert accepted(listening, 50) == [0, 0, 50]
    direct([listening], (2, 0))
    first, second, third = accepted(listening, 100)
    assert second == 0 and min(first, third) > 20


def test_a_kernel_that_knows_no_such_programs_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_listeners([("127.0.0.1", 0)], 2)
    try:
        monkeypatch.setattr(sockets, "_ATTACH_REUSEPORT_CBPF", 9999)
        assert not direct(opened, (0,))
        taken = [0, 0]
        for _ in range(20):
            with socket.create_connection((opened[0].address, opened[0].port)):
                ready, _, _ = select.select(opened[0].sockets, [], [], 10.0)
                ready[0].accept()[0].close()
                taken[opened[0].sockets.index(ready[0])] += 1
        assert sum(taken) == 20, "connections come all the same"
    finally:
        close_listeners(opened)
