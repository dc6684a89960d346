"""What is counted of devices equals what was sent, whatever was sent; and nothing is kept that nobody wants kept."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flow.house import CONTOSO, House
from lockgate.flow.devices import DeviceWatch, author_domain, traffic_of
from lockgate.flow.privacy import Privacy, Wishes
from lockgate.mail.devices import DeviceBatch, DeviceSeen, host_of
from lockgate.mail.message import Message
from lockgate.mail.redaction import nothing_hidden
from lockgate.storage.device_batches import DeviceTally, batches_waiting
from lockgate.storage.devices import MOST_DEVICES, MOST_SENDERS, DeviceBook
from lockgate.testing.builders import connection_of, facts_of, policy_of

PEERS = ("192.0.2.25", "198.51.100.40", "198.51.100.41", "2001:db8::1:2:3:4", "2001:db8:0:0:9::1")
SENDERS = ("scan@contoso.com", "other@contoso.com", "x@sender.test", "")
RECIPIENTS = ("ben@contoso.com", "amy@contoso.com", "nobody@contoso.com", "x@far.test", "y@far.test")
OPEN = CONTOSO.replace('name = "contoso"\n', 'name = "contoso"\nreject_direct_send = false\n', 1)


def watched(house: House, folder: Path, discretion=nothing_hidden) -> DeviceTally:
    tally = DeviceTally(folder, 0, house.clock, house.journal)
    house.reception = replace(house.reception, devices=DeviceWatch(tally, discretion, house.journal))
    return tally


def gathered(folder: Path) -> DeviceBook:
    book = DeviceBook(folder)
    waiting = list(batches_waiting(folder))
    for _ in (1, 2):  # a file that is taken twice is counted once
        book.take([(path.name, batch) for path, batch in waiting])
    for path, _ in waiting:
        path.unlink()
    book.forget([path.name for path, _ in waiting])
    return book


SESSIONS = st.lists(
    st.tuples(
        st.sampled_from(PEERS), st.sampled_from(SENDERS),
        st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=4, unique=True), st.integers(0, 5),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SESSIONS, st.sampled_from([CONTOSO, OPEN]))
def test_counts_equal_what_was_sent(sessions, text):
    async def run() -> None:
        house = House(policy=text)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tally = watched(house, folder)
            expected: Counter[tuple[str, str]] = Counter()
            senders: Counter[tuple[str, str]] = Counter()
            refusals: Counter[str] = Counter()
            for peer, sender, recipients, pause in sessions:
                house.clock.move(pause)
                said = await house.send(*recipients, sender=sender, peer=peer)
                await house.settle()
                tally.keep()
                own = peer == "192.0.2.25"
                if not own and not sender.endswith("@contoso.com"):
                    continue
                host = host_of(peer, connection_of(peer).packed)
                answers = said[1 : 1 + len(recipients)]
                for recipient, reply in zip(recipients, answers, strict=True):
                    if reply.permanent:
                        expected[host, "refused"] += 1
                        refusals[host] += 1
                        senders[host, sender] += 1
                    elif said[-1].code == 250:
                        expected[host, "inside" if recipient.endswith("@contoso.com") else "outside"] += 1
                if any(reply.code == 250 for reply in answers):
                    assert said[-1].code == 250, said
                    expected[host, "messages"] += 1
                    senders[host, sender] += 1
                    expected[host, "others"] += sender == "x@sender.test"
            tally.keep(at_once=True)
            book = gathered(folder)
            found = {
                (row["host"], name): row[name]
                for row in book.devices()
                for name in ("messages", "inside", "outside", "refused")
                if row[name]
            }
            names = ("messages", "inside", "outside", "refused")
            assert found == {key: count for key, count in expected.items() if count and key[1] in names}
            for host in {host for host, _ in expected}:
                (row,) = book.device(host)
                assert {one["address"]: one["messages"] for one in row["senders"]} == {
                    sender: count for (there, sender), count in senders.items() if there == host
                }
                if host == "192.0.2.25":
                    assert row["others"] == expected[host, "others"]
                assert bool(row["refusal_id"]) == bool(refusals[host])
            carried = sum(one.messages for one in book.traffic("contoso", "onprem", 0))
            assert carried == expected["192.0.2.25", "messages"]
        assert not house.journal.alarms

    asyncio.run(run())


async def test_a_host_that_sends_for_others_too_is_counted_as_a_mail_server(tmp_path):
    house = House(policy=OPEN)
    tally = watched(house, tmp_path)
    await house.send("ben@contoso.com", sender="x@sender.test", peer="198.51.100.9")  # not known as a device yet
    await house.send("ben@contoso.com", sender="amy@contoso.com", peer="198.51.100.9")
    for _ in range(5):
        await house.send("ben@contoso.com", sender="x@sender.test", peer="198.51.100.9")
    tally.keep(at_once=True)
    (row,) = gathered(tmp_path).devices()
    assert (row["messages"], row["others"]) == (1, 5)


@pytest.mark.parametrize("masking", ["local_parts", "all"])
async def test_senders_are_kept_as_the_organisation_wishes(tmp_path, masking):
    text = CONTOSO.replace('name = "contoso"\n', f'name = "contoso"\ntrace_masking = "{masking}"\n', 1)
    house = House(policy=text)
    tally = watched(house, tmp_path, Privacy(lambda: house.policy, Wishes(), b"k" * 32).redactor)
    await house.send("x@far.test", sender="scan@contoso.com", peer="192.0.2.25")
    await house.send("x@far.test", sender="scan@contoso.com", peer="198.51.100.1")
    tally.keep(at_once=True)
    book = gathered(tmp_path)
    everything = "".join(str(book.device(row["host"])) for row in book.devices())
    assert "scan" not in everything and "~" in everything
    assert ("contoso.com" in everything.replace("no accepted domain", "")) or masking == "all"


async def test_who_wants_no_facts_kept_has_no_devices_but_traffic(tmp_path):
    text = CONTOSO.replace('name = "contoso"\n', 'name = "contoso"\ntrace_facts = false\n', 1)
    house = House(policy=text)
    tally = watched(house, tmp_path, Privacy(lambda: house.policy, Wishes(), b"k" * 32).redactor)
    await house.send("x@far.test", sender="scan@contoso.com", peer="192.0.2.25")
    await house.send("x@far.test", sender="scan@contoso.com", peer="198.51.100.1")
    tally.keep(at_once=True)
    book = gathered(tmp_path)
    assert book.devices() == []
    assert sum(one.messages for one in book.traffic("contoso", "onprem", 0)) == 1


def test_a_private_address_that_nobody_knows_can_only_be_ours(tmp_path):
    house = House()
    tally = watched(house, tmp_path)

    async def run() -> None:
        await house.send("x@far.test", sender="scanner@printer.local", peer="192.168.1.20")
        await house.send("x@far.test", sender="scanner@printer.local", peer="198.51.100.2")

    asyncio.run(run())
    tally.keep(at_once=True)
    (row,) = gathered(tmp_path).devices()
    assert row["host"] == "192.168.1.20" and row["refusal"].startswith("550 5.4.1")


def test_devices_and_senders_are_bounded_and_those_that_send_stay(tmp_path):
    book = DeviceBook(tmp_path)
    used = DeviceSeen("contoso", "192.0.2.1", messages=1, last_seen=1.0, senders={f"s{n}@x": 1 for n in range(20)})
    flood = tuple(
        DeviceSeen("contoso", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", refused=1, last_seen=10.0 + n, senders={})
        for n in range(MOST_DEVICES + 100)
    )
    book.take([("1", DeviceBatch((used, *flood)))])
    for number in range(2, 5):
        more = {f"t{number}-{n}@x": 1 for n in range(20)}
        book.take([(str(number), DeviceBatch((DeviceSeen("contoso", "192.0.2.1", messages=1, senders=more),)))])
    rows = book.devices()
    assert len(rows) == MOST_DEVICES and any(row["host"] == "192.0.2.1" for row in rows)
    (row,) = book.device("192.0.2.1")
    assert len(row["senders"]) == MOST_SENDERS and row["more_senders"] == 30
    assert book.prune(1e9, lambda organisation: None) == MOST_DEVICES and book.devices() == []


@pytest.mark.parametrize(
    "sender,author,expected",
    [
        ("a@contoso.com", "Ann <ann@contoso.com>", (0, 0)),
        ("a@contoso.com", "ann@CONTOSO.com", (0, 0)),
        ("a@contoso.com", "Ann <ann@far.test>", (1, 1)),
        ("a@contoso.com", '"x@contoso.com" <x@far.test>', (1, 1)),
        ("x@sender.test", "ann@contoso.com", (1, 1)),
        ("x@sender.test", "x@sender.test", (0, 1)),
        ("a@contoso.com", "", (1, 0)),
        ("", "x@far.test", (0, 0)),
    ],
)
def test_mismatch_and_unregistered_domains(sender, author, expected):
    policy = policy_of(CONTOSO)
    message = Message("m", 1, (("From", author),) if author else ())
    one = traffic_of(policy, facts_of(sender, "x@far.test", message=message), "contoso", "onprem", 1)
    assert (one.mismatched, one.unregistered) == expected


def test_two_authors_are_nobody_s():
    message = Message("m", 1, (("From", "a@contoso.com"), ("From", "b@contoso.com")))
    assert author_domain(facts_of("a@contoso.com", message=message), "contoso.com") == ""
