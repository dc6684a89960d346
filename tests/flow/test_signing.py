"""The last finish of a departing copy: which keys sign it, what is never signed, and what waits."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flow.house import CONTOSO, OURS, House
from lockgate.flow import signing
from lockgate.flow.departure import Departure
from lockgate.flow.own_mail import Written
from lockgate.flow.signing import LARGE, Signing, author_domain
from lockgate.flow.signing_keys import KeyRing
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import SigningKey, public_record
from lockgate.mail.dkim.signature import read_signature
from lockgate.mail.envelope import Envelope
from lockgate.mail.events import Event, Happening
from lockgate.mail.headers import read_headers
from lockgate.mail.message import BodyRef
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Route, Via
from lockgate.mail.task import Assigned, Stamp, TaskRecipient
from lockgate.testing.builders import address, policy_of
from lockgate.testing.clock import HandClock
from lockgate.testing.courier import RecordingCourier
from lockgate.testing.signing_store import MemoryKeys
from peers.verifiers import dkimpy

POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
default = true
[[accepted_domain]]
domain_name = "bücher.test"
vouched_by_operator = true
[[dkim_signing_config]]
domain_name = "contoso.com"
algorithms = ["ed25519", "rsa"]
body_canonicalization = "simple"
"""
IDN = '[[dkim_signing_config]]\ndomain_name = "bücher.test"\nalgorithms = ["ed25519"]\n'
RSA, ED = rsa.generate_private_key(65537, 1024), ed25519.Ed25519PrivateKey.generate()
OUT = Route(Via.MX, "contoso", domain="away.test")


def held(domain: str, algorithm: str, state: KeyState = KeyState.ACTIVE, selector: str = "") -> tuple[HeldKey, bytes]:
    key = RSA if algorithm == "rsa" else ED
    selector = selector or algorithm
    record = public_record(SigningKey(domain, selector, key))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return HeldKey("contoso", domain, selector, algorithm, 1024, record, state, 1.0, 1.0), pem


def store_of(*keys: tuple[HeldKey, bytes]) -> MemoryKeys:
    store = MemoryKeys()
    store.change(lambda before: tuple(key for key, _ in keys), {key.name: pem for key, pem in keys})
    return store


BOTH = (held("contoso.com", "rsa"), held("contoso.com", "ed25519"))


class Desk:
    """The finish over keys in memory."""

    def __init__(self, *keys: tuple[HeldKey, bytes], policy: str = POLICY) -> None:
        self.policy = policy_of(policy)
        self.store = store_of(*keys)
        self.signing = Signing(KeyRing(lambda: self.policy, self.store), HandClock())

    async def leave(
        self, content: bytes, route: Route | None = OUT, *, sign: bool = True, to: str = "x@away.test"
    ) -> bytes:
        target = address(to)
        task = Assigned(
            1, "m1", "contoso/mx:away.test", route, Envelope(address("ann@contoso.com")), BodyRef("", 0, 0, 0),
            len(content), (TaskRecipient(RecipientId(target), target, 0),), 0.0, 0.0, stamp=Stamp(sign=sign),
        )  # fmt: skip
        return await self.signing.finish(self.policy, task, content)

    def records(self) -> dict[str, str]:
        return {key.name: key.record for key in self.store.held()}


def letter(author: str = "ann@contoso.com", body: bytes = b"Hello\r\n") -> bytes:
    return f"From: Ann <{author}>\r\nSubject: hi\r\n\r\n".encode() + body


def signed_by(octets: bytes) -> list[tuple[str, str]]:
    found = [read_signature(f) for f in read_headers(octets).fields if f[0].lower() == b"dkim-signature"]
    return [(one.domain, one.algorithm.partition("-")[0]) for one in found]


async def test_each_algorithm_signs_rsa_first() -> None:
    desk = Desk(*BOTH)
    octets = await desk.leave(letter())
    assert signed_by(octets) == [("contoso.com", "rsa"), ("contoso.com", "ed25519")]
    assert octets.endswith(letter()) and b"c=relaxed/simple" in octets
    assert dkimpy(desk.records(), octets) == [True, True]


async def test_a_later_finish_finds_the_message_as_the_signature_covers_it() -> None:
    """Two signatures are over the same octets: taking one away leaves the other good."""
    desk = Desk(*BOTH)
    octets = await desk.leave(letter())
    second = octets[octets.index(b"DKIM-Signature:", 20) :]
    assert dkimpy(desk.records(), second) == [True]


@pytest.mark.parametrize(
    ("author", "domains"),
    [("ann@contoso.com", {"contoso.com"}), ("x@bücher.test", {"xn--bcher-kva.test"}), ("x@XN--BCHER-KVA.test", {
        "xn--bcher-kva.test"}), ("x@stranger.test", {"contoso.com"}), ("Jörg", {"contoso.com"})],
)  # fmt: skip
async def test_the_authors_domain_signs(author: str, domains: set[str]) -> None:
    desk = Desk(*BOTH, held("xn--bcher-kva.test", "ed25519"), policy=POLICY + IDN)
    octets = await desk.leave(letter(author))
    assert {domain for domain, _ in signed_by(octets)} == domains
    assert all(dkimpy(desk.records(), octets))


async def test_a_domain_whose_key_waits_is_signed_by_the_default_one() -> None:
    desk = Desk(*BOTH, held("xn--bcher-kva.test", "ed25519", KeyState.WAITING), policy=POLICY + IDN)
    assert {domain for domain, _ in signed_by(await desk.leave(letter("x@bücher.test")))} == {"contoso.com"}


@pytest.mark.parametrize("state", [KeyState.WAITING, KeyState.RETIRING, KeyState.REVOKED])
async def test_only_active_keys_sign(state: KeyState) -> None:
    assert await Desk(held("contoso.com", "rsa", state)).leave(letter()) == letter()


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: nobody\r\n\r\nHello\r\n",
        b"From: a@contoso.com\r\nFrom: b@contoso.com\r\n\r\n",
        b"From: a@contoso.com\r\nrubbish\r\n\r\n",
        b"From: a@contoso.com\r\nSubject : odd\r\n\r\n",
        b"From: a@contoso.com\r\n" + b"X: y\r\n" * 1100 + b"\r\n",
    ],
    ids=["no author", "two", "rubbish", "blank before the colon", "too many fields"],
)
async def test_what_readers_read_differently_is_not_signed(content: bytes) -> None:
    assert await Desk(*BOTH).leave(content) == content


async def test_what_is_not_ours_to_sign_stays_as_it_is() -> None:
    desk = Desk(*BOTH)
    assert await desk.leave(letter(), sign=False) == letter()
    assert await desk.leave(letter(), Route(Via.MAILBOX, "contoso")) == letter()
    assert await desk.leave(letter(), Route(Via.CONNECTOR, "contoso", "HQ"), to="ben@contoso.com") == letter()
    assert await desk.leave(letter(), None) == letter()
    assert await desk.leave(letter(), Route(Via.MX, "another", domain="away.test")) == letter()
    bare = Desk(*BOTH, policy=POLICY.partition("[[dkim")[0])
    assert await bare.leave(letter()) == letter()


async def test_a_key_that_cannot_be_read_makes_mail_wait() -> None:
    desk = Desk(*BOTH)
    desk.store.secrets.clear()
    with pytest.raises(OSError, match="is not there"):
        await desk.leave(letter())


async def test_a_large_message_is_signed_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    real = signing.signed

    def watched(*given):
        threads.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(signing, "signed", watched)
    desk = Desk(*BOTH)
    large = letter(body=b"x" * 70 + b"\r\n" + (b"y" * 78 + b"\r\n") * (LARGE // 80))
    octets = await desk.leave(large)
    assert await desk.leave(letter()) != letter()
    assert threads[0] != threading.main_thread().name == threads[1]
    assert dkimpy(desk.records(), octets) == [True, True]


async def test_a_huge_hostile_body_is_signed_in_linear_time() -> None:
    desk = Desk(held("contoso.com", "ed25519"), policy=POLICY.replace("simple", "relaxed"))
    began = asyncio.get_running_loop().time()
    assert signed_by(await desk.leave(letter(body=b" \t" * 2_000_000 + b"\r\n")))
    assert asyncio.get_running_loop().time() - began < 2.0


def test_the_first_author_counts() -> None:
    def domain(value: str) -> str:
        return author_domain(read_headers(f"From: {value}\r\n\r\n".encode()))

    assert domain('"x@evil.test" <ann@contoso.com>') == "contoso.com"
    assert domain("ann@contoso.com, ben@fabrikam.test") == "contoso.com"
    assert domain("ann@contoso.com\r\n (a comment)") == "contoso.com"
    assert domain("Ann") == "" and domain("Ann <ann@contoso.com>" + " " * 600) == "contoso.com"


# --- in the flow


OCTETS = b"From: ben@contoso.com\r\n\r\nHello\r\n"
BUSY = Reply(450, "4.2.1", "busy")
SIGNING_HOUSE = CONTOSO + '\n[[dkim_signing_config]]\ndomain_name = "contoso.com"\n'


def departing(house: House, *keys: tuple[HeldKey, bytes]) -> MemoryKeys:
    """Have the house sign with these keys."""
    store = store_of(*keys)
    ring = KeyRing(lambda: house.policy, store)
    departure = Departure((Signing(ring, house.clock).finish,))
    house.delivery._with = msgspec.structs.replace(house.delivery._with, departure=departure)
    return store


async def test_own_mail_leaves_signed_and_stays_inside_unsigned() -> None:
    house = House(policy=SIGNING_HOUSE)
    departing(house, held("contoso.com", "rsa"))
    await _submit(house, OCTETS, "x@away.test", "ben@contoso.com")
    found = {cargo.recipients[0].address: signed_by(cargo.content) for _, cargo in house.courier.carried}
    assert found == {"x@away.test": [("contoso.com", "rsa")], "ben@contoso.com": []}


async def test_each_attempt_is_signed_anew_from_what_lies_there() -> None:
    house = House(RecordingCourier(lambda hop, cargo: BUSY), policy=SIGNING_HOUSE)
    departing(house, held("contoso.com", "rsa"))
    await _submit(house, OCTETS)
    await house.later(120.0)
    first, second = [cargo.content for _, cargo in house.courier.carried]
    assert len(signed_by(first)) == len(signed_by(second)) == 1
    assert first != second  # the time of the signature


async def test_a_key_that_cannot_be_read_keeps_the_mail_in_the_queue() -> None:
    house = House(policy=SIGNING_HOUSE)
    store = departing(house, held("contoso.com", "rsa"))
    pems, store.secrets = store.secrets, {}
    await _submit(house, OCTETS)
    assert not house.courier.carried
    assert [name for name, _ in house.journal.alarms] == ["cannot leave yet"]
    (row,) = house.spool.traces.values()
    assert "cannot be made ready to leave" in str(row.events)
    store.secrets = pems
    await house.later(120.0)
    (carried,) = house.courier.carried
    assert signed_by(carried[1].content) == [("contoso.com", "rsa")]
    assert carried[1].content.endswith(OCTETS)


async def _submit(house: House, octets: bytes, *recipients: str) -> None:
    guest = house.guest(OURS)
    assert guest.mail(Envelope(address("ben@contoso.com"))).code == 250
    for recipient in recipients or ("x@away.test",):
        assert guest.rcpt(RecipientId(address(recipient))).code == 250
    body = guest.begin()
    body.write(octets)
    assert (await guest.done(body)).code == 250
    await house.settle()


async def test_our_own_letters_leave_signed() -> None:
    house = House(policy=SIGNING_HOUSE)
    departing(house, held("contoso.com", "rsa"))
    own = house.delivery._with.bounce.mail
    event = Event(0.0, Happening.DSN, "a report")
    text = b"From: postmaster@contoso.com\r\nSubject: report\r\n\r\nText\r\n"
    tasks = await own.queue(house.policy, "contoso", Written("l1", address("x@away.test"), text, event))
    assert [task.stamp.sign for task in tasks] == [True]
    house.delivery.take(tasks)
    await house.settle()
    (carried,) = house.courier.carried
    assert signed_by(carried[1].content) == [("contoso.com", "rsa")]
    inside = await own.queue(house.policy, "contoso", Written("l2", address("ben@contoso.com"), text, event))
    assert [task.stamp.sign for task in inside] == [False]
