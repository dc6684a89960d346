"""Groups, forwarding and restrictions in the store: kept whole, found by whom they name, read from before."""

from __future__ import annotations

import base64
import random
import string
import time
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.spools import HandClock
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Forwarding, Known, Members, RecipientKind, Restriction, Unknown
from lockgate.seams import Unavailable
from lockgate.storage import directory_log, recipients
from lockgate.storage.directory import DirectoryTable, build_table
from lockgate.storage.layout import HEADER, NOTED, PLAIN
from lockgate.storage.recipients import RecipientStore
from lockgate.storage.records import Records, pack, unpack
from pace import slower

OLD_TABLE = (
    "c-r%Eckv8zbq--<U|?WofB+^a%?hPsIG@h)uDh65I=9wmZs>Bq45;`71_S`<XMti?ELaAJ3w>rur~~Oa3}GsKK>EP_&FUsV`n>%GbC4Nb$(|)bK$;W8V"
    "P^aPpBqRg=jWB=7w0o1=H)pg>y@MympJC-K^Took~2#xmpJ9;<uM50)Q3+O0|U%HW{^GxWPLd~P@O;)gdu@TZE9I+QDstoN+r4ui1{L*@L^_y1TT^vsA?"
    "b!!f-81O-n3-XaoR#b72D"
)
OLD_LOG = (
    "c-r%EclL1fb9ZH8fPncx>~m~K{S@Zq$@zID`NjDYSEZJvIwb3rq!yP<Y+I9Gl%ANES)5psnV$z!vLrh*FJ)zJVrEW!X>n@N@`9qw+{B{FrlmRg$%#3Of%"
    "=!F<O8MimO+eJky=rbT9lWV15@D&SFs{3u?VaNXh?oVW@_<-Rf#1fMVU#ZK*7c($(bdUi$imA0f~-GM*"
)
"""What the version without memberships wrote: ann with an alias, a group, a mail user who was changed once."""


def group(name: str, *members: str, **more) -> RecipientRow:
    listed = tuple(Address(*one.split("@")) if "@" in one else Address(one, "c.test") for one in members)
    return RecipientRow("contoso", RecipientKind.GROUP, Address(name, "c.test"), members=listed, **more)


def mailbox(name: str, **more) -> RecipientRow:
    return RecipientRow("contoso", RecipientKind.MAILBOX, Address(name, "c.test"), **more)


@pytest.fixture
def store(tmp_path):
    made = RecipientStore(tmp_path / "directory")
    made.ensure()
    return made


def loaded(store: RecipientStore, rows) -> None:
    loading = store.load("contoso")
    try:
        for line, row in enumerate(rows):
            assert loading.add(row, line) is None
        loading.seal()
        loading.put(keep_missing=False)
    finally:
        loading.drop()


def named(store: RecipientStore, *names: str) -> list[str]:
    return sorted(row.primary.local for row in store.naming("contoso", [f"{name}@c.test" for name in names]))


local = st.text(string.ascii_letters + "._-", min_size=1, max_size=12)
address = st.builds(Address, local, st.sampled_from(["c.test", "far.test"]))
forwarding = st.builds(Forwarding, address, st.booleans(), st.booleans())
lists = st.lists(address.map(lambda one: one.key), max_size=4).map(tuple)
restriction = st.builds(Restriction, st.booleans(), st.booleans(), lists, lists)
row = st.builds(
    RecipientRow, st.just("contoso"), st.sampled_from(RecipientKind), address, st.none() | address, st.just(()),
    st.dictionaries(st.sampled_from(["city", "notes"]), st.text(max_size=9)), st.lists(address, max_size=9).map(tuple),
    st.lists(address, max_size=2).map(tuple), st.none() | forwarding, st.none() | restriction,
    st.dictionaries(st.sampled_from(["city", "kind"]), st.text(min_size=1, max_size=9), max_size=2),
)  # fmt: skip


@settings(deadline=None)
@given(row, st.lists(local, max_size=3, unique_by=str.lower))
def test_everything_comes_back_from_records_and_from_the_log(one, aliases):
    proxies = {f"{name.lower()}@c.test": Address(name.lower(), "c.test") for name in aliases}
    proxies.pop(one.primary.key, None)
    one = msgspec.structs.replace(one, proxies=tuple(proxies.values()))
    assert unpack(pack(one)) == one
    change = directory_log.Change(5, "contoso", (), (one,))
    assert directory_log.read_frames(directory_log.frame_of(change)) == ([change], 8 + len(frame(change)))


def frame(change: directory_log.Change) -> bytes:
    return directory_log.frame_of(change)[8:]


def test_a_plain_directory_stays_in_the_format_of_before(store):
    loaded(store, [mailbox("ann", attributes={"city": "Bonn"}), mailbox("bob")])
    assert written(store) == PLAIN
    store.change("contoso", [], [group("team", "ann")])
    store.merge()
    assert written(store) == NOTED
    store.change("contoso", [group("team", "ann")], [])
    store.merge()
    assert written(store) == PLAIN


def written(store: RecipientStore) -> int:
    return HEADER.unpack_from(store.table.read_bytes())[1]


def test_what_the_version_before_wrote_is_read_and_lived_on(tmp_path):
    folder = tmp_path / "directory"
    folder.mkdir()
    for name, octets in (("recipients.table", OLD_TABLE), ("recipients.table.changes", OLD_LOG)):
        (folder / name).write_bytes(zlib.decompress(base64.b85decode(octets)))
    store = RecipientStore(folder)
    assert store.ensure()
    edge = DirectoryTable(store.table, HandClock())
    assert edge.who_is("contoso", "a@c.test").who.attributes == {"city": "Bonn"}
    assert edge.who_is("contoso", "eve@c.test").who.attributes == {"city": "Ulm"}
    assert [row.keys for row in store.groups("contoso")] == [("all@c.test", "everybody@c.test")]
    everybody = store.row("contoso", "everybody@c.test")
    assert everybody is not None and everybody.members == ()
    store.change("contoso", [everybody], [msgspec.structs.replace(everybody, members=(Address("A", "c.test"),))])
    assert named(store, "a") == ["all"]
    store.merge()
    edge = DirectoryTable(store.table, HandClock())
    assert [who.primary.local for who in edge.members_of("contoso", "all@c.test").known] == ["Ann"]
    assert len(list(store.rows("contoso"))) == 3 and named(store, "a") == ["all"]


def test_the_version_before_reads_what_this_one_adds_to_the_log():
    class Before(msgspec.Struct, frozen=True):
        organisation: str
        kind: RecipientKind
        primary: Address
        external: Address | None = None
        proxies: tuple[Address, ...] = ()
        attributes: dict[str, str] = {}

    data = msgspec.msgpack.encode(group("team", "ann", restriction=Restriction(True)))
    assert msgspec.msgpack.decode(data, type=Before).primary == Address("team", "c.test")


def test_who_names_somebody_is_found_in_table_and_log(store):
    far = Address("x", "far.test")
    loaded(store, [
        *(mailbox(f"u{n}") for n in range(50)),
        group("team", "U1", "x@far.test", "long" * 15, "é"),
        group("more", "team", managed_by=(Address("U2", "c.test"),)),
        mailbox("ann", forwarding=Forwarding(Address("u3", "c.test"))),
        mailbox("bob", restriction=Restriction(accept_from=("u1@c.test",), reject_from=("team@c.test",))),
        mailbox("eve", attributes={"notes": "u1@c.test"}, forwarding=Forwarding(far)),
    ])  # fmt: skip
    for _ in range(2):
        assert named(store, "u1") == ["bob", "team"]
        assert named(store, "u2") == ["more"] and named(store, "u3") == ["ann"]
        assert named(store, "team") == ["bob", "more"] and named(store, "nobody") == []
        assert named(store, "long" * 15) == named(store, "é") == ["team"]
        assert {row.primary.local for row in store.naming("contoso", ["x@far.test"])} == {"team", "eve"}
        assert store.naming("fabrikam", ["u1@c.test"]) == []
        assert {row.primary.local for row in store.groups("contoso")} == {"team", "more"}
        rows = list(store.rows("contoso"))
        store.change("contoso", rows, rows)  # once from the table, once from the log
    team = store.row("contoso", "team@c.test")
    store.change("contoso", [team], [msgspec.structs.replace(team, members=())])
    assert named(store, "u1") == ["bob"]


def test_a_group_that_is_gone_or_changed_keeps_no_members(store):
    edge = DirectoryTable(store.table, clock := HandClock())

    def members(name: str) -> list[str]:
        clock.at += 0.6
        found = edge.members_of("contoso", f"{name}@c.test")
        assert isinstance(found, Members)
        return [who.primary.local for who in found.known] + [other.local for other in found.others]

    loaded(store, [mailbox("ann"), group("team", "ann", "bob")])
    assert members("team") == ["ann", "bob"]
    store.change("contoso", [], [mailbox("bob")])
    store.change("contoso", [mailbox("ann")], [])
    assert members("team") == ["bob", "ann"]
    store.change("contoso", [store.row("contoso", "team@c.test")], [group("crew", "bob")])
    assert members("team") == [] and members("crew") == ["bob"]
    store.change("contoso", [store.row("contoso", "crew@c.test")], [mailbox("crew")])
    assert members("crew") == []
    store.change("contoso", [store.row("contoso", "crew@c.test")], [group("crew")])
    assert members("crew") == []


def test_imports_compare_members_and_large_ones_are_no_single_change(store, monkeypatch):
    loaded(store, [mailbox("ann"), group("team", "ann")])
    loading = store.load("contoso")
    for line, one in enumerate([mailbox("ann"), group("team", "ann", "bob"), group("new", *map(str, range(5000)))]):
        loading.add(one, line)
    told = loading.seal()
    assert (told.added, told.changed, told.unchanged) == (1, 1, 1)
    inode = store.table.stat().st_ino
    loading.put(keep_missing=False)
    loading.drop()
    assert store.table.stat().st_ino == inode
    fresh = store.row("contoso", "new@c.test")
    assert fresh is not None and len(fresh.members) == 5000
    monkeypatch.setattr(recipients, "LARGE", 10_000)
    loaded(store, [mailbox("ann"), group("team", "ann"), group("new", *map(str, range(5001)))])
    assert store.table.stat().st_ino != inode
    assert len(store.row("contoso", "new@c.test").members) == 5001 and store.row("contoso", "team@c.test") is not None


def test_a_change_too_large_for_the_log_changes_nothing(store, monkeypatch):
    loaded(store, [mailbox("ann")])
    monkeypatch.setattr(directory_log, "LONGEST_FRAME", 1000)
    with pytest.raises(Unavailable, match="change fewer at a time"):
        store.change("contoso", [], [group("big", *map(str, range(500)))])
    assert store.row("contoso", "big@c.test") is None
    store.change("contoso", [], [mailbox("bob")])
    assert {row.primary.local for row in RecipientStore(store.table.parent).rows("contoso")} == {"ann", "bob"}


def test_a_long_log_is_merged_however_few_addresses_changed(store, monkeypatch):
    loaded(store, [mailbox("ann")])
    store.change("contoso", [], [group("team", *map(str, range(100)))])
    assert not store.crowded
    monkeypatch.setattr(recipients, "LONG", 1000)
    assert store.crowded
    store.merge()
    assert not store.crowded


def test_aliases_of_a_large_group_cost_no_second_list(tmp_path):
    aliases = tuple(Address(f"alias{n}", "c.test") for n in range(100))
    big = group("big", *(f"member{n}" for n in range(10_000)), proxies=aliases)
    packed = pack(big)
    assert len(packed.octets) < 400_000 and unpack(packed) == big
    build_table(tmp_path / "t", [big])
    assert Records(tmp_path / "t").find(b"contoso\0alias99@c.test") == packed
    found = DirectoryTable(tmp_path / "t", HandClock()).members_of("contoso", "alias99@c.test")
    assert len(found.others) == 10_000


def test_no_damage_raises(tmp_path):
    people = [mailbox(f"user{n}", forwarding=Forwarding(Address("x", "far.test"))) for n in range(10)]
    build_table(tmp_path / "t", [*people, group("team", *(f"user{n}" for n in range(10)))])
    whole = (tmp_path / "t").read_bytes()
    chance = random.Random(4)
    for n in range(600):
        hurt = bytearray(whole)
        if n % 4 == 0:
            hurt = hurt[: chance.randrange(len(hurt))]
        for _ in range(chance.randrange(1, 9) if n % 4 else 0):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        (tmp_path / "hurt").write_bytes(hurt)
        table = DirectoryTable(tmp_path / "hurt", HandClock())
        assert isinstance(table.members_of("contoso", "team@c.test"), Members | Unknown)
        assert isinstance(table.who_is("contoso", "user3@c.test"), Known | Unknown)
        store = RecipientStore(tmp_path)
        store.table = tmp_path / "hurt"
        try:
            list(store.groups("contoso"))
            store.naming("contoso", ["user3@c.test"])
        except Unavailable:
            pass  # whoever changes the directory is told; whoever looks up gets Unknown


@settings(max_examples=25, deadline=None)
@given(st.lists(row, max_size=12, unique_by=lambda one: one.primary.key))
def test_the_table_and_the_log_answer_as_the_rows_say(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("d")
    store = RecipientStore(folder)
    store.ensure()
    for one in rows:
        store.change("contoso", [], [one])
    owners = {one.primary.key: one for one in rows}
    for _ in range(2):
        table = DirectoryTable(store.table, HandClock())
        for one in rows:
            who = table.who_is("contoso", one.primary.key).who
            assert (who.forwarding, who.restriction) == (one.forwarding, one.restriction)
            found = table.members_of("contoso", one.primary.key)
            listed = one.members if one.kind is RecipientKind.GROUP else ()
            here = {member.key for member in listed if member.key in owners}
            assert {who.primary.key for who in found.known} == here and len(found.known) == len(here)
            assert found.others == tuple(member for member in listed if member.key not in owners)
        for key in (*owners, "nobody@c.test"):
            wanted = {one.primary.key for one in rows if one.names([key])}
            assert {one.primary.key for one in store.naming("contoso", [key])} == wanted
        filters = {one.primary.key: one.recipient_filter for one in rows if one.recipient_filter}
        assert store.filters("contoso") == filters and not store.filters("fabrikam")
        store.merge()


def test_ten_thousand_members_are_found_quickly(tmp_path):
    names = [f"user{n}" for n in range(20_000)]
    build_table(tmp_path / "t", [*map(mailbox, names), group("big", *names[:10_000])])
    table = DirectoryTable(tmp_path / "t", HandClock())
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        found = table.members_of("contoso", "big@c.test")
        best = min(best, time.process_time() - start)
    assert len(found.known) == 10_000
    assert best < 0.2 * slower(), best  # loose; about 0.02 on a quiet machine
