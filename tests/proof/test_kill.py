"""kill -9 at random moments under load: what was answered 250 is at the next hop, with nothing repaired by hand."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pace import slower_by_the_clock
from peers.load import POLICY, NextHop, Senders
from proof.killable import Service, wait_for

KILLS = int(os.environ.get("LOCKGATE_KILLS", "20"))
ACKNOWLEDGED = int(os.environ.get("LOCKGATE_ACKNOWLEDGED", "5000"))
IN_FLIGHT = 500
READY = 5.0


class Load(NamedTuple):
    """How mail comes and goes. `pause` seconds pass before the next hop answers MAIL, `spread` makes them differ."""

    sessions: int
    a_second: int
    concurrency: int
    pause: float
    spread: float
    duplicates: float
    """How many a kill there may be at the next hop, on the mean."""

    def slowed(self, times: float) -> Load:
        """The same load for a machine that is slower: else it would not keep up, and so many would never be in flight.
        """
        return self._replace(a_second=int(self.a_second / times), pause=self.pause * times)


LOADS = {
    # More comes than the next hop takes (200 a second), so that more and more is on its way; the processors keep up.
    "paced": Load(sessions=8, a_second=260, concurrency=20, pause=0.2, spread=1.0, duplicates=0.5),
    # As much as the processors can do, and answers of the next hop that come in bursts of hundreds.
    "burst": Load(sessions=40, a_second=0, concurrency=500, pause=0.8, spread=0.0, duplicates=4.0),
}

VICTIMS = ("", "lg:keeper", "lg:worker-0", "lg:worker-1")
"""Who is killed; "" is everybody at once."""


@pytest.mark.slow
@pytest.mark.timeout(900 + 15 * KILLS)
@pytest.mark.parametrize("kind", LOADS)
def test_kill_9_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Everybody at once, or one process, while at least 500 acknowledged messages have not arrived yet."""
    slow = slower_by_the_clock()
    load = LOADS[kind].slowed(slow)
    chance = random.Random(20261124)
    settings = "[delivery]\nfirst_retry = '1s'\nretry_steps = ['1s']\n"
    in_flight: list[int] = []
    ready: list[float] = []
    with NextHop(tmp_path, pause=load.pause, spread=load.spread) as hop:
        policy = f"{POLICY.format(port=hop.port)}concurrency = {load.concurrency}\n"
        service = Service(tmp_path / "service", policy, workers=2, settings=settings)
        service.start()
        try:
            pace = ("-r", str(load.a_second)) if load.a_second else ()
            with Senders(tmp_path, service.port, name="kill", sessions=load.sessions, more=pace) as senders:
                for number in range(KILLS):
                    time.sleep(chance.uniform(0.8, 2.5))
                    flying = wait_for(lambda: _on_their_way(senders, hop), 120 * slow, 0.1)
                    assert flying, f"never {IN_FLIGHT} messages on their way: {service.said()}"
                    in_flight.append(flying)
                    # Every other time everybody; else one of them in turn.
                    victim = "" if number % 2 == 0 else VICTIMS[1 + number // 2 % 3]
                    took = _kill(service, victim)
                    ready.append(took / slower_by_the_clock() if took > READY else took)
                assert wait_for(lambda: len(senders.acknowledged()) >= ACKNOWLEDGED, 120 * slow, 0.1), service.said()
                senders.stop()
            hop.hurry()
            acknowledged = set(senders.acknowledged())
            wait_for(_quiet(hop, acknowledged), 30 + slow * len(acknowledged) / 50, 0.2)
            assert wait_for(lambda: service.waiting() == 0, 30 * slow, 0.2), service.cli("queue", "list")
        finally:
            service.stop()
        arrived = hop.arrived()
    lost = sorted(acknowledged - set(arrived))
    twice = sum(count - 1 for count in arrived.values())
    print(
        f"{kind}: {KILLS} kills with {min(in_flight)} to {max(in_flight)} in flight, {len(acknowledged)} acknowledged, "
        f"{len(lost)} lost, {twice} duplicates ({twice / KILLS:.2f} a kill), ready again within {max(ready):.2f} s"
    )
    assert not lost, f"{len(lost)} lost, among them {lost[:5]}"
    assert len(acknowledged) >= ACKNOWLEDGED
    assert twice / KILLS <= load.duplicates, f"{twice} duplicates in {KILLS} kills"
    assert max(ready) <= READY


def _on_their_way(senders: Senders, hop: NextHop) -> int:
    """How many acknowledged messages have not arrived, if they are enough; else 0."""
    count = len(set(senders.acknowledged()) - set(hop.arrived()))
    return count if count >= IN_FLIGHT else 0


def _kill(service: Service, victim: str) -> float:
    """Kill; the seconds until everything works again, the restart by hand (or by systemd) of everybody included."""
    began = time.monotonic()
    if victim:
        assert wait_for(lambda: victim in service.processes(), 20), f"{victim} did not come back: {service.said()}"
        began = time.monotonic()
        pid = service.kill(victim)
        assert wait_for(lambda: service.processes().get(victim, pid) != pid, 20), service.said()
    else:
        service.kill_all()
        service.start()
    return time.monotonic() - began


def _quiet(hop: NextHop, acknowledged: set[str]) -> Callable[[], bool]:
    return lambda: acknowledged <= set(hop.arrived())
