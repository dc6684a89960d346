"""`lockgate tls policy` and `lockgate domain dns`: in words and in JSON, exit codes, hostile answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from doors.desk_here import EVIL, FixedClock, Here, desk_here
from lockgate.flow.desk.publishing import PublishDesk, ShownKey
from lockgate.flow.desk.tls import TlsDesk
from lockgate.mail.sts import KeptSts, StsLook, StsMode, StsPolicy
from lockgate.policy.policy import Policy
from lockgate.testing.builders import policy_of

DOCUMENT = """
[[organisation]]
name = "contoso"
report_addresses = ["tls@contoso.com"]

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
{more}

[[accepted_domain]]
domain_name = "plain.test"
vouched_by_operator = true
"""
MORE = 'mta_sts_mode = "testing"\nmta_sts_mx = ["mx1.contoso.com", "*.backup.test"]'
NOW = FixedClock().now()
KEY, NEXT, OTHER = "aa" * 32, "bb" * 32, "cc" * 32


class Tls:
    """The desk of the test with both sections; `look` is what the world is made to say."""

    def __init__(self, here: Here) -> None:
        self.here, self.resolver = here, here.resolver
        self.look = StsLook("far.test", silent="there is no TXT record that begins with v=STSv1;")
        self.fetched: list[bool] = []
        self.served: bytes | Exception = b""
        self.keys: Any = (
            ShownKey("mx.pem", ("mx1.contoso.com",), KEY), ShownKey("next.key", (), NEXT, following=True)
        )  # fmt: skip
        self.document = DOCUMENT.format(more=MORE)
        here.desk._handlers.update(TlsDesk(self._look, self.resolver, FixedClock(), True).handles())
        here.desk._handlers.update(
            PublishDesk(self._policy, self.resolver, self._fetch, self._keys, served=True).handles()
        )

    async def _look(self, domain: str, *, fetch: bool) -> StsLook:
        self.fetched.append(fetch)
        return self.look

    async def _policy(self) -> Policy:
        return policy_of(self.document)

    async def _fetch(self, domain: str) -> bytes:
        if isinstance(self.served, Exception):
            raise self.served
        return self.served

    def _keys(self) -> Any:
        if isinstance(self.keys, Exception):
            raise self.keys
        return self.keys

    async def run(self, *words: str, code: int = 0) -> str:
        found, out, err = await self.here.run(*words)
        assert found == code, (words, found, out, err)
        return out + err

    async def told(self, *words: str, code: int = 0) -> Any:
        found, out, err = await self.here.run(*words, "--json")
        assert found == code, (out, err)
        return json.loads(out)

    async def lines(self, code: int = 0) -> dict[str, Any]:
        found = await self.told("domain", "dns", "contoso.com", code=code)
        return {row["name"]: row for row in found["lines"]}

    async def publish(self) -> None:
        """Everything as it should be."""
        found = await self.told("domain", "dns", "contoso.com", code=1)
        self.served = found["policy"].encode()
        for row in found["lines"]:
            match row["type"]:
                case "MX":
                    self.resolver.exchangers[row["name"]] = ((10, "mx1.contoso.com"), (20, "mx7.backup.test"))
                case "TXT":
                    self.resolver.texts[row["name"]] = tuple(row["values"])
                case "TLSA":
                    self.resolver.keys[row["name"]] = tuple(row["values"])
                    self.resolver.signed.add(row["name"])


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[Tls]:
    async with desk_here(tmp_path) as here:
        yield Tls(here)


def kept(mode: StsMode = StsMode.ENFORCE, until: float = NOW + 86400, **more: Any) -> KeptSts:
    policy = StsPolicy("far.test", mode, ("mx.far.test", "*.net.test"), "7", until, ("version: STSv1",))
    return KeptSts("far.test", policy, NOW - 3600, **more)


# --- what others demand


async def test_a_domain_without_any_policy(tls: Tls) -> None:
    tls.resolver.hosts["far.test"] = ("192.0.2.1",)
    out = await tls.run("tls", "policy", "Far.Test")
    assert "there is no TXT record that begins with v=STSv1;" in out and "policy" in out and "none" in out
    assert "far.test" in out and "no TLSA records, not proven by DNSSEC" in out
    assert tls.fetched == [False]


async def test_a_policy_hosts_and_keys(tls: Tls) -> None:
    tls.look = StsLook("far.test", ("v=STSv1; id=7;",), "7", kept=kept())
    tls.resolver.exchangers["far.test"] = ((10, "mx.far.test"), (20, "a.net.test"))
    tls.resolver.keys["_25._tcp.mx.far.test"] = ("3 1 1 " + KEY,)
    tls.resolver.signed |= {"_25._tcp.mx.far.test", "far.test"}
    out = await tls.run("tls", "policy", "far.test", "--fetch")
    assert "enforce" in out and "mx.far.test, *.net.test" in out and "id 7" in out and "kept" in out
    assert f"1 TLSA record, proven by DNSSEC: 3 1 1 {KEY}" in out and "DNSSEC of the MX records: secure" in out
    assert tls.fetched == [True]
    found = await tls.told("tls", "policy", "far.test")
    assert [row["covered"] for row in found["hosts"]] == [True, True]
    assert found["mta_sts"]["until"] == NOW + 86400 and found["troubles"] == []


@pytest.mark.parametrize(
    ("mode", "then"), [(StsMode.ENFORCE, "no mail goes there"), (StsMode.TESTING, "only reported")]
)
async def test_hosts_that_it_does_not_cover_are_a_finding(tls: Tls, mode: StsMode, then: str) -> None:
    tls.look = StsLook("far.test", ("v=STSv1; id=7;",), "7", kept=kept(mode))
    tls.resolver.exchangers["far.test"] = ((10, "mx.far.test"), (20, "evil.test"))
    out = await tls.run("tls", "policy", "far.test", code=1)
    assert f"! the policy does not cover evil.test ({then}" in out and "not covered" in out


async def test_mode_none_covers_nothing_and_demands_nothing(tls: Tls) -> None:
    tls.look = StsLook("far.test", ("v=STSv1; id=7;",), "7", kept=kept(StsMode.NONE))
    tls.resolver.exchangers["far.test"] = ((10, "evil.test"),)
    assert "not covered" not in await tls.run("tls", "policy", "far.test")


async def test_a_fetch_that_failed_and_a_policy_that_is_over(tls: Tls) -> None:
    tls.look = StsLook("far.test", ("v=STSv1; id=7;",), "7", kept=kept(until=NOW - 5), trouble="status 404")
    tls.resolver.exchangers["far.test"] = ((10, "mx.far.test"),)
    out = await tls.run("tls", "policy", "far.test", code=1)
    assert "none in force; the last one ended at" in out and "status 404" in out
    tls.look = StsLook("far.test", kept=kept(failed=NOW - 60, why="no answer"), silent="gone")
    out = await tls.run("tls", "policy", "far.test")
    assert "last fetch failed" in out and "no answer" in out and "enforce" in out


async def test_silent_dns_is_a_finding(tls: Tls) -> None:
    tls.resolver.exchangers["far.test"] = ((10, "mx.far.test"),)
    tls.resolver.forged.add("_25._tcp.mx.far.test")
    out = await tls.run("tls", "policy", "far.test", code=1)
    assert "the TLSA records of mx.far.test cannot be found out, so mail waits" in out
    tls.resolver.silent.add("far.test")
    assert "DNS does not tell the mail hosts" in await tls.run("tls", "policy", "far.test", code=1)


async def test_hostile_answers_move_no_cursor(tls: Tls) -> None:
    tls.look = StsLook("far.test", (EVIL,), "7", kept=kept(failed=NOW, why=EVIL), trouble=EVIL)
    tls.resolver.exchangers["far.test"] = ((10, EVIL),)
    out = await tls.run("tls", "policy", "far.test", code=1)
    assert "\x1b" not in out and "\u202e" not in out and "\nFORGED" not in out


async def test_what_is_no_domain_is_misuse(tls: Tls) -> None:
    assert "is not a domain" in await tls.run("tls", "policy", "no domain", code=2)
    assert "is an address" in await tls.run("tls", "policy", "a@far.test", code=2)


# --- what we publish


async def test_the_lines_as_long_as_nothing_is_published(tls: Tls) -> None:
    lines = await tls.lines(code=1)
    assert {name: (row["state"], row["wrong"]) for name, row in lines.items()} == {
        "contoso.com": ("missing", True),
        "_mta-sts.contoso.com": ("missing", True),
        "https://mta-sts.contoso.com/.well-known/mta-sts.txt": ("different", True),
        "_smtp._tls.contoso.com": ("missing", True),
        "_25._tcp.mx1.contoso.com": ("missing", False),
    }
    assert lines["contoso.com"]["zone"] == ["contoso.com. 3600 IN MX 10 mx1.contoso.com."]
    zone = lines["_25._tcp.mx1.contoso.com"]["zone"]
    assert zone == [f"_25._tcp.mx1.contoso.com. 3600 IN TLSA 3 1 1 {key}" for key in (KEY, NEXT)]
    out = await tls.run("domain", "dns", "contoso.com", code=1)
    assert "TXT _smtp._tls.contoso.com: missing" in out and "mx: *.backup.test" in out
    assert "TLSA _25._tcp.mx1.contoso.com: missing (not needed)" in out


async def test_everything_published_is_code_0(tls: Tls) -> None:
    await tls.publish()
    assert {row["state"] for row in (await tls.lines()).values()} == {"ok"}
    assert "name the next one in mta_sts.next_keys" in await tls.run("domain", "dns", "contoso.com")


async def test_the_id_follows_the_content(tls: Tls) -> None:
    await tls.publish()
    tls.document = tls.document.replace('"testing"', '"enforce"')
    lines = await tls.lines(code=1)
    assert lines["_mta-sts.contoso.com"]["state"] == "different"
    assert lines["https://mta-sts.contoso.com/.well-known/mta-sts.txt"]["state"] == "different"


@pytest.mark.parametrize(
    ("there", "state", "said"),
    [
        ((KEY,), "different", "the next key is missing"),
        ((NEXT,), "different", "a key that is shown now is not among them"),
        ((OTHER,), "different", "a key that is shown now is not among them"),
        ((KEY, NEXT, OTHER), "ok", "1 of them are of other keys"),
    ],
)
async def test_rolling_keys_over(tls: Tls, there: tuple[str, ...], state: str, said: str) -> None:
    await tls.publish()
    tls.resolver.keys["_25._tcp.mx1.contoso.com"] = tuple([f"3 1 1 {key.upper()}" for key in there])
    row = (await tls.lines(code=0 if state == "ok" else 1))["_25._tcp.mx1.contoso.com"]
    assert (row["state"], said in row["said"]) == (state, True)


async def test_a_host_whose_certificate_is_not_ours(tls: Tls) -> None:
    await tls.publish()
    tls.keys = (ShownKey("other.pem", ("www.contoso.com",), KEY),)
    row = (await tls.lines())["_25._tcp.mx1.contoso.com"]
    assert row["state"] == "not ours" and "none of our certificates bears the name mx1.contoso.com" in row["said"]


async def test_a_policy_that_cannot_be_fetched(tls: Tls) -> None:
    await tls.publish()
    tls.served = RuntimeError("mta-sts.contoso.com does not exist in DNS")
    row = (await tls.lines(code=1))["https://mta-sts.contoso.com/.well-known/mta-sts.txt"]
    assert row["said"] == (
        "mta-sts.contoso.com does not exist in DNS; none of our certificates bears the name mta-sts.contoso.com"
    )


async def test_a_domain_that_publishes_no_policy(tls: Tls) -> None:
    tls.resolver.exchangers["plain.test"] = ((10, "mx.lockgate.test"),)
    tls.resolver.texts["_smtp._tls.plain.test"] = ("v=TLSRPTv1; rua=mailto:tls@contoso.com",)
    out = await tls.run("domain", "dns", "plain.test")
    assert "lockgate domain set plain.test mta_sts_mode=testing" in out
    tls.resolver.texts["_mta-sts.plain.test"] = ("v=STSv1; id=1;",)
    assert "withdraw it with mta_sts_mode=none first" in await tls.run("domain", "dns", "plain.test", code=1)


async def test_dns_that_says_nothing_is_code_3(tls: Tls) -> None:
    await tls.publish()
    tls.resolver.silent.add("_mta-sts.contoso.com")
    assert (await tls.lines(code=3))["_mta-sts.contoso.com"]["state"] == "unknown"


async def test_what_cannot_be_answered(tls: Tls) -> None:
    assert "is no accepted domain" in await tls.run("domain", "dns", "stranger.test", code=1)
    assert "is not a domain" in await tls.run("domain", "dns", "no domain", code=2)
    tls.keys = OSError("mx.pem is not there")
    assert "keys of our certificates cannot be read" in await tls.run("domain", "dns", "contoso.com", code=3)


async def test_hostile_records_move_no_cursor_either(tls: Tls) -> None:
    tls.resolver.texts["_mta-sts.contoso.com"] = ("v=STSv1" + EVIL,)
    tls.resolver.exchangers["contoso.com"] = ((10, EVIL),)
    tls.served = EVIL.encode()
    out = await tls.run("domain", "dns", "contoso.com", code=1)
    assert "\x1b" not in out and "\u202e" not in out and "\nFORGED" not in out
