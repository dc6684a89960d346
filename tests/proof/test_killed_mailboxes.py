"""kill -9 while mail goes into a mailbox whose owner reads along: each promised message is there once, none twice."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from peers.load import Senders
from proof.injected import Injected
from proof.killable import Service, wait_for

POLICY = """\
[operator.limits]
connections = 100000
connections_per_peer = 100000

[[organisation]]
name = "load"

[[accepted_domain]]
domain_name = "load.test"
vouched_by_operator = true
"""
KILLS = int(os.environ.get("LOCKGATE_KILLS", "20")) // 2
_ID = re.compile(rb"^X-Load-Id: (\S+)$", re.MULTILINE)


class Owner:
    """Moves new mail to `cur` and throws some of it away, as fast as it can, and remembers every message it saw."""

    def __init__(self, box: Path) -> None:
        self._box = box
        self._over = threading.Event()
        self._chance = random.Random(7)
        self.seen: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.wait(0.005):
            self.read()

    def read(self) -> None:
        for file in self._box.glob("new/*"):
            found = _ID.search(file.read_bytes()[:4096])
            assert found, file
            self.seen[found[1].decode()] += 1
            if self._chance.random() < 0.5:
                file.unlink()
            else:
                file.rename(self._box / "cur" / f"{file.name}:2,S")

    def close(self) -> None:
        self._over.set()
        self._thread.join()


def started(folder: Path) -> tuple[Service, Path]:
    boxes = folder / "mail"
    boxes.mkdir()
    settings = f"[mailboxes]\ndirectory = '{boxes}'\n[delivery]\nfirst_retry = '1s'\n"
    service = Service(folder / "service", POLICY, settings=settings, workers=2)
    service.start()
    service.recipients(more="b@load.test,mailbox,\n")
    return service, boxes / "load" / "load.test" / "b"


def judged(service: Service, owner: Owner, acknowledged: list[str]) -> None:
    assert wait_for(lambda: set(acknowledged) <= set(owner.seen), 60), (
        f"{len(set(acknowledged) - set(owner.seen))} of {len(acknowledged)} lost\n{service.said()}"
    )
    assert wait_for(lambda: service.waiting() == 0, 30), service.cli("queue", "list")
    owner.read()
    twice = {name: count for name, count in owner.seen.items() if count > 1}
    assert not twice, f"{len(twice)} of {len(acknowledged)} came more than once: {list(twice.items())[:5]}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_under_load_every_message_is_there_once(tmp_path: Path) -> None:
    service, box = started(tmp_path)
    owner = Owner(box)
    chance = random.Random(20261125)
    try:
        # More sessions than one worker takes alone, so that both have something to lose.
        with Senders(tmp_path, service.port, name="kill", sessions=40) as senders:
            for kill in range(KILLS):
                time.sleep(chance.uniform(0.4, 1.0))
                if kill % 3 == 2:
                    service.kill_all()
                    service.start()
                else:
                    name = chance.choice(["lg:worker-0", "lg:worker-1", "lg:keeper"])
                    wait_for(lambda n=name: n in service.processes(), 10)
                    service.kill(name)
            time.sleep(1.0)
            senders.stop()
            acknowledged = senders.acknowledged()
        assert len(acknowledged) > 100
        judged(service, owner, acknowledged)
        print(f"kills {KILLS}, acknowledged {len(acknowledged)}, lost 0, twice 0")
    finally:
        owner.close()
        service.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("call", ["renameat,renameat2,rename", "fsync", "mkdirat,mkdir", "flock"])
def test_killed_at_a_call_of_a_delivery(call: str, tmp_path: Path) -> None:
    """A worker dies at its n-th rename, sync, ...; workers make these calls for mailboxes only."""
    service, box = started(tmp_path)
    owner = Owner(box)
    died, acknowledged = 0, []
    try:
        for point in (1, 6):
            wait_for(lambda: "lg:worker-0" in service.processes(), 10)
            with (
                Injected(service.processes()["lg:worker-0"], call, "signal=KILL", str(point)) as injected,
                Senders(tmp_path, service.port, name=f"{call[:4]}-{point}", seconds=3.0) as senders,
            ):
                died += bool(wait_for(injected.over, 3.0))
                senders.wait()
                acknowledged += senders.acknowledged()
        assert acknowledged
        judged(service, owner, acknowledged)
    finally:
        owner.close()
        service.stop()
    assert died or "mkdir" in call, f"no worker ever came to {call}"
