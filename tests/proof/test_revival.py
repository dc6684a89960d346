"""Processes that die while the service starts, or again and again: it gets ready, and nobody waits at its door."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from peers.load import POLICY
from proof.killable import Service

LONGEST_WAIT = 2.0
"""Seconds from a connection to our greeting, whatever has happened to a worker."""


class Killer(threading.Thread):
    """Kills children of these names as soon as it sees them, each `times` times; `killed` are the pids."""

    def __init__(self, service: Service, *names: str, times: int, pause: float = 0.0) -> None:
        super().__init__(daemon=True)
        self._service, self._pause = service, pause
        self._left = dict.fromkeys(names, times)
        self.killed: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        while any(self._left.values()) and not self.over.is_set():
            found = self._service.processes() if self._service.process is not None else {}
            for name, pid in found.items():
                if self._left.get(name) and pid not in self.killed:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.killed.append(pid)
                        self._left[name] -= 1
            time.sleep(self._pause or 0.002)


@pytest.mark.parametrize("name", ["lg:keeper", "lg:worker-0", "lg:desk"])
def test_a_child_killed_during_start_is_started_again(tmp_path: Path, name: str) -> None:
    service = Service(tmp_path / "service", POLICY.format(port=9), workers=2)
    killer = Killer(service, name, times=2)
    killer.start()
    try:
        service.start()
        killer.join(10)
        assert len(killer.killed) == 2, service.said()
        assert service.log().count("SIGKILL") == 2, service.said()
        assert name in service.processes()
    finally:
        killer.over.set()
        service.stop()


def greeted(port: int) -> float:
    """The seconds until a new connection is greeted; a connection that is reset has not waited."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 30) as peer:
        peer.recv(100)
    return time.monotonic() - began


def test_nobody_waits_for_a_worker_that_dies_again_and_again(tmp_path: Path) -> None:
    """The kernel gives connections to every listening socket: siblings accept for the one who is down."""
    with Service(tmp_path / "service", POLICY.format(port=9), workers=2) as service:
        killer = Killer(service, "lg:worker-0", times=5)
        killer.start()
        waits: list[float] = []
        began = time.monotonic()
        while time.monotonic() - began < 20 and (killer.is_alive() or len(waits) < 200):
            waits.append(greeted(service.port))
            time.sleep(0.02)
        killer.over.set()
        assert len(killer.killed) == 5, service.said()
        assert max(waits) <= LONGEST_WAIT, sorted(waits)[-5:]
        assert sorted(waits)[len(waits) // 2] < 0.2
