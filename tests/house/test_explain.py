"""explain, what-if and replay against the running service: what was said on the wire is what they tell, and no more."""

from __future__ import annotations

import random
import re
import smtplib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flow.test_explanations import BASE, PIECES
from lockgate.flow.asking import Explain, Kind, Replay, WhatIf
from pace import slower
from peers.certificates import Authority, Papers
from peers.client import letter
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer

POLICY = "".join([BASE, *(piece for piece in PIECES if "gateway" not in piece)]).replace(
    'name = "but for the head office"', 'name = "but for the head office"\nenabled = false'
)
RECIPIENTS = {
    "fabrikam": "address,kind\nu@fabrikam.com,mail_user\n",
    "contoso": "address,kind,external_address,aliases\n"
    "c@contoso.com,mail_contact,u@contoso.com,\nrosa@nola.contoso.com,mailbox,,\n"
    "u@contoso.com,mail_user,,alias@contoso.com\n",
}
SENDERS = ("", "x@sender.test", "a@bank.test", "u@contoso.com", "u@fabrikam.com")
TO = ("u@contoso.com", "no@contoso.com", "rosa@nola.contoso.com", "alias@contoso.com", "c@contoso.com",
      "u@fabrikam.com", "x@example.net", "postmaster@contoso.com", "x@unproven.test")  # fmt: skip
PEERS = ("198.51.100.7", "198.51.100.66", "192.0.2.25", "203.0.113.9", "203.0.113.7", "2001:db8::1")


@dataclass
class World:
    service: Service
    papers: dict[str, Papers]
    hq: SmtpPeer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("explain")
    ca = Authority(folder)
    shown = ca.issue(HOSTNAME)
    papers = {
        "own": ca.issue("mail.contoso.com"),
        "bank": ca.issue("mail.bank.test"),
        "self-signed": ca.issue("mail.bank.test", self_signed=True),
    }
    with SmtpPeer() as hq, running(
        folder / "service", POLICY.replace("hq.test", hq.host), recipients=RECIPIENTS,
        delivery={"ca_bundle": ca.file}, certificate=[{"chain": shown.chain, "key": shown.key}],
    ) as service:  # fmt: skip
        yield World(service, papers, hq)


@dataclass
class Letter:
    """What a sender does."""

    sender: str
    to: list[str]
    peer: str
    tls: str
    content: bytes

    def what_if(self, world: World) -> WhatIf:
        certificate = world.papers[self.tls].chain.read_text() if self.tls in world.papers else ""
        version = "1.3" if self.tls else ""
        return WhatIf(self.sender, tuple(self.to), self.peer, "client.test", tls=version, certificate=certificate,
                      head=self.content, size=len(self.content))  # fmt: skip


def random_letter(chance: random.Random) -> Letter:
    sender, to = chance.choice(SENDERS), chance.sample(TO, chance.randint(1, 4))
    body = "x" * 70 + "\r\n"
    content = letter(sender, to[0], "hello", body * chance.choice((1, 1, 1000, 1800)))
    return Letter(sender, to, chance.choice(PEERS), chance.choice(("", "", "plain", "own", "bank", "self-signed")),
                  content)  # fmt: skip


def conversation(world: World, one: Letter) -> list[str]:
    """All that the service replied to what is judged."""
    try:
        client = world.service.client(one.peer)
    except smtplib.SMTPConnectError as refused:
        return [f"{refused.smtp_code} {refused.smtp_error.decode()}"]
    with client:
        client.ehlo()
        if one.tls:
            papers = world.papers.get(one.tls)
            client.secure(papers.chain if papers else None, papers.key if papers else None)
        replies = [client.begin(one.sender)]
        if replies[0][0] == 250:
            replies += [client.to(recipient) for recipient in one.to]
            if any(code == 250 for code, _ in replies[1:]):
                replies.append(client.content(one.content))
        return [f"{code} {text}" for code, text in replies]


def ids(replies: list[str]) -> list[str]:
    """Ids that the replies name: of the connection where something was refused, of the message where it was taken."""
    found = [match[1] for reply in replies if (match := re.search(r"\(id (\w+)\)$", reply))]
    found += [reply.rpartition(" ")[2] for reply in replies if " Queued as " in reply]
    return list(dict.fromkeys(found))


def plain(reply: str) -> str:
    return re.sub(r" \(id \w+\)$|(?<= Queued as ).*", "", reply)


def said(part: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["point"], row["recipient"], plain(row["reply"])) for row in part["conversation"]]


def explained(service: Service, identity: str) -> dict[str, Any]:
    """What is told of a message or, once its rows are written, of the refusals of a connection."""
    kind = "message" if "-" in identity else "refusals"

    def findable() -> bool:
        answer = service.answer(Explain(identity))
        return bool(answer.kind == Kind.OK and answer.result["kind"] == kind)

    service.until(findable, f"{identity} is findable", pause=0.1)
    return service.done(Explain(identity))


def test_what_was_said_on_the_wire_is_explained_and_supposed_alike(world: World) -> None:
    chance = random.Random(7)
    accepted = refused = 0
    for _ in range(30):
        one = random_letter(chance)
        replies = conversation(world, one)
        (supposed,) = world.service.done(one.what_if(world))["parts"]
        live = [plain(reply) for reply in replies]
        told = said(supposed)
        assert [reply for *_, reply in (told if len(told) == 1 else told[1:])] == live, one
        fates = {row["recipient"]: row["sentence"] for row in supposed["recipients"]}
        for identity in ids(replies):
            told_ = explained(world.service, identity)
            accepted, refused = accepted + (told_["kind"] == "message"), refused + (told_["kind"] == "refusals")
            for part in told_["parts"]:
                assert part["judged"]["steps"] == "judged again" and part["differs"] == []
                assert set(said(part)) <= set(told), one
                assert {row["recipient"]: row["sentence"] for row in part["recipients"]}.items() <= fates.items(), one
    assert accepted > 5 and refused > 10, f"the letters are not mixed: {accepted} {refused}"


def test_a_delivered_message_is_told_to_its_end(world: World) -> None:
    one = Letter("x@sender.test", ["u@contoso.com", "no@contoso.com"], "198.51.100.7", "", letter("x@sender.test", "u"))
    replies = conversation(world, one)
    message = ids(replies)[-1]
    world.service.settled(message)
    explained(world.service, ids(replies)[0])  # the refusal is written
    told = explained(world.service, message)
    (part,) = told["parts"]
    (row,) = part["recipients"]
    assert row["recipient"] == "u@contoso.com" and row["status"] == "Delivered"
    assert row["route"]["connector"] == "hq" and row["route"]["next_hop"] == world.hq.host
    send = row["attempts"][-1]
    assert send["kind"] == "Send" and send["reply"].startswith("250") and str(world.hq.port) in send["host"]
    subjects = [step["subject"] for step in row["steps"]]
    assert {"connector dear", "connector site", "connector old", "rule never", "rule to the site"} <= set(subjects)
    assert part["judged"]["revision"] == 1 and part["judged"]["directory_revisions"]
    assert [other["recipient"] for other in told["refused_besides"]] == ["no@contoso.com"]
    assert world.service.answer(Explain("nowhere")).kind == Kind.FINDING
    world.service.settled(ids(conversation(world, one))[-1])  # a second one with the Message-ID of the first
    several = world.service.answer(Explain("<hello@client.test>"))
    assert several.kind == Kind.FINDING and "say which" in several.sentence


def test_supposing_has_no_side_effects(world: World) -> None:
    service = world.service

    def everything() -> tuple[Any, ...]:
        lines = [line for line in (service.folder / "lockgate.log").read_text().splitlines() if "/desk[" in line]
        return service.trace(), service.status()["policy_revision"], lines

    time.sleep(1.0)  # refusal rows are written three times a second
    before = everything()
    for one in (Letter("x@sender.test", ["no@contoso.com"], "203.0.113.9", "", b""),
                Letter("x@sender.test", ["u@contoso.com"], "198.51.100.7", "", b"")):  # fmt: skip
        service.done(one.what_if(world))
    service.done(Replay({"draft.toml": POLICY}, since="1h"))
    time.sleep(1.0)
    after = everything()
    assert [row["id"] for row in after[0]] == [row["id"] for row in before[0]]
    assert after[1:] == before[1:]


def test_recorded_mail_under_a_draft(world: World) -> None:
    service = world.service
    message = service.send("x@sender.test", "u@contoso.com", peer="198.51.100.7")
    draft = {"draft.toml": POLICY.replace('"198.51.100.66"', '"198.51.100.0/24"')}
    (part,) = service.done(WhatIf(like=message, documents=draft))["parts"]
    assert "a draft" in part["judged"]["policy"]
    (change,) = part["differs"]
    assert change["recipient"] == "u@contoso.com"
    assert change["before"].startswith("leaves by connector hq") and "5.7.513" in change["now"]
    (same,) = service.done(WhatIf(like=message))["parts"]
    assert same["differs"] == []
    told = service.done(Replay(draft, since="1h"))
    assert told["changed"] and any("5.7.513" in group["now"] for group in told["groups"])
    assert service.done(Replay({"draft.toml": POLICY}))["changed"] == 0
    wrong = service.answer(WhatIf(like=message, documents={"draft.toml": POLICY + "\ncolour = 1\n"}))
    assert wrong.kind == Kind.FINDING and wrong.result["problems"][0]["file"] == "draft.toml"


def test_explain_answers_in_under_100_ms(world: World) -> None:
    message = world.service.send("x@sender.test", "u@contoso.com", peer="198.51.100.7")
    explained(world.service, message)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        world.service.done(Explain(message))
        took.append(time.perf_counter() - start)
    assert statistics.median(took) < 0.1 * slower(), took
