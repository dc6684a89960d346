"""Replies of policy come from the judge alone: with a judge that refuses at one point, nobody else refuses anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, read_config
from lockgate.app.sockets import open_listeners
from lockgate.app.wiring import Worker, create_load_table, journal_of, policies_of
from lockgate.mail.facts import Facts, Point
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Deliver, Refuse, Route, Ruling, Verdict, Via
from lockgate.policy.policy import Policy
from lockgate.storage.keeper import KeeperSettings, serve
from lockgate.storage.lanes import Pace
from peers.client import Raw
from peers.service import DEFAULTS, toml

NO = Reply(550, "5.9.9", "The test says no")
POLICY = """
[operator]
ip_block_list = ["192.0.2.66"]
[operator.limits]
own_hops = 2
received_hops = 5
errors_per_connection = 1000
recipients_per_message = 100

[[organisation]]
name = "contoso"
max_receive_size = 100

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
sending_to_domain_disabled = true
sending_from_domain_disabled = true

[[connection_filter]]
ip_block_list = ["192.0.2.67"]

[[inbound_connector]]
name = "Bank"
sender_domains = ["bank.example"]
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["203.0.113.0/24"]
"""
PEERS = ("192.0.2.66", "192.0.2.67", "198.51.100.1")
SENDERS = ("alice@outside.example", "ben@contoso.com", "teller@bank.example", "")
MANY = 102
RECIPIENTS = ("nobody@contoso.com", "x@elsewhere.example", "postmaster@contoso.com", "ben@contoso.com")
LOOPED = b"".join(b"Received: from a by b; Mon, 1 Jan 2026 00:00:00 +0000\r\n" for _ in range(40))
CONTENT = LOOPED + b"Subject: loop\r\n\r\n" + b"large enough\r\n" * 100 + b".\r\n"


def refusing(point: Point | None) -> Callable[[Policy, Facts, Point, Ruling | None], Ruling]:
    """A judge that lets everything pass but at `point`, where it refuses everything."""

    def judge(policy: Policy, facts: Facts, until: Point, so_far: Ruling | None = None) -> Ruling:
        if until == point and point is not Point.RCPT:
            return Ruling(until, NO)
        route = Deliver(Route(Via.MX, "contoso", "", "nowhere.example"), facts.recipients[0].original) if (
            facts.recipients
        ) else None
        said = Refuse(NO) if point is Point.RCPT else route if until is Point.DATA else None
        verdicts = [Verdict(one, one.original, disposition=said) for one in facts.recipients]
        return Ruling(until, None, recipients=tuple(verdicts))

    return judge


@contextlib.asynccontextmanager
async def worker_with(config: OperatorFile, point: Point | None) -> AsyncIterator[int]:
    """A keeper and a worker with such a judge in this loop; gives the port that believes PROXY headers."""
    for folder in (config.queue_directory, config.recipients_directory, config.run_directory):
        folder.mkdir(parents=True, exist_ok=True)
    clock, stop = SystemClock(), asyncio.Event()
    journal = journal_of(config, "test")
    policies_of(config).publish(config.policy_directory, by="test", at=clock.now())
    keeper = asyncio.ensure_future(serve(KeeperSettings(config.state_directory, Pace()), clock, journal, stop))
    while not (config.run_directory / "keeper.sock").exists():
        assert not keeper.done(), keeper
        await asyncio.sleep(0.01)
    listening = open_listeners([(one.address, one.port) for one in config.listener], 1)
    table = config.run_directory / "load.table"
    create_load_table(table, 1)
    worker = Worker(config, 0, [one.name for one in listening], table, journal, refusing(point))
    await worker.open([one.sockets for one in listening])
    try:
        yield listening[1].port
    finally:
        await worker.close()
        stop.set()
        await keeper
        journal.close()


def dialogues(port: int) -> list[str]:
    """Everything that is said to peers whom the policy would refuse at every turn; the last lines of all replies."""
    heard: list[str] = []
    for peer in PEERS:
        with Raw(port, peer) as raw:
            greeting = raw.reply()
            heard.append(greeting)
            if not greeting.startswith("220"):
                continue
            heard.append(raw.say(b"EHLO raw.test\r\n"))
            for sender in SENDERS:
                heard.append(raw.say(f"MAIL FROM:<{sender}>\r\n".encode()))
                heard += [raw.say(f"RCPT TO:<{recipient}>\r\n".encode()) for recipient in RECIPIENTS]
                heard.append(raw.say(b"DATA\r\n"))
                if heard[-1].startswith("354"):
                    heard.append(raw.say(CONTENT))
                heard.append(raw.say(b"RSET\r\n"))
    return heard


@pytest.mark.parametrize("point", [None, *Point], ids=lambda point: "nowhere" if point is None else point.name)
async def test_no_policy_reply_but_the_judges(tmp_path: Path, point: Point | None) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "0.toml").write_text(POLICY)
    (tmp_path / "lockgate.toml").write_text(toml({**DEFAULTS, "alerts": {"disk_free": "1MB"}}))
    async with worker_with(read_config(tmp_path / "lockgate.toml"), point) as port:
        heard = await asyncio.to_thread(dialogues, port)
    refused = [line for line in heard if line[0] in "45"]
    judged = [line for line in refused if line.startswith("550 5.9.9 The test says no (id ")]
    # What is left is the protocol's own: no transaction is open, or nobody is left to receive.
    protocol = [line for line in refused if line not in judged]
    assert all(line.startswith("503 5.5.1 ") for line in protocol), protocol
    turns = len(PEERS) * len(SENDERS)
    expected = {
        None: 0, Point.CONNECT: len(PEERS), Point.MAIL: turns, Point.RCPT: turns * len(RECIPIENTS), Point.DATA: turns,
    }  # fmt: skip
    assert len(judged) == expected[point], refused
    if point in (None, Point.CONNECT, Point.DATA):
        assert not protocol
    if point is None:
        assert len([line for line in heard if "Queued as" in line]) == turns


async def test_how_many_recipients_are_taken_is_for_the_judge(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "0.toml").write_text(POLICY)
    (tmp_path / "lockgate.toml").write_text(toml({**DEFAULTS, "alerts": {"disk_free": "1MB"}}))

    def named(port: int) -> list[str]:
        with Raw(port, PEERS[-1]) as raw:
            raw.reply()
            raw.say(b"EHLO raw.test\r\n")
            raw.say(b"MAIL FROM:<alice@outside.example>\r\n")
            return [raw.say(f"RCPT TO:<{number}@contoso.com>\r\n".encode()) for number in range(MANY)]

    async with worker_with(read_config(tmp_path / "lockgate.toml"), None) as port:
        heard = await asyncio.to_thread(named, port)
    assert [line[:3] for line in heard] == ["250"] * MANY
