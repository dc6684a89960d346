"""Killed at the n-th write, sync, rename and send: what was answered 250 arrives, what was not is nobody's trouble."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest

from peers.acting import allowed
from peers.load import POLICY, NextHop, Senders
from proof.injected import Injected
from proof.killable import Service, wait_for

CALLS = {
    "lg:keeper": ("pwrite64", "fdatasync", "write"),
    "lg:worker-0": ("pwritev2", "write", "close"),
}
"""SQLite writes by pwrite64, segments by pwritev2; completions, replies, mail and talk among us by write."""

POINTS = int(os.environ.get("LOCKGATE_KILL_POINTS", "4"))
LARGEST = 50
PATIENCE = 4.0
READY = 5.0
"""Seconds until mail is taken after a kill, on a machine that has nothing else to do."""


def _points(call: str) -> list[int]:
    """The first call, and others drawn from 2 to 50; the same in every run."""
    chance = random.Random(call)
    return [1, *sorted(chance.sample(range(2, LARGEST + 1), POINTS - 1))]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("who", "call"), [(who, call) for who, known in CALLS.items() for call in known])
def test_killed_at_a_call_loses_nothing(who: str, call: str, tmp_path: Path) -> None:
    died = 0
    acknowledged: list[str] = []
    with NextHop(tmp_path) as hop:
        policy = POLICY.format(port=hop.port)
        service = Service(tmp_path / "service", policy, settings="[delivery]\nfirst_retry = '1s'\n")
        service.start()
        try:
            for point in _points(call):
                with (
                    Injected(service.processes()[who], call, "signal=KILL", str(point)) as injected,
                    Senders(tmp_path, service.port, name=f"{call}-{point}", seconds=PATIENCE) as senders,
                ):
                    died += bool(wait_for(injected.over, PATIENCE - 0.5))
                    # The service mends itself: the same senders go on with it.
                    before = len(senders.acknowledged())
                    assert wait_for(lambda n=before, s=senders: len(s.acknowledged()) > n, 10), service.said()
                    senders.stop()
                    acknowledged += senders.acknowledged()
                service.kill_all()
                assert service.start() <= allowed(READY), "it takes too long until mail is taken again"
            assert acknowledged
            assert wait_for(lambda: set(acknowledged) <= set(hop.arrived()), 60), _missing(acknowledged, hop, service)
            assert wait_for(lambda: service.waiting() == 0, 30), service.cli("queue", "list")
        finally:
            service.stop()
        arrived = hop.arrived()
    assert died, f"{who} never came to {call}, so nothing was tried"
    twice = sum(count - 1 for count in arrived.values())
    print(f"{who} {call}: {died} deaths of {POINTS} points, {len(acknowledged)} acknowledged, {twice} twice")
    # Each point kills once at the call and once everything; a kill may repeat what each connection had under way.
    assert twice <= 2 * POINTS * 2, f"{twice} duplicates in {2 * POINTS} kills"


@pytest.mark.slow
@pytest.mark.parametrize("call", ["rename", "fsync", "openat"])
def test_killed_while_starting_needs_no_repair(call: str, tmp_path: Path) -> None:
    """The first start ends at somebody's n-th rename, sync or open; the next one finds nothing to mend."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    with NextHop(tmp_path) as hop:
        for point in range(1, POINTS + 1):
            # Opening files: the interpreter itself opens hundreds; only those below the state directory count.
            folder = tmp_path / f"{call}-{point}"
            service = Service(folder, POLICY.format(port=hop.port))
            paths = ("-P", str(folder / "state")) if call == "openat" else ()
            service.prefix = ("strace", "-f", "-qq", "-o", "/dev/null", *paths, "-e", f"trace={call}", "-e")
            service.prefix += (f"inject={call}:signal=KILL:when={point}",)
            with contextlib.suppress(AssertionError):
                service.start(patience=3.0)
            service.kill_all()
            service.prefix = ()
            try:
                assert service.start() <= allowed(READY)
                with Senders(tmp_path, service.port, name=f"{call}-{point}", count=20) as senders:
                    told = senders.wait()
                assert told["acknowledged"] == 20, f"{told} {service.said()}"
                assert wait_for(lambda n=senders: set(n.acknowledged()) <= set(hop.arrived()), 20), service.said()
            finally:
                service.stop()


def _missing(acknowledged: list[str], hop: NextHop, service: Service) -> str:
    lost = sorted(set(acknowledged) - set(hop.arrived()))
    return f"{len(lost)} of {len(acknowledged)} lost: {lost[:5]}\n{service.cli('queue', 'list', expect=None)}"
