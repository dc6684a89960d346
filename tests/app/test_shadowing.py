"""The process behind the shadow: judges what is new, once, goes on after a kill, and passes over what is too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from doors.replays_here import kept_in
from flow.house import CONTOSO, House
from lockgate.app import shadowing
from lockgate.app.config import read_config
from lockgate.app.shadowing import MOST_WAITING, Shadow, ShadowShelf
from lockgate.flow.shadow import Draft, ShadowTally, in_share
from lockgate.mail.record import Kept, Recorder
from lockgate.storage.stories import Mark
from lockgate.testing.builders import policy_of

RULE = '[[mail_flow_rule]]\nname = "All"\nsubject_contains_words = ["hello"]\ndelete_message = true\n'
DRAFT = Draft({"a.toml": CONTOSO + RULE}, 1.0, "root", 5.0, digest="d")


class Store:
    """Stories in a list; the number of a message is its place in it."""

    queue, trace, recorder = Path("queue"), Path("trace"), Recorder()

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.house, self.stories, self.refusing = house, list[Kept](), frozenset[str]()
        monkeypatch.setattr(shadowing, "newest", lambda queue, trace: Mark(len(self.stories), 0))
        monkeypatch.setattr(shadowing, "stories_after", self.after)

    def after(self, queue: Path, trace: Path, mark: Mark, until: Mark) -> tuple[list[Kept], Mark]:
        last = min(until.message, mark.message + 1000)
        return self.stories[mark.message : last], Mark(last, until.refusal)

    def ask(self, questions: Any) -> Any:
        return self.house.ask(questions)

    def policy(self, documents: Any, revision: int) -> Any:
        return policy_of("\n".join(documents.values()))

    def may_judge(self, kept: Kept) -> bool:
        return kept.organisation not in self.refusing


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    house = House()
    await house.send("ben@contoso.com", "amy@contoso.com")
    found = Store(house, monkeypatch)
    (found.one,) = kept_in(house)
    return found


@pytest.fixture
def shelf(tmp_path: Path, store: Store) -> ShadowShelf:
    file = tmp_path / "lockgate.toml"
    file.write_text('hostname = "mx.lockgate.test"\n')
    return ShadowShelf(read_config(file))


def begun(store: Store, shelf: ShadowShelf, draft: Draft = DRAFT) -> Shadow:
    shadow = Shadow(store, shelf, draft)
    shadow.compile()
    return shadow


async def test_what_comes_after_the_start_is_judged_once(store: Store, shelf: ShadowShelf) -> None:
    store.stories.append(store.one)
    shelf.put(DRAFT)
    store.stories += [store.one._replace(id="a"), store.one._replace(id="b")]
    shadow = begun(store, shelf)
    assert shadow.step() and not shadow.step()
    assert (shadow.tally.compared.messages, shadow.tally.compared.changed) == (2, 4)
    again = begun(store, shelf)  # as after a kill
    assert not again.step() and again.tally == shelf.tally()
    store.stories.append(store.one._replace(id="c"))
    assert again.step() and shelf.tally().compared.changed == 6
    other = begun(store, shelf, Draft(DRAFT.documents, 1.0, "root", 6.0))
    assert other.tally.compared.changed == 0, "what was found of another draft does not count"


async def test_what_is_too_much_is_passed_over_and_counted(store: Store, shelf: ShadowShelf) -> None:
    shelf.put(DRAFT)
    shadow = begun(store, shelf)
    store.stories += [store.one._replace(id=str(n)) for n in range(MOST_WAITING + 500)]
    assert shadow.step()
    assert shadow.tally.dropped == 500 and shadow.tally.compared.messages == 1000
    assert shadow.tally.message == 1500


async def test_whose_facts_may_not_be_used_is_not_judged(store: Store, shelf: ShadowShelf) -> None:
    shelf.put(DRAFT)
    shadow = begun(store, shelf)
    store.refusing = frozenset({"contoso"})
    store.stories.append(store.one)
    assert shadow.step() and shadow.tally.compared == ShadowTally(0.0).compared


async def test_a_draft_that_cannot_be_read_any_more_is_none(tmp_path: Path, shelf: ShadowShelf) -> None:
    assert shelf.draft() is None and shelf.stamp() == (0, 0)
    shelf.put(DRAFT)
    assert shelf.draft() == DRAFT and shelf.stamp() != (0, 0)
    (file,) = tmp_path.glob("**/draft.json")
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"{")
    assert shelf.draft() is None
    shelf.clear()
    assert shelf.stamp() == (0, 0) and shelf.tally() is None


def test_a_share_holds_about_that_many_and_always_the_same() -> None:
    ids = [f"01a2101a-157c-728d-8954-{n:012x}" for n in range(10_000)]
    chosen = [one for one in ids if in_share(one, 0.1)]
    assert 850 < len(chosen) < 1150 and all(in_share(one, 0.2) for one in chosen)
    assert all(in_share(one, 1.0) for one in ids)
