"""The power fails under load: what was answered 250 is there afterwards, whatever the disk has forgotten."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from peers.load import POLICY, NextHop, Senders
from proof.killable import Service, wait_for
from proof.power import Disk

CUTS = int(os.environ.get("LOCKGATE_POWER_CUTS", "3"))


def test_the_cut_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """The proof below would prove nothing on a disk that keeps everything."""
    with Disk(tmp_path) as disk:
        kept, forgotten = disk.path / "kept", disk.path / "forgotten"
        with kept.open("wb") as file:
            file.write(b"synced")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(disk.path, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        with kept.open("r+b") as file:
            file.write(b"BROKEN")
        forgotten.write_bytes(b"not synced")
        disk.cut()
        assert kept.read_bytes() == b"synced"
        assert not forgotten.exists()


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * CUTS)
def test_power_cuts_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261125)
    acknowledged: list[str] = []
    slowest = 0.0
    # The next hop is slow to begin, so that there is mail in the queue whenever the power fails.
    with Disk(tmp_path) as disk, NextHop(tmp_path, pause=0.05) as hop:
        settings = "[delivery]\nfirst_retry = '1s'\nretry_steps = ['1s']\n"
        service = Service(disk.path / "service", POLICY.format(port=hop.port), settings=settings)
        os.sync()
        service.start()
        try:
            for number in range(CUTS):
                with Senders(tmp_path, service.port, name=f"cut-{number}", sessions=16) as senders:
                    time.sleep(chance.uniform(0.8, 2.5))
                    service.kill_all()
                    disk.cut()
                    slowest = max(slowest, service.start())
                    senders.stop()
                    acknowledged += senders.acknowledged()
                waited = len(set(acknowledged) - set(hop.arrived()))
                print(f"cut {number}: {len(acknowledged)} acknowledged so far, {waited} of them under way")
            hop.hurry()
            assert wait_for(lambda: set(acknowledged) <= set(hop.arrived()), 90 + len(acknowledged) / 200, 0.2), (
                len(set(acknowledged) - set(hop.arrived())),
                service.said(),
            )
            assert wait_for(lambda: service.waiting() == 0, 30), service.cli("queue", "list")
        finally:
            service.stop()
    assert len(acknowledged) > 50 * CUTS
    assert slowest <= 5.0, f"{slowest:.1f} s until mail was taken again"
