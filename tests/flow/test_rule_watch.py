"""Hits of rules: counted once for each recipient and message, by mode, and never but for live mail."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from flow.house import CONTOSO, House
from lockgate.flow.desk.rule_stats import stats_of
from lockgate.flow.rule_watch import RuleWatch
from lockgate.mail.record import Recorder
from lockgate.mail.rule_hits import RuleHits, RuleMode
from lockgate.storage.rule_batches import RuleTally, batches_waiting
from lockgate.storage.rule_book import RuleBook
from lockgate.testing.builders import people, policy_of, who_of
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListJournal

RULES = """
[[mail_flow_rule]]
name = "Watch: all"
priority = 0
mode = "audit"
subject_contains_words = ["hello"]
delete_message = true
[[mail_flow_rule]]
name = "Ben"
priority = 1
sent_to = ["ben@contoso.com"]
set_header = {name = "X-Ben", value = "1"}
[[mail_flow_rule]]
name = "Never"
priority = 2
subject_contains_words = ["nothing of the kind"]
delete_message = true
"""


class World:
    """A house whose rules are watched, and what the desk would tell."""

    def __init__(self, folder: Path, rules: str = RULES) -> None:
        self.journal = ListJournal()
        self.clock = HandClock()
        self.tally = RuleTally(folder, 0, self.clock, self.journal)
        ticks = itertools.count(0, 1000)
        self.watch = RuleWatch(self.tally, self.clock.now, self.journal, lambda: next(ticks))
        self.house = House(policy=CONTOSO + rules, rules=self.watch)
        self.house.ask = people(who_of("contoso", "ben@contoso.com"), who_of("contoso", "amy@contoso.com"))
        self.folder, self.book = folder, RuleBook(folder)

    def rows(self) -> dict[str, dict]:
        self.tally.keep(at_once=True)
        self.book.take([(path.name, batch) for path, batch in batches_waiting(self.folder) if batch is not None])
        assert not self.journal.alarms, self.journal.alarms
        return {row["name"]: row for row in stats_of(self.book.rules(), self.house.policy)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_messages_and_recipients_are_counted_by_mode(world: World) -> None:
    await world.house.send("ben@contoso.com", "amy@contoso.com")
    await world.house.send("amy@contoso.com")
    rows = world.rows()
    assert list(rows) == ["Watch: all", "Ben", "Never"]
    watched, ben, never = rows.values()
    assert watched["audit"] == {"messages": 2, "recipients": 3} and watched["enforced"]["messages"] == 0
    assert ben["enforced"] == {"messages": 1, "recipients": 1} and ben["hits"] == 1
    assert [one["id"] for one in watched["samples"]] == ["id-2", "id-1"] and ben["last_hit"]
    assert never["hits"] == 0 and never["last_hit"] == "" and never["samples"] == []


async def test_a_refusal_counts(world: World) -> None:
    no = 'name = "No"\nsubject_contains_words = ["hello"]\nreject_message = {reason_text = "No"}\n'
    world.house.policy = policy_of(f"{CONTOSO}[[mail_flow_rule]]\n{no}")
    assert (await world.house.send("ben@contoso.com"))[-1].code == 550
    assert world.rows()["No"]["enforced"] == {"messages": 1, "recipients": 1}


BOSS = """
[[mail_flow_rule]]
name = "Boss: of whom"
sent_to = ["ben@contoso.com"]
subject_or_body_contains_words = ["very secret"]
delete_message = true
"""


async def test_who_is_judged_again_is_counted_once(tmp_path: Path) -> None:
    world = World(tmp_path, BOSS)
    house = world.house
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 250
    row = world.rows()["Boss: of whom"]
    assert row["hits"] == 0 and row["unknown"] == 1
    await house.later(61.0)
    assert world.rows()["Boss: of whom"]["hits"] == 0
    house.policy = policy_of(CONTOSO + BOSS.replace('subject_or_body_contains_words = ["very secret"]\n', ""))
    await house.later(601.0)
    assert house.statuses()["ben@contoso.com"] == "Dropped"
    row = world.rows()["Boss: of whom"]
    assert row["enforced"] == {"messages": 1, "recipients": 1} and row["unknown"] == 1
    await house.later(601.0)
    assert world.rows()["Boss: of whom"]["hits"] == 1


async def test_time_is_taken_of_one_message_at_a_time(world: World) -> None:
    await world.house.send("ben@contoso.com")
    world.watch.time()
    world.watch.time()  # nothing came since
    rows = world.rows()
    assert {row["timed"] for row in rows.values()} == {1}
    assert {row["microseconds"] for row in rows.values()} == {1.0}


async def test_timing_many_rules_is_bounded_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    many = "".join(
        f'[[mail_flow_rule]]\nname = "r{n}"\npriority = {n}\nsubject_contains_words = ["x{n}"]\ndelete_message = true\n'
        for n in range(10)
    )
    world = World(tmp_path, many)
    ticks = itertools.count(0, 300_000)  # each look at the clock finds it 0.3 ms later: two rules fill the budget
    world.watch = RuleWatch(world.tally, world.clock.now, world.journal, lambda: next(ticks))
    for _ in range(5):
        world.watch.judged(world.house.policy, *await judged(world.house))
        world.watch.time()
    timed = [row["timed"] for row in world.rows().values()]
    assert timed == [1] * 10


async def judged(house: House):
    """Facts and ruling of a message."""
    await house.send("ben@contoso.com")
    data = list(house.spool.messages.values())[-1].stories[0][1]
    story = Recorder().read_story(data)
    return story.facts, story.ruling


async def test_a_rule_that_is_no_more_is_told_as_such_and_forgotten_in_time(world: World) -> None:
    await world.house.send("ben@contoso.com")
    world.rows()
    world.house.policy = policy_of(CONTOSO + RULES.replace('"Ben"', '"Benjamin"'))
    rows = world.rows()
    assert rows["Ben"]["state"] == "no more" and rows["Ben"]["hits"] == 1 and rows["Benjamin"]["hits"] == 0
    there = frozenset((("contoso", "Benjamin"), ("contoso", "Watch: all")))
    assert world.book.prune(there, world.clock.now() - 1) == 0
    assert world.book.prune(there, world.clock.now() + 1) == 1
    assert "Ben" not in world.rows() and world.rows()["Watch: all"]["hits"] == 1


def test_a_batch_is_counted_once_and_a_damaged_one_harms_nobody(tmp_path: Path) -> None:
    clock, journal, book = HandClock(), ListJournal(), RuleBook(tmp_path)
    tally = RuleTally(tmp_path, 0, clock, journal)
    for number in range(25):
        tally.hit("contoso", "a", RuleMode.ENFORCED, float(number + 1), f"m{number}", 2)
    tally.keep(at_once=True)
    (tmp_path / "counts" / "000-0-0-0.msgpack").write_bytes(b"\xff")
    found = list(batches_waiting(tmp_path))
    assert [batch is None for _, batch in found] == [True, False]
    batches = [(path.name, batch) for path, batch in found if batch is not None]
    book.take(batches)
    book.take(batches)
    (one,) = book.rules()
    last = [(float(n + 1), f"m{n}") for n in range(15, 25)]
    assert one == RuleHits("contoso", "a", RuleMode.ENFORCED, 25, 50, 0, 1.0, 25.0, 0, 0, last)
    assert RuleBook(tmp_path).rules() == [one]
