"""What the desk says of devices: how they fare, what to do, and nothing that an organisation wants hidden."""

from __future__ import annotations

import asyncio
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.flow.asking import DeviceList, DeviceShow
from lockgate.flow.desk.devices import DeviceDesk, advice, kind_of, state_of
from lockgate.flow.desk.rights import Caller
from lockgate.flow.desk.section import Misuse, Nothing
from lockgate.flow.devices import _is_private
from lockgate.mail.redaction import Masking, Redactor, nothing_hidden
from lockgate.testing.builders import connection_of, policy_of

BARE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
"""
WITH = BARE + """
[[inbound_connector]]
organisation = "contoso"
name = "Branch's office"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.25"]
"""
TWO = WITH + '[[organisation]]\nname = "fabrikam"\n'
ME = Caller("0 root")


def row(**changed: Any) -> dict[str, Any]:
    return {
        "organisation": "contoso", "host": "203.0.113.40", "way": "not allowed", "connector": "", "helo": "p",
        "tls": "", "messages": 0, "inside": 0, "outside": 0, "others": 0, "refused": 1, "bare_refused": 0, "mended": 0,
        "first_seen": 1.0, "last_seen": 9.0, "last_taken": 0.0, "last_refused": 9.0,
        "refusal": "550 5.7.64 relay right: of scan@contoso.com", "refusal_id": "XYZ", "more_senders": 0, **changed,
    }  # fmt: skip


class Books:
    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows

    async def devices(self, organisation: str, limit: int) -> list[dict[str, Any]]:
        return [one for one in self.rows if organisation in ("", one["organisation"])][:limit]

    async def device(self, host: str, organisation: str) -> list[dict[str, Any]]:
        return [{**one, "senders": [{"address": "scan@contoso.com", "messages": 2}]}
                for one in await self.devices(organisation, 9) if one["host"] == host]  # fmt: skip


@pytest.mark.parametrize(
    "text,changed,expected",
    [
        (BARE, {}, "lockgate connector add Devices --inbound connector_type=on_premises"
                   " sender_ip_addresses=203.0.113.40"),
        (WITH, {}, "lockgate connector set 'Branch'\"'\"'s office' --inbound sender_ip_addresses+=203.0.113.40"),
        (TWO, {}, "sender_ip_addresses+=203.0.113.40 --organisation contoso"),
        (WITH, {"host": "2001:db8:0:1::/64"}, "sender_ip_addresses+=2001:db8:0:1::/64"),
        (WITH, {"host": "203.0.113.25"}, "lockgate explain XYZ"),
        (WITH, {"refusal": "550 5.1.1 x"}, "lockgate explain XYZ"),
        (WITH, {"refusal": "550 5.6.11 x", "connector": "Branch's office"}, "bare_newlines=normalise"),
        (WITH, {"refusal": "550 5.6.11 x"}, "sender_ip_addresses+=203.0.113.40"),
        (WITH, {"refusal": "550 5.7.711 x", "connector": "Branch's office"}, "lockgate connector blocked show"),
        (WITH, {"organisation": "gone"}, ""),
        (WITH, {"refused": 0, "refusal": "", "refusal_id": "", "messages": 1, "last_taken": 9.0}, ""),
        (WITH, {"messages": 1, "last_taken": 10.0}, "sender_ip_addresses+="),  # partly refused
        (WITH, {"messages": 1, "last_taken": 10.0, "host": "203.0.113.25"}, ""),  # mended since then
    ],
)  # fmt: skip
def test_what_to_do(text, changed, expected):
    told = advice(policy_of(text), row(**changed))
    assert expected in told and bool(told) == bool(expected)
    if "lockgate " in told:
        assert shlex.split(told[told.index("lockgate ") :])[0] == "lockgate"


def test_how_it_fares():
    policy = policy_of(WITH)
    assert state_of(policy, row()) == "refused"
    assert state_of(policy, row(messages=3, last_taken=10.0)) == "partly refused"
    assert state_of(policy, row(messages=3, last_taken=10.0, refusal="550 5.1.1 x")) == "taken"
    assert state_of(policy, row(messages=3, last_taken=5.0)) == "refused"
    assert kind_of(row(messages=100, others=3)) == "device"
    assert kind_of(row(messages=100, others=11)) == kind_of(row(others=4)) == "mail server"


def test_the_list_leaves_mail_servers_out_and_show_finds_a_whole_64():
    policy = policy_of(WITH)
    desk = DeviceDesk(Books(row(), row(host="192.0.2.9", others=50), row(host="2001:db8::/64")), lambda: policy,
                      nothing_hidden)  # fmt: skip

    async def run() -> None:
        shown = (await desk.list(DeviceList(), ME)).result
        assert [one["host"] for one in shown] == ["203.0.113.40", "2001:db8::/64"]
        assert shown[0]["tls"] == "plain text"
        assert len((await desk.list(DeviceList(servers=True), ME)).result) == 3
        for address in ("2001:db8::1", "2001:db8::/64", "2001:db8:0:0:ffff::9"):
            assert len((await desk.show(DeviceShow(address), ME)).result) == 1
        with pytest.raises(Nothing):
            await desk.show(DeviceShow("192.0.2.77"), ME)
        for wrong in (DeviceShow("printer"), DeviceShow("192.0.2.1", "nobody")):
            with pytest.raises(Misuse):
                await desk.show(wrong, ME)
        with pytest.raises(Misuse):
            await desk.list(DeviceList(limit=0), ME)

    asyncio.run(run())


def test_what_was_kept_before_is_hidden_when_shown():
    redactor = Redactor(Masking.LOCAL_PARTS, subjects=True, facts=True, key=b"k" * 32)
    policy = policy_of(WITH)
    desk = DeviceDesk(Books(row()), lambda: policy, lambda organisation: redactor)
    told = str(asyncio.run(desk.show(DeviceShow("203.0.113.40"), ME)).result)
    assert "scan@" not in told and "@contoso.com" in told


@pytest.mark.parametrize(
    "address,private",
    [
        ("10.1.2.3", True), ("172.31.0.1", True), ("172.32.0.1", False), ("192.168.0.9", True), ("169.254.1.1", True),
        ("127.0.0.1", True), ("192.0.2.1", False), ("198.51.100.1", False), ("fd00::1", True), ("fc00::1", True),
        ("fe80::1", True), ("::1", True), ("2001:db8::1", False), ("8.8.8.8", False),
    ],
)  # fmt: skip
def test_private_addresses(address, private):
    assert _is_private(connection_of(address).packed) is private


@given(st.ip_addresses())
def test_the_quick_look_overlooks_nobody(address):
    from lockgate.flow.devices import _PRIVATE

    expected = any(address in network for network in _PRIVATE if network.version == address.version)
    assert _is_private(address.packed) is expected
