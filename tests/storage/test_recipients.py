"""The writer of the directory: changes live within a second, merged unseen, and whole after a kill at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from contracts.spools import HandClock
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Known, RecipientKind, Unknown
from lockgate.seams import Unavailable
from lockgate.storage import recipients
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.recipients import RecipientStore
from lockgate.storage.records import pack, unpack

SOURCE = Path(__file__).resolve().parents[2] / "src"


def person(name: str, *aliases: str, organisation: str = "contoso", **attributes: str) -> RecipientRow:
    proxies = tuple(Address(alias, "c.test") for alias in aliases)
    return RecipientRow(organisation, RecipientKind.MAILBOX, Address(name, "c.test"), None, proxies, attributes)


@pytest.fixture
def store(tmp_path):
    made = RecipientStore(tmp_path / "directory")
    assert not made.ensure()
    return made


def loaded(store: RecipientStore, rows, organisation: str = "contoso") -> int:
    loading = store.load(organisation)
    try:
        for line, row in enumerate(rows):
            assert loading.add(row, line) is None
        loading.seal()
        return loading.put(keep_missing=False)
    finally:
        loading.drop()


class Edge:
    """What a worker sees."""

    def __init__(self, store: RecipientStore) -> None:
        self.clock = HandClock()
        self.table = DirectoryTable(store.table, self.clock)

    def who(self, name: str, organisation: str = "contoso") -> str | None:
        self.clock.at += 0.6
        found = self.table.who_is(organisation, f"{name}@c.test")
        assert isinstance(found, Known), found
        return found.who.primary.local if found.who else None


def test_groups_come_back_as_they_were_written():
    outside = Address("x", "far.test")
    for row in (
        person("Ann", "a", "b", city="Köln"),
        RecipientRow("ü", RecipientKind.GROUP, Address("é", "c.test"), outside, (Address('"q s"', "c.test"),), {}),
    ):
        assert unpack(pack(row)) == row


def test_single_changes_are_seen_within_a_second_and_survive(store):
    edge = Edge(store)
    loaded(store, [person("ann", "a"), person("bob")])
    assert (edge.who("a"), edge.who("carl")) == ("ann", None)
    first = store.change("contoso", [], [person("carl", "c", city="Bonn")])
    assert (edge.who("c"), edge.who("carl")) == ("carl", "carl")
    store.change("contoso", [person("ann", "a")], [person("ann", "b")])
    assert (edge.who("a"), edge.who("b"), edge.who("ann")) == (None, "ann", "ann")
    assert store.change("contoso", [person("bob")], []) == first + 2
    assert edge.who("bob") is None
    assert edge.table.who_is("contoso", "ann@c.test").revision == first + 2
    again = RecipientStore(store.table.parent)
    assert again.ensure() and again.revision == first + 2
    assert {row.primary.local for row in again.rows("contoso")} == {"ann", "carl"}
    assert again.row("contoso", "c@c.test") == person("carl", "c", city="Bonn")


def test_a_merge_changes_nothing_that_anybody_sees(store):
    edge = Edge(store)
    loaded(store, [person(f"u{n}", f"alias{n}") for n in range(50)])
    loaded(store, [person("x", organisation="other")], "other")
    for n in range(0, 50, 3):
        store.change("contoso", [person(f"u{n}", f"alias{n}")], [person(f"u{n}", city="new")] if n % 2 else [])
    before, revision = sorted(row.told()["address"] for row in store.rows("contoso")), store.revision
    store.merge()
    assert store.revision == revision and not store._owners
    assert sorted(row.told()["address"] for row in store.rows("contoso")) == before
    assert (edge.who("u0"), edge.who("u3"), edge.who("alias3"), edge.who("alias4")) == (None, "u3", None, "u4")
    assert edge.who("x", "other") == "x"
    store.change("contoso", [], [person("late")])
    assert edge.who("late") == "late"


def test_changes_go_on_while_a_merge_is_written(store, monkeypatch):
    edge = Edge(store)
    loaded(store, [person(f"u{n}") for n in range(200)])
    store.change("contoso", [], [person("before")])
    writer = recipients.TableWriter
    reached, go = threading.Event(), threading.Event()

    class Slow(writer):
        def publish(self, revision):
            reached.set()
            assert go.wait(10)
            super().publish(revision)

    def release():
        # The change is made while the new table is complete and not yet in force.
        assert reached.wait(10)
        go.set()

    monkeypatch.setattr(recipients, "TableWriter", Slow)
    original = RecipientStore._swap

    def swap(self, made, revision):
        store.change("contoso", [person("u7")], [person("during")])
        original(self, made, revision)

    monkeypatch.setattr(RecipientStore, "_swap", swap)
    helper = threading.Thread(target=release)
    helper.start()
    store.merge()
    helper.join()
    assert (edge.who("before"), edge.who("during"), edge.who("u7"), edge.who("u8")) == ("before", "during", None, "u8")


def test_a_small_import_is_one_change_and_a_large_one_a_new_table(store, monkeypatch):
    edge = Edge(store)
    loaded(store, [person(f"u{n}") for n in range(100)])
    inode = store.table.stat().st_ino
    loaded(store, [person(f"u{n}") for n in range(1, 101)])
    assert store.table.stat().st_ino == inode and (edge.who("u0"), edge.who("u100")) == (None, "u100")
    monkeypatch.setattr(recipients, "MANY", 10)
    loaded(store, [person(f"v{n}") for n in range(100)])
    assert store.table.stat().st_ino != inode and (edge.who("u5"), edge.who("v5")) == (None, "v5")


def test_a_torn_end_is_forgotten_and_damage_is_unknown(store):
    loaded(store, [person("ann")])
    store.change("contoso", [], [person("bob")])
    store.change("contoso", [], [person("carl")])
    log = store._log
    whole = log.read_bytes()
    for cut in range(len(whole) - 1, len(whole) - 40, -7):
        log.write_bytes(whole[:cut])
        edge = Edge(store)
        assert (edge.who("bob"), edge.who("carl")) == ("bob", None)
    again = RecipientStore(store.table.parent)
    again.change("contoso", [], [person("dora")])
    assert (Edge(store).who("dora"), Edge(store).who("carl")) == ("dora", None)
    hurt = bytearray(whole)
    hurt[40] ^= 1
    log.write_bytes(hurt)
    edge = Edge(store)
    assert isinstance(edge.table.who_is("contoso", "ann@c.test"), Unknown)
    with pytest.raises(Unavailable, match="damaged"):
        RecipientStore(store.table.parent).change("contoso", [], [person("x")])


def test_while_an_import_comes_into_force_its_organisation_waits(store):
    loaded(store, [person("ann")])
    loading = store.load("contoso")
    loading.add(person("bob"), 1)
    loading.seal()
    with pytest.raises(Unavailable, match="try again"):
        store.change("contoso", [], [person("x")])
    store.change("other", [], [person("y", organisation="other")])
    loading.drop()
    store.change("contoso", [], [person("x")])
    assert {row.primary.local for row in store.rows("contoso")} == {"ann", "x"}
    assert not list(store.table.parent.glob(".*"))


CHILD = """
import random, sys
from pathlib import Path
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import RecipientKind
from lockgate.storage import recipients
recipients.MANY = 20
store = recipients.RecipientStore(Path(sys.argv[1]))
store.ensure()
def person(name, city):
    return RecipientRow("contoso", RecipientKind.MAILBOX, Address(name, "c.test"), None, (), {"city": city})
round_ = int(sys.argv[2])
while True:
    round_ += 1
    print("begin", round_, flush=True)
    if round_ % 3 == 0:
        loading = store.load("contoso")
        for n in range(60):
            loading.add(person(f"u{n}", str(round_)), n)
        loading.seal()
        loading.put(keep_missing=False)
        loading.drop()
    else:
        rows = list(store.rows("contoso"))
        store.change("contoso", rows, [person(f"u{n}", str(round_)) for n in range(60)])
    print("done", round_, flush=True)
    if round_ % 4 == 0:
        store.merge()
"""


def test_killed_at_any_moment_the_state_is_the_old_or_the_new_one(tmp_path):
    """Each round gives everybody a new city at once; whoever is killed leaves one city, of the last or next round."""
    chance, folder, done = random.Random(5), tmp_path / "directory", 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(done)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read().split("\n")
        child.wait()
        begun = done + 1
        for line in said:
            word, _, number = line.partition(" ")
            if number.isdigit():
                begun = max(begun, int(number))
                done = int(number) if word == "done" else done
        store = RecipientStore(folder)
        store.ensure()
        cities = {row.attributes["city"] for row in store.rows("contoso")}
        assert len(cities) <= 1 and cities <= {str(done), str(begun)} and (cities or not done), (cities, done, begun)
        edge = Edge(store)
        assert (edge.who("u5") is not None) == bool(cities)
        done = int(cities.pop()) if cities else done
