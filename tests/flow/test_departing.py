"""What is taken out of and put before a copy that leaves: foreign results, ours, and our seal (RFC 8601 5, 8617)."""

from __future__ import annotations

import time

import dkim
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.flow.departure import Departure
from lockgate.flow.results import put_results, without_foreign
from lockgate.flow.sealing import Sealing, sealed
from lockgate.mail.authentication import ArcVerdict
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, public_record
from lockgate.mail.envelope import Envelope
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.headers import read_headers
from lockgate.mail.message import BodyRef
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Route, Via
from lockgate.mail.srs import rewrite
from lockgate.mail.task import Assigned, Stamp, TaskRecipient
from lockgate.probes.trust.arc import check_chain
from lockgate.testing.builders import address, policy_of
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.journal import ListJournal
from lockgate.testing.signing import ListedKeys, new_key
from pace import slower

US = "mx.lockgate.test"
NOW = 1_760_000_000.0
POLICY = policy_of(
    '[[organisation]]\nname = "contoso"\n[[accepted_domain]]\ndomain_name = "contoso.com"\ndefault = true\n'
    "vouched_by_operator = true\n"
)
KEY = new_key("contoso.com")
RECORDS = {"test._domainkey.contoso.com": [public_record(KEY)]}
HEADER = b"From: a@d.test\r\nTo: ben@contoso.com\r\nSubject: hello\r\n\r\n"
LETTER = HEADER + b"Authentication-Results: mx.lockgate.test; x\r\n"
RESULTS = (US, "spf=pass smtp.mailfrom=d.test", "dmarc=pass action=none header.from=d.test")


def task(stamp: Stamp, *rewritten: str, sender: str = "a@d.test") -> Assigned:
    amy = address("amy@x.test")
    recipients = tuple(
        [TaskRecipient(RecipientId(amy), amy, number, rewrite=one) for number, one in enumerate(rewritten or ("",))]
    )
    envelope = Envelope(address(sender) if sender else None)
    route = Route(Via.MX, "contoso", "", "x.test")
    return Assigned(
        1, "id-1", route.lane, route, envelope, BodyRef("s", 0, 1, 0), 1, recipients, NOW, NOW + 1, stamp=stamp
    )


FORGED = [
    b"Authentication-Results: mx.lockgate.test; dmarc=pass header.from=bank.test\r\n",
    b"authentication-RESULTS:\r\n\tMX.Lockgate.Test 1;\r\n\tspf=pass\r\n",
    b"Authentication-Results : mx.lockgate.test; spf=pass\r\n",
    b"Authentication-Results: (a comment; with a semicolon) mx.lockgate.test; spf=pass\r\n",
    b'Authentication-Results: "mx.lockgate.test"; spf=pass\r\n',
    b"Authentication-Results: (never closed; mx.lockgate.test; spf=pass\r\n",
    b"Authentication-Results: mx.(hidden)lockgate.test; spf=pass\r\n \t\r\n",
    b"X-Lockgate-Verdict: clean\r\n",
]
OTHERS = [
    b"Authentication-Results: other.test; spf=pass smtp.mailfrom=mx.lockgate.test\r\n",
    b"ARC-Authentication-Results: i=1; mx.lockgate.test; spf=pass\r\n",
    b"X-Lockgate-Hop: house; id-0\r\n",
    b"Received: from x by mx.lockgate.test; today\r\n",
    b"Authentication-Results: other.test (mx; lockgate); none\r\n",
    b"no field at all\r\n",
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("place", [0, 2, 3])
def test_a_field_in_our_name_goes_and_nothing_else_changes(forged: bytes, place: int) -> None:
    lines = LETTER.split(b"\r\n", 3)
    content = b"".join([line + b"\r\n" for line in lines[:place]]) + forged + b"\r\n".join(lines[place:])
    assert without_foreign(content, US) == LETTER


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_ours_stays(other: bytes) -> None:
    assert without_foreign(other + LETTER, US) == other + LETTER
    assert without_foreign(other + FORGED[1] + LETTER, US) == other + LETTER


def test_odd_messages() -> None:
    assert without_foreign(b"\r\n" + FORGED[0], US) == b"\r\n" + FORGED[0], "it is body"
    assert without_foreign(FORGED[0] + FORGED[1], US) == b""
    assert without_foreign(FORGED[0] + b"\r\nbody", US) == b"\r\nbody"
    assert without_foreign(FORGED[0].rstrip(), US) == b""
    assert without_foreign(b"", US) == b""


@given(st.lists(st.sampled_from(FORGED + OTHERS), max_size=12), st.binary(max_size=60))
def test_only_the_fields_of_others_are_left_whatever_stands_beside_them(fields: list[bytes], body: bytes) -> None:
    content = b"From: a@d.test\r\n" + b"".join(fields) + b"\r\n" + body
    left = b"".join(field for field in fields if field not in FORGED)
    assert without_foreign(content, US) == b"From: a@d.test\r\n" + left + b"\r\n" + body


def test_ten_thousand_fields_cost_less_than_a_tenth_of_a_second() -> None:
    many = (FORGED[1], FORGED[3], OTHERS[0], b"A: b\r\n", b" folded\r\n")
    for header in [one * 10_000 for one in many]:
        content = header + b"\r\n" + b"x" * 1_000_000
        best = min(_timed(content) for _ in range(3))
        assert best < 0.1 * slower(), header[:40]


def _timed(content: bytes) -> float:
    began = time.process_time()
    without_foreign(content, US)
    return time.process_time() - began


async def test_ours_come_on_top_and_nobody_else_s_in_our_name() -> None:
    made = await put_results(POLICY, task(Stamp(RESULTS, foreign=True)), FORGED[0] + LETTER)
    assert made == (
        b"Authentication-Results: mx.lockgate.test; spf=pass smtp.mailfrom=d.test;\r\n"
        b"\tdmarc=pass action=none header.from=d.test\r\n"
    ) + LETTER
    assert await put_results(POLICY, task(Stamp(foreign=True)), FORGED[0] + LETTER) == LETTER
    assert await put_results(POLICY, task(Stamp()), FORGED[0] + LETTER) == FORGED[0] + LETTER


# --- sealing


async def chain_of(message: bytes):
    headers = read_headers(message)
    return await check_chain(ZoneResolver(texts=RECORDS), headers, Bodies(message[headers.end :]))


def by_dkimpy(message: bytes) -> bytes:
    return dkim.ARC(message).verify(dnsfunc=lambda name, timeout=5: RECORDS[name.decode().rstrip(".")][0].encode())[0]


def departure(key: SigningKey | None = KEY, journal: ListJournal | None = None) -> Departure:
    keys = ListedKeys({"contoso": key} if key is not None else {})
    return Departure(
        (put_results, Sealing(keys, journal or ListJournal()).finish),
        lambda sender, domain, at: rewrite(sender, domain, b"s" * 32, at),
    )


async def test_a_forwarded_copy_is_sealed_and_its_chain_holds() -> None:
    stamp = Stamp(RESULTS, foreign=True, chain="none")
    (parcel,) = await departure().dress(POLICY, task(stamp, "contoso.com"), FORGED[0] + LETTER)
    assert parcel.envelope.sender is not None
    assert parcel.envelope.sender.text.startswith("SRS0=")
    assert parcel.envelope.sender.domain == "contoso.com"
    found = await chain_of(parcel.content)
    assert (found.verdict, found.sets, found.sealer) == (ArcVerdict.PASS, 1, "contoso.com"), found
    assert found.results == "i=1; mx.lockgate.test; " + "; ".join(RESULTS[1:])
    assert by_dkimpy(parcel.content) == b"pass"
    assert parcel.content.count(b"mx.lockgate.test; spf") == 2, "the field, and the sealed one"
    assert (await departure().dress(POLICY, task(stamp, "contoso.com"), FORGED[0] + LETTER)) == (parcel,), "each time"


async def test_copies_whose_header_rules_changed_leave_apart_and_the_seal_covers_the_change() -> None:
    both = task(Stamp(RESULTS, chain="none"), "contoso.com", "contoso.com")
    marked = msgspec.structs.replace(both.recipients[1], edits=(HeaderEdit(Change.SET, "Subject", "changed"),))
    both = msgspec.structs.replace(both, recipients=(both.recipients[0], marked))
    plain, changed = await departure().dress(POLICY, both, LETTER)
    assert (plain.recipients, changed.recipients) == ((0,), (1,))
    assert plain.content.endswith(LETTER)
    assert b"\nSubject: changed\r\n" in changed.content and changed.content.count(b"Subject: ") == 1
    for parcel in (plain, changed):
        assert by_dkimpy(parcel.content) == b"pass"
    bare = msgspec.structs.replace(both, recipients=(msgspec.structs.replace(marked, rewrite=""),), stamp=Stamp())
    assert not departure().as_it_is(bare)


async def test_a_chain_goes_on_and_a_large_message_too() -> None:
    content = LETTER + b"x" * 76 + b"\r\n" + (b"y" * 70 + b"\r\n") * 5_000
    for number in (1, 2, 3):
        state = "none" if number == 1 else "pass"
        (parcel,) = await departure().dress(POLICY, task(Stamp(RESULTS, chain=state), "contoso.com"), content)
        content = parcel.content
        assert (await chain_of(content)).sets == number
    assert by_dkimpy(content) == b"pass"


async def test_a_broken_chain_is_sealed_as_broken_once_and_not_again() -> None:
    first = sealed(LETTER, KEY, ArcVerdict.NONE, RESULTS, int(NOW))
    broken = first.replace(b"; x\r\n", b"; y\r\n")
    assert (await chain_of(broken)).verdict is ArcVerdict.FAIL
    told = sealed(broken, KEY, ArcVerdict.FAIL, RESULTS, int(NOW))
    assert b"i=2" in told
    assert b"cv=fail" in told
    assert (await chain_of(told)).problem == "the last sealer found the chain broken"
    assert sealed(told, KEY, ArcVerdict.FAIL, RESULTS, int(NOW)) == told


async def test_without_a_key_or_a_possible_seal_the_copy_is_carried_all_the_same() -> None:
    stamp = Stamp(RESULTS, chain="none")
    (bare,) = await departure(None).dress(POLICY, task(stamp), LETTER)
    assert bare.content.endswith(LETTER)
    assert b"ARC-Seal" not in bare.content
    journal = ListJournal()
    for odd in (LETTER.replace(b"Subject: ", b"rubbish\r\nSubject: "), b"ARC-Seal: i=51; cv=none\r\n" + LETTER):
        again = task(msgspec.structs.replace(stamp, chain="pass"))
        (parcel,) = await departure(journal=journal).dress(POLICY, again, odd)
        assert b"ARC-Message-Signature" not in parcel.content
    assert [happening for happening, _ in journal.notes] == ["not sealed", "not sealed"]


async def test_results_longer_than_a_line_are_folded_and_still_sealed() -> None:
    long = (US, *[f"dkim=pass (signature was verified) header.d={'d' * 60}{n}.test header.s=s" for n in range(20)])
    made = sealed(LETTER, KEY, ArcVerdict.NONE, long, int(NOW))
    assert max(len(line) for line in made.split(b"\r\n")) <= 998
    assert (await chain_of(made)).verdict is ArcVerdict.PASS
    assert by_dkimpy(made) == b"pass"
