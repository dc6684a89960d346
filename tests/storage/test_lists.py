"""The files of named lists: shared, damaged, killed in the middle, a million entries, folded anew."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from contracts.spools import HandClock
from lockgate.flow.listed import on_list
from lockgate.mail.findings import InList, OnList, Unknown
from lockgate.mail.lists import ListEntry, ListKind, ListName
from lockgate.policy.listed import read_entry
from lockgate.storage import lists as keeping
from lockgate.storage.list_table import ListTable, ListWriter
from lockgate.storage.lists import ListFiles, ListStore
from pace import slower

SOURCE = Path(__file__).resolve().parents[2] / "src"
NAME = ListName("contoso", ListKind.DOMAINS, "partners")
WORDS = ListName("contoso", ListKind.WORDS, "words")


def domain(text: str) -> ListEntry:
    return ListEntry(text, (text,))


def fold(text: str) -> ListEntry:
    return read_entry(ListKind.WORDS, text)


@pytest.fixture
def store(tmp_path):
    made = ListStore(tmp_path / "lists", HandClock())
    made.ensure(fold)
    return made


def loaded(store, count: int = 5000) -> None:
    store.load(NAME, (domain(f"d{n}.test") for n in range(count)), "me", replace=True, what_if=False)


def file_of(store, ending: str) -> Path:
    (found,) = store.folder.glob(f"*{ending}")
    return found


def asked(store, value: str):
    return on_list(ListFiles(store.folder, HandClock()), InList("contoso", "partners", ListKind.DOMAINS, value))


def test_a_change_is_seen_within_a_second_by_those_who_look(store) -> None:
    clock = HandClock()
    files = ListFiles(store.folder, clock)
    question = InList("contoso", "partners", ListKind.DOMAINS, "a.test")
    assert on_list(files, question) == OnList("", 0, empty=True)
    for revision in range(1, 6):
        change = (domain("a.test"),), ()
        store.change(NAME, *(change if revision % 2 else change[::-1]), "me", what_if=False)
        clock.at += 0.5
        assert on_list(files, question) == OnList("a.test" if revision % 2 else "", revision, revision % 2 == 0)
    loaded(store)
    clock.at += 0.5
    assert on_list(files, question) == OnList("", 6)
    assert on_list(files, InList("contoso", "partners", ListKind.DOMAINS, "x.d77.test")) == OnList("d77.test", 6)


def test_a_few_changes_of_a_large_list_write_no_table(store) -> None:
    loaded(store)
    before = file_of(store, ".table")
    store.change(NAME, [domain("new.test")], [domain("d5.test")], "me", what_if=False)
    assert file_of(store, ".table") == before and before.stat().st_size > 50 * file_of(store, ".list").stat().st_size
    assert asked(store, "new.test") == OnList("new.test", 2) and asked(store, "d5.test") == OnList("", 2)
    many = [domain(f"more{n}.test") for n in range(keeping.MANY)]
    done = store.change(NAME, many, (), "me", what_if=False)
    assert done.after == 5000 + keeping.MANY and asked(store, "more7.test") == OnList("more7.test", 3)
    assert asked(store, "d5.test") == OnList("", 3), "what was removed before is not in the new table"
    # The table of before is kept for those who are just reading, and goes with the next one.
    assert {path.name for path in store.folder.glob("*.table")} > {before.name}
    loaded(store, 3000)
    assert before.name not in {path.name for path in store.folder.glob("*.table")}


def test_two_changes_at_once_lose_nothing(store, monkeypatch) -> None:
    monkeypatch.setattr(keeping, "MANY", 30)

    def change(part: int) -> None:
        for n in range(20):
            store.change(NAME, [domain(f"p{part}-{n}.test")], (), f"by {part}", what_if=False)

    threads = [threading.Thread(target=change, args=(part,)) for part in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    view = store.current(NAME)
    assert (view.count, view.revision) == (80, 80) and len(list(view.entries())) == 80


@pytest.mark.parametrize(
    ("ending", "how"),
    [*((ending, how) for ending in (".list", ".table") for how in ("cut", "empty", "scribbled")), (".table", "gone")],
)
def test_what_is_damaged_is_unknown_and_never_a_miss(store, ending: str, how: str) -> None:
    loaded(store)
    path = file_of(store, ending)
    octets = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": octets[: len(octets) // 2], "empty": b"", "scribbled": b"\xff" * len(octets)}[how])
    assert isinstance(asked(store, "d5.test"), Unknown)
    assert isinstance(asked(store, "other.test"), Unknown)
    other = InList("contoso", "others", ListKind.DOMAINS, "d5.test")
    assert on_list(ListFiles(store.folder, HandClock()), other) == OnList("", 0, empty=True)


def test_damage_within_a_table_never_kills_who_asks(store) -> None:
    loaded(store, 3000)
    path = file_of(store, ".table")
    whole, chance = path.read_bytes(), random.Random(7)
    for _ in range(150):
        hurt = bytearray(whole)
        for _ in range(20):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        path.write_bytes(hurt)
        assert isinstance(asked(store, f"d{chance.randrange(3000)}.test"), OnList | Unknown)


def test_entries_that_have_one_hash_on_purpose_are_told_apart(tmp_path) -> None:
    """CRC-32 is linear: whatever it is salted with, these have one hash."""
    made = colliding(200)
    assert len({zlib.crc32(text.encode(), 7) for text in made}) == 1
    writer = ListWriter(tmp_path / "t")
    for text in made:
        writer.add(domain(text))
    writer.publish()
    table = ListTable(tmp_path / "t")
    assert all(table.find(text).text == text and table.has(text) for text in made)
    assert [one.text for one in table.entries()] == made
    began = time.process_time()
    assert table.find("b" * 40) is None
    assert time.process_time() - began < 0.01 * slower()


def colliding(count: int) -> list[str]:
    """Texts of one length and one CRC-32, found by elimination over GF(2)."""
    basis: dict[int, tuple[int, int]] = {}
    zero, free = zlib.crc32(b"a" * 40), []
    for bit in range(40):
        octets = bytearray(b"a" * 40)
        octets[bit] ^= 2  # a becomes c
        effect, used = zlib.crc32(bytes(octets)) ^ zero, 1 << bit
        while effect and effect.bit_length() in basis:
            other, with_ = basis[effect.bit_length()]
            effect, used = effect ^ other, used ^ with_
        if effect:
            basis[effect.bit_length()] = effect, used
        else:
            free.append(used)
    texts = []
    for number in range(min(count, 1 << len(free))):
        used = 0
        for place, one in enumerate(free):
            used ^= one if number >> place & 1 else 0
        texts.append("".join("c" if used >> bit & 1 else "a" for bit in range(40)))
    return texts


def test_words_are_folded_anew_after_a_change_of_unicode(store, monkeypatch) -> None:
    monkeypatch.setattr(keeping.unicodedata, "unidata_version", "1.0.0")
    store.load(WORDS, [ListEntry("Falcon", ("old folding",))], "me", replace=True, what_if=False)
    store.load(NAME, [domain("a.test")], "me", replace=True, what_if=False)
    monkeypatch.undo()
    store.ensure(fold)
    view = store.current(WORDS)
    assert view.find("falcon").text == "Falcon" and view.find("old folding") is None
    assert (view.by, view.revision) == ("me", 2) and store.current(NAME).revision == 1
    store.ensure(fold)
    assert store.current(WORDS).revision == 2


CHILD = """
import sys
from pathlib import Path
from lockgate.app.clock import SystemClock
from lockgate.mail.lists import ListEntry, ListKind, ListName
from lockgate.storage import lists
lists.MANY = 20
store = lists.ListStore(Path(sys.argv[1]), SystemClock())
store.ensure(lambda text: ListEntry(text, (text,)))
name = ListName("contoso", ListKind.DOMAINS, "partners")
round_ = int(sys.argv[2])
while True:
    round_ += 1
    print("begin", round_, flush=True)
    size = 60 if round_ % 3 == 0 else 5
    store.load(name, [ListEntry(f"d{n}.r{round_}", (f"d{n}.r{round_}",)) for n in range(size)], "me",
               replace=True, what_if=False)
    print("done", round_, flush=True)
"""


def test_killed_at_any_moment_the_list_is_the_old_or_the_new_one(tmp_path) -> None:
    chance, folder, done = random.Random(5), tmp_path / "lists", 0
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
        store = ListStore(folder, HandClock())
        store.ensure(fold)
        view = store.current(NAME)
        there = [entry.text for entry in view.entries()]
        rounds = {int(text.partition(".r")[2]) for text in there}
        assert len(rounds) <= 1 and rounds <= {done, begun} and (rounds or not done), (rounds, done, begun)
        assert view.count == len(there) and all(view.find(text) is not None for text in there)
        assert not list(folder.glob("*.new")) and len(list(folder.glob("*.table"))) <= 1
        done = rounds.pop() if rounds else done
