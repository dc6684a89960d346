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
LONG = 600.0
"""Seconds of traffic from which on it is waited for what is left once its traces have moved on as well."""
REST = 100.0
"""Seconds without a change after which all is put away: traces move on after 60, the keeper looks every 30."""
AT_HAND = 50 * SLACK
"""Octets that the database may keep for the mail to come: 16 MB of free pages, 32 MB of write-ahead log, and itself."""
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


def _at_rest(queue: Path) -> int:
    """Octets of the queue's database once they have not changed for a while."""
    since, size = time.monotonic(), _database(queue)

    def unchanged() -> bool:
        nonlocal since, size
        if (now := _database(queue)) != size:
            since, size = time.monotonic(), now
        return time.monotonic() - since >= REST

    assert wait_for(unchanged, 600, 1.0), f"the database changes on and on: {size} octets"
    return size


def _database(queue: Path) -> int:
    """Octets of the queue without bodies."""
    return _allocated(queue) - _allocated(queue / "segments")


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
        before = _at_rest(queue) if SECONDS >= LONG else _database(queue)
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
        bodies, after = _allocated(segments), _database(queue)
        rest = _at_rest(queue) if SECONDS >= LONG else 0
    sizes = f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} after, {rest / 1e6:.1f} at rest"
    print(f"{count} messages; segments {bodies / 1e6:.1f} MB; database {sizes}")
    assert bodies <= 2 * workers * SEGMENT + SLACK, f"{bodies} octets of segments for {workers} workers"
    # Until traces leave for their day's file, a minute after the last event, they are all that may be here.
    assert (after - before) / count <= ROWS, f"{(after - before) / count:.0f} octets a message in the queue's database"
    assert rest <= max(before, AT_HAND), f"{rest} octets in the queue's database, {before} before"
