"""Every 250 is said after the sync that covers it: body, name of the segment, and row; shown by the system calls."""

from __future__ import annotations

import os
import shutil

import pytest

from peers.load import POLICY, NextHop, Senders
from proof.killable import Service
from proof.sync_order import CALLS, judge_log

MESSAGES = int(os.environ.get("LOCKGATE_SYNCED_MESSAGES", "200"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the whole service did for some messages from eight senders at once."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    folder = tmp_path_factory.mktemp("order")
    trace = folder / "calls"
    # Long enough for a page of the write-ahead log, so that its ids are seen.
    watch = ("strace", "-f", "-ttt", "-y", "-s", "9000", "-o", str(trace), "-e", f"trace={CALLS}")
    with (
        NextHop(folder) as hop,
        Service(folder / "service", POLICY.format(port=hop.port), prefix=watch) as service,
        Senders(folder, service.port, name="order", count=MESSAGES) as senders,
    ):
        told = senders.wait()
    assert told["acknowledged"] == MESSAGES, told
    return trace.read_text(errors="replace").splitlines()


def test_each_250_follows_the_sync_that_covers_it(log: list[str]) -> None:
    verdict = judge_log(log)
    assert verdict.replies == MESSAGES
    assert not verdict.wrong, "\n".join(verdict.wrong[:20])


@pytest.mark.parametrize("forgotten", ["/queue/segments/", "keeper.sqlite-wal", "/queue/segments>"])
def test_the_check_sees_a_sync_that_is_missing(log: list[str], forgotten: str) -> None:
    """The same log without the syncs of one kind: every message it touches is reported."""
    without = [line for line in log if not ("sync(" in line and forgotten in line)]
    assert len(without) < len(log)
    assert judge_log(without).wrong


def test_the_check_sees_a_250_said_too_early(log: list[str]) -> None:
    """The same log with many a 250 put at the very beginning: neither body nor row is there by then."""
    early = [line for line in log if '"250 2.0.0 Queued as' in line and "unfinished" not in line]
    assert early
    assert len(judge_log([*early, *log]).wrong) >= 2 * len(early)
