"""Groups whose members are found by attributes: however the directory comes about, they are those who fit."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.flow import loading
from lockgate.flow.loading import Progress, Wishes, load
from lockgate.flow.recipient_filters import as_text, filter_in, fits, found_by, refitted
from lockgate.mail.address import Address
from lockgate.mail.directory import ATTRIBUTES, RecipientRow
from lockgate.mail.findings import RecipientKind
from lockgate.storage.recipients import RecipientStore
from lockgate.testing.recipients import MemoryRecipients

value = st.text(min_size=1, max_size=12).map(str.strip).filter(lambda text: text.strip() and "\0" not in text)


def read(text: str) -> tuple[dict[str, str], list[str]]:
    wrong: list[tuple[str, str]] = []
    return filter_in(text, wrong), [message for _, message in wrong]


@given(st.dictionaries(st.sampled_from(ATTRIBUTES), value, min_size=1, max_size=4))
def test_conditions_come_back_from_their_text(conditions):
    assert read(as_text(conditions)) == (conditions, [])


def test_conditions_are_forgiving_and_mistakes_are_told():
    assert read(' City = Oslo; custom_attribute_1="a;""b""" ;kind=mailbox; ') == (
        {"city": "Oslo", "custom_attribute1": 'a;"b"', "kind": "mailbox"}, []
    )  # fmt: skip
    assert read("") == ({}, [])
    for text, said in (
        ("Oslo", "is no condition; write for example city=Oslo"), ("town=Oslo", "'town' is no attribute"),
        ("city=", "city has no value"), ("kind=robot", "'robot' is no kind"), ('city="Oslo', "is no condition"),
        ("city=a=b;;", ""),
    ):  # fmt: skip
        assert any(said in message for message in read(text)[1]) or not said, text


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    conditions, wrong = read(text)
    assert wrong or as_text(conditions) == as_text(read(as_text(conditions))[0])


name = st.sampled_from([f"u{n}" for n in range(8)])
city = st.sampled_from(["Oslo", "oslo", "Bonn"])
person = st.builds(
    lambda who, kind, attributes: RecipientRow("contoso", kind, Address(who, "c.test"), attributes=attributes),
    name, st.sampled_from(RecipientKind),
    st.dictionaries(st.sampled_from(["city", "department"]), city, max_size=2),
)  # fmt: skip
conditions = st.one_of(
    st.dictionaries(st.sampled_from(["city", "department"]), city, min_size=1),
    st.builds(lambda one, kind: {**one, "kind": kind.value}, st.dictionaries(st.just("city"), city),
              st.sampled_from(RecipientKind)),
)  # fmt: skip


def group_of(number: int, wanted: dict[str, str]) -> RecipientRow:
    return RecipientRow("contoso", RecipientKind.GROUP, Address(f"g{number}", "c.test"), recipient_filter=wanted)


@settings(deadline=None)
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(person, max_size=25))
def test_one_change_after_another_finds_whom_a_search_finds(wanted, changes):
    groups = [group_of(number, one) for number, one in enumerate(wanted)]
    people: dict[str, RecipientRow] = {}
    for row in changes:
        before = people.get(row.primary.key)
        after = None if before == row else row
        groups = [msgspec.structs.replace(one, members=refitted(one, before, after)) for one in groups]
        people.pop(row.primary.key, None)
        if after is not None:
            people[row.primary.key] = after
        everybody = [*people.values(), *groups]
        assert [one.members for one in groups] == found_by(groups, everybody)
        for one in groups:
            keys = sorted(row.primary.key for row in everybody if fits(row, one.recipient_filter))
            assert [member.key for member in one.members] == keys


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryRecipients()
    made = RecipientStore(tmp_path / "directory")
    made.ensure()
    return made


HEAD = "address,kind,aliases,city,recipient_filter,members\n"


def put(store, *lines: str, **wishes):
    wrong = []
    told = load([HEAD, *lines], Wishes("contoso", "csv", "people.csv", **wishes), store, Progress(wrong.append))
    return told, wrong


def members(store, name: str) -> list[str]:
    return [member.local for member in store.row("contoso", f"{name}@c.test").members]


ANN, BOB, CARL = "ann@c.test,mailbox,,Oslo,,\n", "bob@c.test,mailbox,,Bonn,,\n", "carl@c.test,mailbox,,Oslo,,\n"
NORTH = "north@c.test,distribution_group,n@c.test,,city=Oslo,\n"


def test_an_import_finds_members_wherever_the_group_stands_in_the_file(store):
    told, wrong = put(store, NORTH, ANN, BOB, CARL)
    assert not wrong and told["recipients"] == 4 and members(store, "n") == ["ann", "carl"]
    told, _ = put(store, ANN, BOB, CARL, NORTH)
    assert (told["unchanged"], told["changed"]) == (4, 0)
    told, _ = put(store, ANN, BOB.replace("Bonn", "OSLO"), CARL, NORTH)
    assert told["changed"] == 2 and members(store, "north") == ["ann", "bob", "carl"]
    told, _ = put(store, ANN, BOB, NORTH, force=True)
    assert members(store, "north") == ["ann"]


def test_who_is_kept_is_found_as_well(store):
    put(store, NORTH, ANN, BOB)
    told, _ = put(store, CARL, keep_missing=True)
    assert members(store, "north") == ["ann", "carl"] and told["recipients"] == 1
    told, wrong = put(store, "dora@c.test,mailbox,,Oslo,,\n", "nonsense,,,,,\n")
    assert len(wrong) == 1 and members(store, "north") == ["ann", "carl", "dora"]
    put(store, "south@c.test,distribution_group,,,city=bonn,\n", ANN.replace("Oslo", "Bonn"), keep_missing=True)
    assert members(store, "south") == ["ann", "bob"] and members(store, "north") == ["carl", "dora"]
    # The file gives one of the kept group's addresses to somebody else.
    put(store, "eve@c.test,mailbox,n@c.test,Oslo,,\n", keep_missing=True)
    assert members(store, "north") == ["carl", "dora", "eve"]
    assert store.row("contoso", "n@c.test").primary.local == "eve"


def test_a_filter_and_listed_members_exclude_each_other(store):
    lines = ("x@c.test,distribution_group,,,city=Oslo,ann@c.test\n", "y@c.test,mailbox,,,city=Oslo,\n")
    _, wrong = put(store, ANN, *lines)
    assert [(one.line, one.column) for one in wrong] == [(3, "members"), (4, "recipient_filter")]


def test_a_filter_that_finds_too_many_is_rejected_with_its_line(store, monkeypatch):
    put(store, ANN, BOB, NORTH)
    monkeypatch.setattr(loading, "MOST_MEMBERS", 1)
    few = "few@c.test,distribution_group,,,city=Bonn,\n"
    _, wrong = put(store, CARL, ANN, few, NORTH)
    assert [(one.line, one.column, one.message) for one in wrong] == [
        (5, "recipient_filter", "it finds 2 members; a group has at most 1")
    ]
    # A line was rejected, so nobody was removed, and those who were kept are found.
    assert members(store, "few") == ["bob"] and store.row("contoso", "north@c.test") is not None
