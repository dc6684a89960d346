"""kill -9 at random moments under load: what was answered 250 is at the next hop, with nothing repaired by hand."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from proof.running import Senders, Service, counted, tool, wait_for

KILLS = int(os.environ.get("LOCKGATE_KILLS", "20"))
ACKNOWLEDGED = int(os.environ.get("LOCKGATE_ACKNOWLEDGED", "5000"))
SESSIONS = 16
IN_FLIGHT = 500
NEXT_HOP_PAUSE = "0.8"
"""Seconds before the next hop answers MAIL: accepted messages pile up on open connections."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    """Everything dies at once, and single processes die, while at least 500 messages are in flight."""
    sink_log = tmp_path / "sink.ids"
    sink_log.touch()
    chance = random.Random(20261124)
    load, sink = tool("load", tmp_path), tool("sink", tmp_path)
    command = [str(sink), "-d", NEXT_HOP_PAUSE, "-L", str(sink_log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as next_hop:
        assert next_hop.stdout is not None
        service = Service(tmp_path, int(next_hop.stdout.readline()), concurrency=500)
        service.start()
        senders = Senders(load, tmp_path, service.port, SESSIONS, "kill")
        ready: list[float] = []
        kills = 0
        flying: list[int] = []
        try:
            while kills < KILLS or len(senders.acknowledged()) < ACKNOWLEDGED:
                time.sleep(chance.uniform(0.6, 1.6))
                in_flight = len(senders.acknowledged()) - len(counted(sink_log))
                if kills >= KILLS or in_flight < IN_FLIGHT:
                    continue
                flying.append(in_flight)
                if kills % 2 == 0:
                    service.kill_all()
                    ready.append(service.start())
                else:
                    name = chance.choice(["lg:keeper", "lg:worker-0", "lg:worker-1"])
                    pid = service.processes().get(name)
                    assert pid is not None, f"{name} is not running: {service.processes()}"
                    os.kill(pid, signal.SIGKILL)
                kills += 1
        finally:
            senders.stop()
        acknowledged = senders.acknowledged()
        wait_for(lambda: set(acknowledged) <= set(counted(sink_log)), 180)
        service.stop()
        next_hop.terminate()
    arrived = counted(sink_log)
    lost = [one for one in acknowledged if one not in arrived]
    twice = sum(count - 1 for count in arrived.values())
    print(
        f"kills {kills}, in flight {min(flying)} to {max(flying)}, acknowledged {len(acknowledged)}, lost {len(lost)}, "
        f"duplicates {twice}, slowest start {max(ready):.2f} s"
    )
    assert not lost
    assert len(acknowledged) >= ACKNOWLEDGED
    assert max(ready) <= 5.0
    if twice / kills > 0.5:
        # The goal is at most 0.5; docs/performance.md has what was measured and what it would take.
        pytest.xfail(f"{twice} duplicates in {kills} kills at a saturated worker; the goal is 0.5 a kill")
