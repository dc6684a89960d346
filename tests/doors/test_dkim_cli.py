"""Signing keys at the terminal: every command in words and in JSON, its exit codes, its dry run, hostile answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doors.desk_here import EVIL, FixedClock, Here, desk_here
from lockgate.app.dkim import new_key
from lockgate.flow.asking import DkimRotate, Kind
from lockgate.flow.desk.dkim import DkimDesk
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.rotation import Rotation
from lockgate.policy.policy import Policy
from lockgate.testing.builders import policy_of
from lockgate.testing.signing_store import MemoryKeys


class Keys:
    """The desk of the test with a section for keys; `woken` counts how often the caretaker was woken."""

    def __init__(self, here: Here) -> None:
        self.here, self.store, self.woken = here, MemoryKeys(), 0
        self.rotation = Rotation(
            self.store, here.resolver, FixedClock(), here.audit,
            lambda algorithm, bits: new_key(algorithm, bits, 1_764_000_000.0), 7 * 86400.0,
        )  # fmt: skip
        section = DkimDesk(self.rotation, self._policy, self._wake)
        here.desk._handlers.update(section.handles())

    async def _policy(self) -> Policy:
        return policy_of(self.here.revisions.in_force().files["contoso.toml"])

    def _wake(self) -> None:
        self.woken += 1

    async def run(self, *words: str, code: int = 0) -> str:
        """What the command prints; standard error where it fails."""
        found, out, err = await self.here.run("dkim", *words)
        assert found == code, (words, found, out, err)
        return out + err

    async def told(self, *words: str, code: int = 0):
        found, out, err = await self.here.run("dkim", *words, "--json")
        assert found == code, err
        return json.loads(out)

    async def publish(self) -> None:
        for key in self.store.held():
            self.here.resolver.texts[key.name] = (key.record,)
        await self.rotation.take(await self.rotation.look(self.store.held()), "1 desk")


@pytest.fixture
async def keys(tmp_path: Path):
    async with desk_here(tmp_path) as here:
        yield Keys(here)


async def test_configurations_are_objects_like_others(keys: Keys) -> None:
    out = await keys.run("add", "contoso.com", "algorithms=rsa", "algorithms=ed25519", "--what-if")
    assert "mail of contoso.com that leaves will be signed by contoso.com, once its key is seen in DNS" in out
    await keys.run("add", "contoso.com", "algorithms=rsa", "algorithms=ed25519", "--reason", "DMARC")
    (row,) = await keys.told("list")
    assert (row["domain_name"], row["algorithms"], row["key_size"]) == ("contoso.com", ["rsa", "ed25519"], 2048)
    out = await keys.run("set", "contoso.com", "key_size=1024")
    assert "RSA keys of 1024 bits are weak" in out
    assert "must be 1024, 2048, 3072 or 4096" in await keys.run("set", "contoso.com", "key_size=512", code=1)
    assert "is no accepted domain of the organisation" in await keys.run("add", "stranger.test", code=1)
    assert "will be not signed" in await keys.run("remove", "contoso.com")
    assert await keys.told("list") == []


async def test_without_a_configuration_there_are_no_keys(keys: Keys) -> None:
    assert "make one: lockgate dkim add contoso.com" in await keys.run("rotate", "contoso.com", code=1)
    assert "make one: lockgate dkim add contoso.com" in await keys.run("dns", "contoso.com", code=1)
    assert "There are no keys" in await keys.run("check", code=1)
    assert await keys.run("keys") == "no keys\n"
    assert "is not a domain" in await keys.run("rotate", "not a domain", code=2)


async def test_keys_are_made_published_and_seen(keys: Keys) -> None:
    await keys.run("add", "contoso.com", "algorithms=rsa", "algorithms=ed25519")
    assert "has no keys yet; make them: lockgate dkim rotate" in await keys.run("dns", "contoso.com", code=1)
    out = await keys.run("rotate", "contoso.com", "--what-if")
    assert "An rsa key of 2048 bits would be made." in out and keys.store.held() == ()
    told = await keys.told("rotate", "contoso.com", "--what-if")
    assert told["made"] == [{"algorithm": "rsa", "bits": 2048}, {"algorithm": "ed25519", "bits": 256}]
    out = await keys.run("rotate", "CONTOSO.com")
    rsa, ed = keys.store.held()
    assert f"Made {rsa.selector}, an rsa key of 2048 bits." in out
    for key in (rsa, ed):
        assert f"{key.name}. 3600 IN TXT " in out and f"name  {key.name}" in out
    assert "Nothing is made" in await keys.run("rotate", "contoso.com")

    out = await keys.run("check", "contoso.com", code=1)
    assert f"{rsa.name} (rsa, waiting): there is no TXT record at {rsa.name}" in out and keys.woken == 0
    out = await keys.run("keys", "contoso.com")
    assert rsa.selector in out and "not asked yet" in out and "signs as soon as its record is seen" in out
    keys.here.resolver.texts[rsa.name] = (rsa.record,)
    out = await keys.run("check", "contoso.com", code=1)
    assert f"{rsa.name} (rsa, waiting): DNS has it; it begins to sign now" in out and keys.woken == 1
    await keys.publish()
    assert (await keys.run("check")).count("DNS has it") == 2
    rows = await keys.told("keys")
    assert [(row["algorithm"], row["state"], row["dns"], row["signs"]) for row in rows] == [
        ("rsa", "active", "right", True), ("ed25519", "active", "right", True),
    ]  # fmt: skip
    keys.here.resolver.silent.add(rsa.name)
    assert "DNS gave no answer" in await keys.run("check", code=3)


async def test_strings_are_what_a_zone_takes(keys: Keys) -> None:
    await keys.run("add", "contoso.com", "key_size=4096")
    await keys.run("rotate", "contoso.com")
    (record,) = await keys.told("dns", "contoso.com")
    assert [len(string) for string in record["strings"][:-1]] == [255, 255]
    assert "".join(record["strings"]) == record["value"] and record["type"] == "TXT"
    assert record["zone"] == f"{record['name']}. 3600 IN TXT " + " ".join(f'"{one}"' for one in record["strings"])
    assert "PRIVATE" not in json.dumps([record, await keys.told("keys"), keys.here.audit.rows])


async def test_a_key_is_revoked(keys: Keys) -> None:
    await keys.run("add", "contoso.com")
    await keys.run("rotate", "contoso.com")
    await keys.publish()
    (key,) = keys.store.held()
    assert f"has no key 'none'; there are {key.selector}" in await keys.run("revoke", "contoso.com", "none", code=1)
    assert "would be revoked; nothing was changed" in await keys.run("revoke", "contoso.com", key.selector, "--what-if")
    assert keys.store.held()[0].state == "active"
    assert "is revoked. Take its record out of DNS" in await keys.run("revoke", "contoso.com", key.selector)
    assert "is revoked already" in await keys.run("revoke", "contoso.com", key.selector, code=1)
    assert await keys.run("keys") == "no keys\n"
    out = await keys.run("keys", "--all")
    assert key.selector in out and "may be taken out of DNS" in out
    row = keys.here.audit.rows[-1]
    assert (row["did"], row["before"], row["after"], row["object"]) == (
        "dkim key revoked", "active", "revoked", key.name
    )  # fmt: skip


async def test_what_others_publish_cannot_write_on_the_terminal(keys: Keys) -> None:
    await keys.run("add", "contoso.com")
    await keys.run("rotate", "contoso.com")
    (key,) = keys.store.held()
    keys.here.resolver.texts[key.name] = (EVIL,)
    await keys.rotation.take(await keys.rotation.look([key]), "1 desk")
    for out in (await keys.run("check", code=1), await keys.run("keys")):
        assert "publishes no key" in out and "\x1b" not in out and "\u202e" not in out
        assert "\nFORGED" not in out


async def test_a_store_that_cannot_be_read_is_no_finding(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken():
        raise OSError("index.json is damaged")

    monkeypatch.setattr(keys.store, "held", broken)
    for words in (("keys",), ("check",), ("dns", "contoso.com"), ("revoke", "contoso.com", "x")):
        assert "index.json is damaged" in await keys.run(*words, code=3)


async def test_only_who_may_change_domains_makes_keys(keys: Keys) -> None:
    viewer = Caller("7 eve", frozenset({Right.POLICY_VIEW}))
    desk: Desk = keys.here.desk
    assert (await desk.answer(DkimRotate("contoso.com"), viewer)).kind == Kind.FORBIDDEN
    assert keys.here.audit.rows[-1]["did"] == "was refused"


async def test_a_key_that_no_configuration_wants_says_so(keys: Keys) -> None:
    await keys.run("add", "contoso.com")
    await keys.run("rotate", "contoso.com")
    await keys.publish()
    await keys.run("set", "contoso.com", "enabled=no")
    (row,) = await keys.told("keys")
    assert row["signs"] is False and row["note"] == "no enabled signing configuration wants it"
