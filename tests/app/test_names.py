"""The operator's [dns] settings reach the resolver and the check of senders."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, parse_config
from lockgate.app.names import resolver_of, sender_check_of
from lockgate.mail.authentication import SpfVerdict
from lockgate.policy.problems import Invalid
from peers.dns_server import DnsServer

ZONE = {("d.test", "TXT"): ['"v=spf1 include:one.test include:two.test -all"'],
        **{(f"{name}.test", "TXT"): ['"v=spf1 ?all"'] for name in ("one", "two")}}  # fmt: skip


def config(server: DnsServer, more: str = "") -> OperatorFile:
    address, port = server.address
    text = f'hostname = "mx.us.test"\n[dns]\nresolvers = ["{address}"]\nport = {port}\ntimeout = "400ms"\n{more}'
    return parse_config(text, Path("lockgate.toml"))


async def test_what_is_remembered() -> None:
    async with DnsServer(ZONE) as server:
        for remembers, more, asked in ((True, "", 1), (False, "", 2), (True, "cache_size = 0", 2)):
            server.asked.clear()
            resolver = resolver_of(config(server, more), SystemClock(), remembers=remembers)
            for _ in range(2):
                assert len(await resolver.txt("d.test")) == 1
            assert len(server.asked) == asked


async def test_what_one_message_may_cost() -> None:
    octets = b"From: a@d.test\r\n\r\nx\r\n"
    async with DnsServer(ZONE, {"two.test": "drop"}) as server:
        check = sender_check_of(config(server, 'message_time = "300ms"'), SystemClock())
        found = await check.authenticate("192.0.2.1", "h.test", "a@d.test", octets)
        assert found.spf.verdict is SpfVerdict.TEMPERROR
        assert "seconds for the look-ups of one message" in found.spf.problem


@pytest.mark.parametrize(
    "wrong",
    ['timeout = "11s"', 'message_time = "21s"', "message_questions = 1", 'probe = "no name"', "cache_size = -1"],
)
def test_settings_that_make_no_sense_are_told(wrong: str) -> None:
    with pytest.raises(Invalid):
        parse_config(f'hostname = "mx.us.test"\n[dns]\n{wrong}\n', Path("lockgate.toml"))
