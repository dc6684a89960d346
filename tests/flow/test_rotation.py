"""The life of a key: it signs only after DNS has exactly it, and is revoked only after its mail has arrived."""

from __future__ import annotations

import asyncio

import pytest

from lockgate.app.dkim import LOOK_AGAIN, KeyCaretaker, new_key
from lockgate.flow.rotation import REVOKED_KEPT, Fresh, Rotation, forgotten, missing
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.testing.clock import HandClock
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.signing_store import MemoryKeys

WEEK = 7 * 86400.0
ONE = DkimSigningConfig(domain_name="contoso.com", organisation="contoso", key_size=1024)
TWO = ONE.model_copy(update={"algorithms": ("ed25519", "rsa")})


class Office:
    """A rotation over keys in memory and a zone in a dictionary, with its caretaker."""

    def __init__(self) -> None:
        self.store, self.zone, self.clock = MemoryKeys(), ZoneResolver(), HandClock()
        self.audit, self.journal = ListAudit(), ListJournal()
        self.rotation = Rotation(self.store, self.zone, self.clock, self.audit, self._new, WEEK)
        self.caretaker = KeyCaretaker(self.rotation, self.clock, self.journal, 60.0)

    def _new(self, algorithm: str, bits: int) -> Fresh:
        return new_key(algorithm, bits, self.clock.now())

    def publish(self, key: HeldKey) -> None:
        self.zone.texts[key.name] = (key.record,)

    def states(self) -> list[str]:
        return [key.state.value for key in self.store.held()]

    async def pass_by(self, seconds: float) -> None:
        self.clock.move(seconds)
        await self.caretaker.look_after()


@pytest.fixture
def office() -> Office:
    return Office()


async def test_a_key_waits_until_dns_has_it(office: Office) -> None:
    (key,) = await office.rotation.rotate(ONE, "1 ann")
    assert (key.state, key.algorithm, key.bits, key.domain) == (KeyState.WAITING, "rsa", 1024, "contoso.com")
    assert await office.rotation.rotate(ONE, "1 ann") == (key,), "it is waiting already"
    await office.pass_by(60.0)
    assert office.states() == ["waiting"] and "there is no TXT record" in office.store.held()[0].said
    office.publish(key)
    await office.pass_by(60.0)
    (now,) = office.store.held()
    assert (now.state, now.since, now.seen, now.said) == (KeyState.ACTIVE, office.clock.now(), office.clock.now(), "")
    assert [(row["by"].split()[-1], row["did"]) for row in office.audit.rows] == [
        ("ann", "dkim key waiting"), ("desk", "dkim key active"),
    ]  # fmt: skip
    assert "PRIVATE" not in str(office.audit.rows)


async def test_another_key_in_dns_changes_nothing(office: Office) -> None:
    (key,) = await office.rotation.rotate(ONE, "1 ann")
    stranger = Office()
    (other,) = await stranger.rotation.rotate(ONE, "1 eve")
    office.zone.texts[key.name] = (other.record,)
    await office.pass_by(60.0)
    assert office.states() == ["waiting"] and "publishes another key" in office.store.held()[0].said


async def test_silence_of_dns_changes_nothing(office: Office) -> None:
    (key,) = await office.rotation.rotate(ONE, "1 ann")
    office.publish(key)
    await office.pass_by(60.0)
    office.zone.silent.add(key.name)
    await office.pass_by(LOOK_AGAIN)
    (now,) = office.store.held()
    assert now.state is KeyState.ACTIVE and now.silent and not now.missing and "no answer" in now.said
    office.zone.silent.clear()
    del office.zone.texts[key.name]
    await office.pass_by(LOOK_AGAIN)
    (now,) = office.store.held()
    assert now.state is KeyState.ACTIVE and now.missing, "it goes on signing, and a person is told"


async def test_the_old_key_signs_until_the_new_one_is_seen_and_its_record_stays(office: Office) -> None:
    (old,) = await office.rotation.rotate(ONE, "1 ann")
    office.publish(old)
    await office.pass_by(60.0)
    (new,) = await office.rotation.rotate(ONE, "1 ann")
    await office.pass_by(60.0)
    assert office.states() == ["active", "waiting"]
    office.publish(new)
    await office.pass_by(60.0)
    first, second = office.store.held()
    assert (first.state, second.state) == (KeyState.RETIRING, KeyState.ACTIVE)
    assert first.until == office.clock.now() + WEEK
    await office.pass_by(WEEK - 1)
    assert office.states() == ["retiring", "active"] and old.name in office.store.secrets
    await office.pass_by(1.0)
    assert office.states() == ["revoked", "active"] and old.name not in office.store.secrets
    assert office.audit.rows[-1]["did"] == "dkim key revoked"


async def test_each_algorithm_goes_its_own_way(office: Office) -> None:
    rsa, ed = await office.rotation.rotate(TWO, "1 ann")
    assert (rsa.algorithm, ed.algorithm, ed.bits) == ("rsa", "ed25519", 256)
    office.publish(ed)
    await office.pass_by(60.0)
    assert office.states() == ["waiting", "active"]
    await office.rotation.rotate(TWO, "1 ann")
    assert office.states() == ["waiting", "active", "waiting"], "the RSA key still waits, so only one is made"


async def test_a_waiting_key_of_another_size_is_replaced(office: Office) -> None:
    await office.rotation.rotate(ONE, "1 ann")
    larger = ONE.model_copy(update={"key_size": 2048})
    assert missing(larger, office.store.held()) == (("rsa", 2048),)
    await office.rotation.rotate(larger, "1 ann")
    assert [(key.bits, key.state.value) for key in office.store.held()] == [(1024, "revoked"), (2048, "waiting")]


async def test_of_two_rotations_at_once_one_makes_the_key(office: Office) -> None:
    first, second = await asyncio.gather(office.rotation.rotate(ONE, "1 ann"), office.rotation.rotate(ONE, "2 ben"))
    assert first == second and office.states() == ["waiting"] and len(office.store.secrets) == 1


async def test_a_revoked_key_never_comes_back(office: Office) -> None:
    (key,) = await office.rotation.rotate(ONE, "1 ann")
    looks = await office.rotation.look([key])
    office.publish(key)
    good = await office.rotation.look([key])
    assert not looks[0].right and good[0].right
    await office.rotation.revoke(key, "1 ann")
    await office.rotation.take(good, "1 desk")
    assert office.states() == ["revoked"] and office.store.secrets == {}


async def test_keys_that_are_there_are_asked_for_once_an_hour(office: Office) -> None:
    (key,) = await office.rotation.rotate(ONE, "1 ann")
    office.publish(key)
    await office.pass_by(60.0)
    asked = len(office.zone.asked)
    await office.pass_by(60.0)
    assert len(office.zone.asked) == asked
    await office.pass_by(LOOK_AGAIN)
    assert len(office.zone.asked) == asked + 1


async def test_the_caretaker_wakes_when_it_is_told(office: Office) -> None:
    (key,) = await office.rotation.rotate(ONE, "1 ann")
    await office.pass_by(60.0)
    task = asyncio.ensure_future(office.caretaker.run())
    office.publish(key)
    office.caretaker.wake()
    for _ in range(200):
        await asyncio.sleep(0.01)
        if office.states() == ["active"]:
            break
    task.cancel()
    assert office.states() == ["active"]


async def test_a_store_that_cannot_be_written_is_told_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.rotation.rotate(ONE, "1 ann")

    def full(*given):
        raise OSError("no space left")

    monkeypatch.setattr(office.store, "change", full)
    task = asyncio.ensure_future(office.caretaker.run())
    for _ in range(3):
        office.caretaker.wake()
        await asyncio.sleep(0.05)
    task.cancel()
    assert [happening for happening, _ in office.journal.alarms] == ["signing keys not looked after"]


def test_few_revoked_keys_are_remembered() -> None:
    keys = tuple(
        HeldKey("o", "d.test", f"s{n}", "rsa", 1024, "", KeyState.REVOKED, float(n), float(n)) for n in range(50)
    )
    kept = forgotten(keys, 100.0)
    assert len(kept) == REVOKED_KEPT and kept[-1] == keys[-1]


def test_selectors_are_labels_and_never_the_same() -> None:
    made = [new_key("ed25519", 256, 1_764_000_000.0).selector for _ in range(50)]
    assert len(set(made)) == 50 and all(one.startswith("lg20251124-ed25519-") and len(one) < 63 for one in made)
