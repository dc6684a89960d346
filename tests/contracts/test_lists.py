"""Every keeper of named lists answers and changes alike (seams.Lists, seams.ListKeeper)."""

from __future__ import annotations

import pytest

from contracts.spools import HandClock
from lockgate.mail.findings import Unknown
from lockgate.mail.lists import ListKind, ListName
from lockgate.policy.listed import find_value, read_entry
from lockgate.policy.phrases import find_phrase
from lockgate.storage import lists as keeping
from lockgate.storage.lists import ListFiles, ListStore
from lockgate.testing.lists import MemoryListKeeper, MemoryLists

PARTNERS = ListName("contoso", ListKind.DOMAINS, "partners")
WORDS = ListName("contoso", ListKind.WORDS, "project names")


class World:
    """A keeper, and the same lists as the judge's questions see them."""

    def __init__(self, keeper, lists, clock, folder=None) -> None:
        self.keeper, self.lists, self.clock, self.folder = keeper, lists, clock, folder

    def view(self, name=PARTNERS):
        self.clock.at += 1.0
        return self.lists.view(name)

    def on(self, value: str, name=PARTNERS) -> str:
        view = self.view(name)
        assert not isinstance(view, Unknown), view
        found = find_value(name.kind, value, view)
        return found.text if found is not None else ""

    def there(self, name=PARTNERS) -> list[str]:
        return [entry.text for entry in self.keeper.current(name).entries()]


@pytest.fixture(params=["memory", "few", "table"])
def world(request, tmp_path, monkeypatch):
    clock = HandClock()
    if request.param == "memory":
        lists = MemoryLists()
        return World(MemoryListKeeper(lists), lists, clock)
    if request.param == "table":
        monkeypatch.setattr(keeping, "MANY", 0)  # every change comes into a table
    store = ListStore(tmp_path / "lists", clock)
    store.ensure(lambda text: read_entry(ListKind.WORDS, text))
    return World(store, ListFiles(tmp_path / "lists", clock), clock, tmp_path / "lists")


def entries(*texts: str, kind=ListKind.DOMAINS):
    return [read_entry(kind, text) for text in texts]


def counts(change):
    return (change.revision, change.before, change.after, change.added, change.there, change.removed)


def test_nothing_was_ever_entered(world) -> None:
    view = world.view()
    assert (view.count, view.revision, list(view.entries())) == (0, 0, [])
    assert world.on("a.test") == "" and not view.some_of(["a.test"])
    assert counts(world.keeper.clear(PARTNERS, "me", what_if=False)) == (0, 0, 0, 0, 0, 0)


def test_entries_are_added_and_removed_each_once(world) -> None:
    keeper = world.keeper
    done = keeper.change(PARTNERS, entries("A.test", "b.test", "a.TEST"), (), "me", what_if=False)
    assert counts(done) == (1, 0, 2, 2, 0, 0)
    done = keeper.change(PARTNERS, entries("b.test", "c.test"), (), "me", what_if=False)
    assert counts(done) == (2, 2, 3, 1, 1, 0)
    assert world.there() == ["A.test", "b.test", "c.test"] and world.on("x.a.test") == "A.test"
    done = keeper.change(PARTNERS, (), entries("B.test", "z.test"), "you", what_if=False)
    assert counts(done) == (3, 3, 2, 0, 0, 1) and done.missing == ("z.test",)
    assert world.there() == ["A.test", "c.test"] and world.on("b.test") == ""
    keeper.change(PARTNERS, entries("b.test"), (), "me", what_if=False)
    assert world.there() == ["A.test", "c.test", "b.test"] and world.on("b.test") == "b.test"
    assert world.view().revision == 4 and world.view().by == "me" and world.view().count == 3
    unchanged = keeper.change(PARTNERS, entries("b.test"), entries("z.test"), "me", what_if=False)
    assert unchanged.revision == 4 and world.view().revision == 4


def test_very_many_are_loaded_or_replaced(world) -> None:
    keeper = world.keeper
    keeper.change(PARTNERS, entries("a.test", "b.test"), (), "me", what_if=False)
    tried = keeper.load(PARTNERS, entries("b.test", "c.test", "c.test"), "me", replace=True, what_if=True)
    assert counts(tried) == (1, 2, 2, 1, 1, 1) and world.there() == ["a.test", "b.test"]
    done = keeper.load(PARTNERS, entries("b.test", "c.test", "c.test"), "me", replace=False, what_if=False)
    assert counts(done) == (2, 2, 3, 1, 1, 0) and world.there() == ["a.test", "b.test", "c.test"]
    done = keeper.load(PARTNERS, entries("d.test", "B.test"), "me", replace=True, what_if=False)
    assert counts(done) == (3, 3, 2, 1, 1, 2) and sorted(world.there(), key=str.casefold) == ["B.test", "d.test"]
    assert world.on("a.test") == "" and world.on("d.test") == "d.test"
    assert counts(keeper.clear(PARTNERS, "me", what_if=True)) == (3, 2, 0, 0, 0, 2)
    assert counts(keeper.clear(PARTNERS, "me", what_if=False)) == (4, 2, 0, 0, 0, 2)
    assert world.there() == [] and world.view().count == 0


def test_what_goes_wrong_while_loading_changes_nothing(world) -> None:
    world.keeper.change(PARTNERS, entries("a.test"), (), "me", what_if=False)

    def broken():
        yield from entries(*(f"n{n}.test" for n in range(3000)))
        raise ValueError("line 3001 is no domain")

    for replace in (True, False):
        with pytest.raises(ValueError, match="3001"):
            world.keeper.load(PARTNERS, broken(), "me", replace=replace, what_if=False)
        assert world.there() == ["a.test"] and world.view().revision == 1
    assert world.folder is None or not [path for path in world.folder.iterdir() if path.name.endswith(".new")]


def test_lists_and_their_kinds_are_apart(world) -> None:
    others = [
        ListName("fabrikam", ListKind.DOMAINS, "partners"), ListName("contoso", ListKind.ADDRESSES, "partners"),
        ListName("contoso", ListKind.DOMAINS, "partner"),
    ]  # fmt: skip
    world.keeper.change(PARTNERS, entries("a.test"), (), "me", what_if=False)
    for other in others:
        assert world.view(other).count == 0
    assert world.on("a.test") == "a.test"


def test_phrases_are_found_through_changes(world) -> None:
    keeper = world.keeper
    some = entries("falcon", "Project Falcon nine launch", "Straße", kind=ListKind.WORDS)
    keeper.change(WORDS, some, (), "me", what_if=False)
    text = "the project  FALCON nine\r\nlaunch"
    assert find_phrase([text], world.view(WORDS)).text == "Project Falcon nine launch"
    assert find_phrase(["Große STRASSE 5"], world.view(WORDS)).text == "Straße"
    keeper.change(WORDS, (), entries("project falcon NINE launch", kind=ListKind.WORDS), "me", what_if=False)
    assert find_phrase([text], world.view(WORDS)).text == "falcon"
    # Two entries share a spelling; one of them goes.
    keeper.change(WORDS, entries("Strasse", kind=ListKind.WORDS), some[2:], "me", what_if=False)
    assert find_phrase(["große straße 5"], world.view(WORDS)).text == "Strasse"


def test_odd_values_are_on_no_list(world) -> None:
    world.keeper.change(PARTNERS, entries("a.test"), (), "me", what_if=False)
    for odd in ("", ".", "..", "\0", "x" * 100_000, "ü.test", "\ud800.b", "a.test.", "[192.0.2.1]", "\n", "\t"):
        assert world.on(odd) == "", ascii(odd[:20])


def test_what_cannot_be_read_is_unknown(world) -> None:
    world.keeper.change(PARTNERS, entries("a.test"), (), "me", what_if=False)
    if world.folder is None:
        world.lists.broken = "on fire"
    else:
        world.folder.rename(world.folder.with_name("gone"))
    assert isinstance(world.view(), Unknown)
