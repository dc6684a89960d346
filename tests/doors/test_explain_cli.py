"""explain, what-if and replay at the terminal: plain in a pipe, coloured on a terminal, harmless whatever mail says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from doors.desk_here import EVIL, FixedClock, Here
from doors.replays_here import ReplaysHere
from flow.house import CONTOSO, OURS, House
from lockgate.app.control import ControlServer
from lockgate.app.policies import read_documents
from lockgate.cli.asked import Switchboard
from lockgate.flow.desk.explain import ExplainDesk, Revisions
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.replays import ReplayDesk
from lockgate.flow.intake import Guest
from lockgate.flow.retelling import PolicyGone
from lockgate.flow.simulate import NOT_ASKED
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.policy.policy import Policy
from lockgate.testing.builders import address, connection_of, policy_of
from lockgate.testing.memory import MemoryDirectory

BODY_RULE = """
[[mail_flow_rule]]
name = "Odd"
subject_or_body_contains_words = ["odd"]
delete_message = true
"""
ROOT = Path(__file__).resolve().parents[2]


class Asked(Here):
    """The desk's section over the queue of a house in memory."""

    def __init__(self, folder: Path, house: House) -> None:
        super().__init__(folder)
        self.house = house

        async def in_force() -> Policy:
            return house.policy

        async def at(number: int) -> Policy:
            if number != house.policy.revision:
                raise PolicyGone(f"revision {number} is not kept here any more")
            return house.policy

        async def draft(files) -> Policy:
            return policy_of("\n".join(files.values()))

        revisions = Revisions(in_force, at, draft)
        section = ExplainDesk(
            house.spool, revisions, MemoryDirectory(), FixedClock(), lambda *_: ((), (), ""), "x"
        )
        self.replays = ReplaysHere(house, revisions)
        replays = ReplayDesk(revisions, self.replays, FixedClock())
        self.desk = Desk((section, replays, self.policies), self.audit, self.journal)


@pytest.fixture
async def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    def board(*given) -> Switchboard:
        return Switchboard(*given)._replace(read_documents=read_documents)

    monkeypatch.setattr("doors.desk_here.Switchboard", board)
    house = House()
    asked = Asked(tmp_path, house)
    server = ControlServer(asked.desk.answer, asked.path, asked.journal)
    await server.open()
    try:
        yield asked
    finally:
        await server.close()


async def evil_message(house: House) -> str:
    """A message in which everything that a sender may choose wants to move the cursor."""
    connection = msgspec.structs.replace(connection_of("198.51.100.7"), helo=EVIL)
    guest = Guest(house.reception, connection)
    guest.mail(Envelope(address("x@sender.test")))
    guest.rcpt(RecipientId(address("ben@contoso.com")))
    body = guest.begin()
    body.write(f"Subject: {EVIL.splitlines()[0]}\r\n\r\nHello\r\n".encode())
    assert (await guest.done(body)).code == 250
    await house.settle()
    return next(iter(house.spool.messages))


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


async def test_a_message_is_explained_in_plain_lines(asked: Asked) -> None:
    message = await evil_message(asked.house)
    code, out, _ = await asked.run("explain", message)
    assert code == 0 and harmless(out)
    lines = out.splitlines()
    assert lines[0] == f"Message {message} from x@sender.test to ben@contoso.com"
    assert [line.split() for line in lines if "end of data" in line] == [
        ["(end", "of", "data)", "250", "2.0.0", "Queued", "as", "id-1"]
    ]
    headline = lines.index("ben@contoso.com: leaves by connector hq (hq.test), TLS opportunistic, to ben@contoso.com"
                           " [Delivered]")  # fmt: skip
    assert lines[headline + 1] == "  because connector hq: it is for all accepted domains, and contoso.com is one"
    assert lines[headline + 2].startswith("  -  attribute  connector onprem: 198.51.100.7 is none of its addresses")
    assert lines[-1].endswith("to recording:25, 250 2.0.0 OK") and "  Send " in lines[-1]
    code, out, _ = await asked.run("explain", message, "--short")
    assert len(out.splitlines()) == 4
    code, out, _ = await asked.run("explain", message, "--recipient", "<BEN@contoso.com>", "--json")
    assert [row["recipient"] for row in json.loads(out)["parts"][0]["recipients"]] == ["ben@contoso.com"]


async def test_what_is_not_there_is_a_finding(asked: Asked) -> None:
    message = await evil_message(asked.house)
    for arguments in (("nowhere",), (message, "--recipient", "amy@contoso.com"), (message, "--organisation", "x")):
        code, out, err = await asked.run("explain", *arguments)
        assert code == 1 and not out and err, arguments


async def test_a_refusal_is_explained_by_the_id_in_its_reply(asked: Asked) -> None:
    await asked.house.send("ben@contoso.com", "no@contoso.com", "x@far.test", sender="ben@contoso.com", peer=OURS)
    code, out, _ = await asked.run("explain", "C0NNECT10N")
    assert code == 0 and out.count("Refused on connection C0NNECT10N") == 1
    assert "no@contoso.com: refused: 550 5.4.1" in out
    assert "+  attribute  connector onprem: the peer 192.0.2.25 is one of its addresses -> may be an own server" in out
    message = next(iter(asked.house.spool.messages))
    _, out, _ = await asked.run("explain", message)
    assert "Refused on the same connection; `lockgate explain C0NNECT10N` tells why" in out


async def test_a_supposed_message(asked: Asked, tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"Subject: hello\nReceived: a\n\nbody\n")
    say = ("what-if", "--from", "x@sender.test", "--to", "ben@contoso.com", "--ip", "198.51.100.9")
    code, out, _ = await asked.run(*say, "--suppose", "directory = mail_user", str(mail))
    assert code == 0 and "leaves by connector hq" in out
    assert "subject         hello" in out and "octets          37" in out
    assert "seen: nothing, for nothing is sent" in out
    code, out, _ = await asked.run(*say)
    assert code == 1 and "550 5.4.1" in out
    code, out, _ = await asked.run("what-if", "--ip", "198.51.100.9")
    assert code == 0 and "220 mx.lockgate.test" in out and "MAIL FROM" not in out
    assert not asked.house.spool.messages and not asked.house.spool.refusals and not asked.audit.rows


async def test_what_if_knows_that_a_header_is_too_large(asked: Asked, tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    say = ("what-if", "--from", "x@sender.test", "--to", "ben@contoso.com", "--ip", "198.51.100.9",
           "--suppose", "directory = mail_user")  # fmt: skip
    for junk, said in ((300 * 1024, "larger than 256 KB"), (262_100, ""), (9_000, "")):
        mail.write_bytes(b"X-Junk: " + b"z" * junk + b"\nSubject: s\n\nbody\n")
        code, out, _ = await asked.run(*say, str(mail), "--json")
        assert (code, said in out) == (bool(said), True)
    mail.write_bytes(b"Subject: no empty line behind it\n")
    code, out, _ = await asked.run(*say, str(mail), "--size", "500000", "--json")
    assert code == 0, out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "x@y.test"), "say from which address the message comes: --ip"),
        (("--ip", "300.1.1.1"), "is no IP address"),
        (("--ip", "192.0.2.1", "--to", "a@b.test"), "recipients need a sender"),
        (("--ip", "192.0.2.1", "--from", "nobody"), "'nobody' is no address"),
        (("--ip", "192.0.2.1", "--tls", "9"), "is no version of TLS; there are 1.3, 1.2"),
        (("--ip", "192.0.2.1", "--tls", "none", "--cert", "a.test"), "a certificate is only shown in TLS"),
        (("--ip", "192.0.2.1", "--cert", "not a host"), "neither a host name nor a file"),
        (("--ip", "192.0.2.1", "--suppose", "spf=fail"), "nothing asks about 'spf'; what can be supposed is who-is,"),
        (("--ip", "192.0.2.1", "--at", "teatime"), "is no time"),
        (("--ip", "192.0.2.1", "missing.eml"), "missing.eml cannot be read"),
        (("--ip", "192.0.2.1", "--organisation", "Contoso"), "no organisation 'Contoso'; there are contoso"),
    ],
)
async def test_what_makes_no_sense_is_misuse(asked: Asked, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = await asked.run("what-if", *arguments)
    assert code == 2 and not out
    assert says.casefold() in err.casefold()


async def test_a_draft_with_mistakes_has_their_places(asked: Asked, tmp_path: Path) -> None:
    folder = tmp_path / "draft"
    folder.mkdir()
    (folder / "a.toml").write_text('[[organisation]]\nname = "contoso"\ncolour = "red"\n')
    code, _, err = await asked.run("what-if", "--ip", "192.0.2.1", "--policy", str(folder))
    assert code == 1 and "test.toml:3: organisation[0].colour" in err
    code, _, err = await asked.run("what-if", "--ip", "192.0.2.1", "--revision", "77")
    assert code == 1 and "revision 77 is not kept here any more" in err.casefold()
    code, _, err = await asked.run("replay")
    assert code == 2 and "--policy DIR or --revision N" in err
    (folder / "a.toml").write_text(CONTOSO)
    code, _, err = await asked.run("replay", "--policy", str(folder), "--organisation", "nope")
    assert code == 2 and "There is no organisation 'nope'; there are contoso" in err


async def test_replay_tells_what_would_change(asked: Asked, tmp_path: Path) -> None:
    await evil_message(asked.house)
    folder = tmp_path / "draft"
    folder.mkdir()
    (folder / "a.toml").write_text(CONTOSO + '[[connection_filter]]\nip_block_list = ["198.51.100.0/24"]\n')
    code, out, _ = await asked.run("replay", "--policy", str(folder), "--since", "1000000000")
    assert code == 1 and "1 recipient would fare otherwise" in out and harmless(out)
    assert "was  leaves by connector hq" in out and "now  refused: 550 5.7.513" in out
    assert "sender.test" in out.splitlines()[-1]
    (folder / "a.toml").write_text(CONTOSO)
    asked.replays.looks = 3
    code, out, _ = await asked.run("replay", "--policy", str(folder), "--since", "1000000000")
    assert code == 0 and "nothing would change" in out and asked.replays.looks == 0


async def test_replay_tells_of_rules_and_of_what_the_records_do_not_say(asked: Asked, tmp_path: Path) -> None:
    await evil_message(asked.house)
    folder = tmp_path / "draft"
    folder.mkdir()
    (folder / "a.toml").write_text(CONTOSO + BODY_RULE)
    code, out, _ = await asked.run("replay", "--policy", str(folder))
    assert code == 0 and harmless(out) and "nothing would change" in out
    assert "1 recipient of whom it cannot be told" in out and NOT_ASKED in out
    assert out.splitlines()[-1].split()[:3] == ["sender.test", "0", "1"]
    (folder / "a.toml").write_text(CONTOSO + BODY_RULE.replace("subject_or_body", "header").replace(
        '["odd"]', '{header = "Subject", words = ["owned"]}'))  # fmt: skip
    code, out, _ = await asked.run("replay", "--policy", str(folder), "--json")
    told = json.loads(out)
    assert code == 1 and told["unknown"] == 0
    (rule,) = told["rules"]
    assert (rule["rule"], rule["newly"], rule["no_longer"], rule["changed"]) == ("Odd", 1, 0, 1)
    assert rule["newly_examples"] == [{"id": "id-1", "recipient": "ben@contoso.com"}]


async def test_on_a_terminal_it_is_coloured_and_as_harmless(asked: Asked) -> None:
    message = await evil_message(asked.house)

    def on_a_terminal() -> bytes:
        master, slave = pty.openpty()
        script = (
            "import sys; from lockgate.cli.asked import Switchboard; from lockgate.cli.commands import main;"
            "main(Switchboard(*[None] * len(Switchboard._fields)), sys.argv[1:])"
        )
        command = [sys.executable, "-c", script, "--control", str(asked.path), "explain", message]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", "COLUMNS": "100"}
        process = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=environment)
        os.close(slave)
        data = b""
        with contextlib.suppress(OSError):
            while piece := os.read(master, 65536):
                data += piece
        assert process.wait(30) == 0, data
        os.close(master)
        return data

    text = (await asyncio.to_thread(on_a_terminal)).decode()
    assert "\x1b[1;32m" in text and "ben@contoso.com: leaves by connector hq" in text
    assert "\x1b[2J" not in text and "\x1b]0;owned" not in text and "\u202e" not in text
