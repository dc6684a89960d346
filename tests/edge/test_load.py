"""Counts over all workers in bounded memory."""

from __future__ import annotations

import os
import random
import stat

import pytest

from lockgate.edge.load import LoadTable, Workload, workloads

V4 = b"\xc0\0\2\1"


def test_workers_see_each_other(tmp_path):
    one, two = (LoadTable(tmp_path / "load", slot, 2) for slot in range(2))
    one.opened(V4)
    two.opened(V4)
    load = one.opened(V4)
    assert (load.from_peer, load.in_all) == (3, 3)
    assert two.opened(b"\xc0\0\2\2").from_peer == 1
    one.closed(V4)
    load = two.opened(V4)
    assert (load.from_peer, load.in_all) == (3, 4)


def test_ipv6_counts_per_64(tmp_path):
    table = LoadTable(tmp_path / "load", 0, 1)
    network = bytes.fromhex("20010db800000001")
    for _ in range(3):
        load = table.opened(network + os.urandom(8))
    assert load.from_peer == 3
    assert table.opened(bytes.fromhex("20010db800000002") + bytes(8)).from_peer == 1


def test_a_killed_worker_leaves_no_counts(tmp_path):
    one, two = (LoadTable(tmp_path / "load", slot, 2) for slot in range(2))
    for _ in range(5):
        two.opened(V4)
    assert one.opened(V4).from_peer == 6
    LoadTable(tmp_path / "load", 1, 2)  # its successor begins with an empty slice
    assert one.opened(V4).from_peer == 2
    one.clear(0)
    load = one.opened(V4)
    assert (load.from_peer, load.in_all) == (1, 1)


def test_counts_never_fall_below_zero(tmp_path):
    table = LoadTable(tmp_path / "load", 0, 1)
    table.closed(V4)
    assert table.opened(V4).from_peer == 1


def test_memory_is_bounded_and_collisions_are_rare(tmp_path):
    table = LoadTable(tmp_path / "load", 0, 1)
    size = (tmp_path / "load").stat().st_size
    chance = random.Random(1)
    peers = {chance.randbytes(4) for _ in range(10_000)}
    counts = [table.opened(peer).from_peer for peer in peers]
    assert (tmp_path / "load").stat().st_size == size < 300_000
    assert max(counts) <= 4 and sum(count > 1 for count in counts) < 500
    for peer in peers:
        table.closed(peer)
    assert table.opened(V4).in_all == 1 and table.opened(V4).from_peer == 2


def test_another_number_of_workers_makes_another_file(tmp_path):
    old = LoadTable(tmp_path / "load", 0, 1)
    old.opened(V4)
    new = LoadTable(tmp_path / "load", 3, 4)
    assert new.opened(V4).from_peer == 1
    assert old.opened(V4).from_peer == 2  # still whole for whoever has it mapped
    assert stat.S_IMODE((tmp_path / "load").stat().st_mode) == 0o600
    (tmp_path / "load").write_bytes(b"garbage")
    assert LoadTable(tmp_path / "load", 0, 1).opened(V4).in_all == 1


def test_the_hash_is_keyed(tmp_path):
    one, two = LoadTable(tmp_path / "a", 0, 1), LoadTable(tmp_path / "b", 0, 1)
    assert one._places(V4) != two._places(V4)


def test_slots_are_checked(tmp_path):
    with pytest.raises(ValueError):
        LoadTable(tmp_path / "load", 2, 2)


def test_whoever_looks_is_told_what_each_worker_has_to_do(tmp_path):
    one, two = (LoadTable(tmp_path / "load", slot, 3) for slot in range(2))
    one.opened(V4)
    two.opened(V4)
    two.opened(V4)
    two.late(0.0125)
    one.serve()
    assert workloads(tmp_path / "load", 3) == (
        Workload(1, 0.0, serves=True), Workload(2, 0.0125, serves=False), Workload(0, 0.0, serves=False),
    )  # fmt: skip
    one.late(1e9)
    assert workloads(tmp_path / "load", 3)[0].late > 4000
    two.clear(1)
    assert workloads(tmp_path / "load", 3)[1] == Workload(0, 0.0, serves=False)
    with pytest.raises(ValueError, match="no place for worker 3 of 4"):
        workloads(tmp_path / "load", 4)
