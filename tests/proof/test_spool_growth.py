"""Traffic that is over leaves no more behind than there was before: segments go, the queue's database does not grow."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from peers.load import BODY, POLICY, NextHop, Senders
from proof.killable import Service, wait_for

SECONDS = float(os.environ.get("LOCKGATE_TRAFFIC_SECONDS", "15"))
SEGMENT = 64 * 1024**2
SLACK = 1024**2
ROWS = 8192
"""Octets a message may take in database and write-ahead log until its trace moves on."""
LARGE = BODY + b"".join(b"%06d and the attachment goes on and on, line after line\r\n" % n for n in range(2500))


def _allocated(folder: Path) -> int:
    """Octets on the disk below a folder, as its file system counts them."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def _traffic(folder: Path, service: Service, hop: NextHop, name: str, seconds: float) -> int:
    """Small and large messages for a while, until all have arrived; how many."""
    with (
        Senders(folder, service.port, name=f"{name}-small", sessions=4, seconds=seconds) as small,
        Senders(folder, service.port, name=f"{name}-large", sessions=4, seconds=seconds, body=LARGE) as large,
    ):
        small.wait(seconds + 60)
        large.wait(seconds + 60)
    sent = {*small.acknowledged(), *large.acknowledged()}
    assert wait_for(lambda: sent <= set(hop.arrived()), 60, 0.2), service.said()
    assert wait_for(lambda: service.waiting() == 0, 30, 0.2), service.cli("queue", "list")
    return len(sent)


@pytest.mark.slow
@pytest.mark.timeout(300 + 7 * int(SECONDS))
def test_traffic_leaves_the_spool_no_larger(tmp_path: Path) -> None:
    with NextHop(tmp_path) as hop, Service(tmp_path / "service", POLICY.format(port=hop.port)) as service:
        queue = service.folder / "state" / "queue"
        segments = queue / "segments"
        # The same load for a short while first: what a working service keeps at hand (spare segments, the size of its
        # write-ahead log) is part of "before".
        _traffic(tmp_path, service, hop, "before", min(SECONDS / 2, 20.0))
        time.sleep(1.0)
        before = _allocated(queue)
        count = octets = 0
        for turn in range(6):  # a slow machine needs longer for as much
            count += _traffic(tmp_path, service, hop, f"after{turn}", SECONDS)
            octets = (len(BODY) + len(LARGE)) // 2 * count
            if octets > 4 * SEGMENT:
                break
        assert octets > 4 * SEGMENT, "too little traffic to show anything"
        workers = sum(name.startswith("lg:worker") for name in service.processes())
        # Every worker keeps the segment it fills and a spare one, both preallocated; all others have to go.
        wait_for(lambda: _allocated(segments) <= 2 * workers * SEGMENT + SLACK, 60, 0.5)
        bodies, after = _allocated(segments), _allocated(queue)
    rows = (after - bodies) / count
    print(f"{count} messages; queue {before / 1e6:.1f} MB before, {after / 1e6:.1f} after, segments {bodies / 1e6:.1f}")
    assert bodies <= 2 * workers * SEGMENT + SLACK, f"{bodies} octets of segments for {workers} workers"
    # Traces leave for their day's file ten minutes after the last event; until then they are all that may be here.
    assert rows <= ROWS, f"{rows:.0f} octets a message stayed in the queue's database"
