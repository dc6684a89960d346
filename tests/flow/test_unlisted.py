"""Counting who would be refused stays within bounds, and real recipients outlive made-up ones."""

from __future__ import annotations

from lockgate.app.estimates import Estimates
from lockgate.flow.unlisted import DAY, DAYS, MOST, Counter, summed


def test_a_flood_of_guesses_leaves_those_who_are_named_again():
    counter = Counter()
    for n in range(20_000):
        if n % 100 == 0:
            counter.note("contoso", "c.test", "real@c.test", "friend@far.test", 1000.0 + n)
        counter.note("contoso", "c.test", f"guess{n}@c.test", "spam@far.test", 1000.0 + n)
    named = counter.kept.addresses["contoso"]["c.test"]
    assert len(named) <= 2 * MOST and named["real@c.test"].count(0) == 200
    total, others = summed([counter.kept], "contoso", "c.test", 0)
    assert sum(one.count(0) for one in total.values()) + others == 20_200


def test_old_days_are_forgotten_and_workers_are_added_up(tmp_path):
    files = Estimates(tmp_path / "unlisted")
    one, two = files.counter(0), files.counter(1)
    for day in range(100):
        one.note("contoso", "c.test", "a@c.test", f"s{day}@far.test", day * DAY + 5.0)
    two.note("contoso", "c.test", "a@c.test", "last@far.test", 99 * DAY + 9.0)
    assert len(one.kept.addresses["contoso"]["c.test"]["a@c.test"].days) == DAYS
    files.keep(0, one)
    files.keep(1, two)
    assert not one.fresh
    total, _ = summed(files.all(), "contoso", "c.test", 98)
    assert (total["a@c.test"].count(0), total["a@c.test"].last_sender) == (3, "last@far.test")
    again = files.counter(0)
    again.note("contoso", "c.test", "a@c.test", "x@far.test", 99 * DAY + 20.0)
    files.keep(0, again)
    assert summed(files.all(), "contoso", "c.test", 98)[0]["a@c.test"].count(0) == 4
    (tmp_path / "unlisted" / "1.msgpack").write_bytes(b"garbage")
    assert len(files.all()) == 1
