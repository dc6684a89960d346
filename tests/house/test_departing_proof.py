"""What leaves keeps its proof: results in our name only, forwarded copies sealed and rewritten, reports find back.

Over the running service, with real DNS, SMTP peers, keys made by command, and dkimpy as another verifier of chains.
"""

from __future__ import annotations

import asyncio
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dkim
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import rsa

from lockgate.mail.arc import seal
from lockgate.mail.authentication import ArcVerdict
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, public_record, sign
from lockgate.mail.headers import read_headers, unfold
from lockgate.probes.trust.arc import check_chain
from lockgate.testing.dns import ZoneResolver
from peers.dns_thread import dns
from peers.listening import Down, arrived, recipients, sender
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

BANK = SigningKey("bank.test", "s", rsa.generate_private_key(65537, 2048))
LIST = SigningKey("list.test", "s", rsa.generate_private_key(65537, 2048))
POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
default = true

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{hq}"]

[[outbound_connector]]
name = "World"
recipient_domains = ["*"]
use_mx_record = false
smart_hosts = ["{world}"]
"""
ASKING = """
[[anti_phishing_policy]]
name = "Default"

[[arc_config]]
trusted_arc_sealers = ["list.test"]
"""
PEOPLE = (
    "address,kind,external_address,forwarding_smtp_address,deliver_to_mailbox_and_forward\n"
    "fay@contoso.com,mail_user,,fay@away.test,true\n"
    "out@contoso.com,mail_user,out@away.test,,\n"
    "ben@contoso.com,mail_user,,,\n"
)
BEN, OUT, FAY = "ben@contoso.com", "out@contoso.com", "fay@contoso.com"
ANN = "ann@bank.test"
THEIRS, ELSEWHERE = "192.0.2.10", "203.0.113.66"
FORGED = f"Authentication-Results: {HOSTNAME};\r\n\tdmarc=pass header.from=bank.test\r\n".encode()
WORLD = Script(extensions=("PIPELINING", "8BITMIME", "SIZE 50000000"))


def letter(*more: bytes, author: str = ANN, body: bytes = b"Pay this.\r\n") -> bytes:
    head = f"From: Ann <{author}>\r\nTo: {OUT}\r\nSubject: hello\r\nMessage-ID: <1@bank.test>\r\n"
    return b"".join(more) + head.encode() + b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n" + body


def signed(octets: bytes, key: SigningKey = BANK) -> bytes:
    headers = read_headers(octets)
    return sign(headers.fields, Bodies(octets[headers.end :]), key, at=1_760_000_000) + octets


def sealed(octets: bytes, results: bytes, key: SigningKey = LIST) -> bytes:
    headers = read_headers(octets)
    bodies = Bodies(octets[headers.end :])
    names = (b"from", b"to", b"subject")
    set_ = seal(
        headers.fields, bodies, key, state=ArcVerdict.NONE, results=results, names=names, at=1_760_000_000
    )
    return set_ + octets


def strings(record: str) -> str:
    return " ".join(f'"{record[at : at + 200]}"' for at in range(0, len(record), 200))


@dataclass
class World:
    service: Service
    hq: SmtpPeer
    world: SmtpPeer
    zone: dict[tuple[str, str], list[str]]
    seen: dict[int, int] = field(default_factory=dict)

    def send(self, content: bytes, *to: str, origin: str = ANN, peer: str = THEIRS) -> str:
        return self.service.send(origin, *to, content=content, peer=peer)

    def next(self, peer: SmtpPeer) -> Mail:
        """The next message that arrives there."""
        count = self.seen.get(id(peer), 0) + 1
        self.seen[id(peer)] = count
        return arrived(peer, count)[count - 1]

    def texts(self) -> dict[str, str]:
        """The TXT records of the whole zone, joined."""
        return {
            name: "".join(re.findall(r'"([^"]*)"', texts[0])) for (name, kind), texts in self.zone.items()
        }

    def chain(self, content: bytes) -> tuple[Any, bytes]:
        """What we and what dkimpy make of its chain."""
        headers = read_headers(content)
        resolver = ZoneResolver(texts={name: [text] for name, text in self.texts().items()})
        ours = asyncio.run(check_chain(resolver, headers, Bodies(content[headers.end :])))
        texts = self.texts()
        cv, _, _ = dkim.ARC(content).verify(dnsfunc=lambda name, timeout=5: texts[name.decode().rstrip(".")].encode())
        return ours, cv


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    zone: dict[tuple[str, str], list[str]] = {
        ("bank.test", "TXT"): [f'"v=spf1 ip4:{THEIRS} -all"'],
        ("_dmarc.bank.test", "TXT"): ['"v=DMARC1; p=reject"'],
        ("s._domainkey.bank.test", "TXT"): [strings(public_record(BANK))],
        ("s._domainkey.list.test", "TXT"): [strings(public_record(LIST))],
        ("shop.test", "TXT"): ['"v=spf1 -all"'],
        ("_dmarc.shop.test", "TXT"): ['"v=DMARC1; p=quarantine"'],
    }
    with dns(zone) as names, SmtpPeer(WORLD) as hq, SmtpPeer(WORLD) as away:
        resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "300ms"}
        policy = POLICY.format(hq=hq.host, world=away.host) + ASKING
        folder = tmp_path_factory.mktemp("departing")
        with running(folder, policy, recipients=PEOPLE, dns=resolver, dkim={"look": "500ms"}) as service:
            service.told("dkim", "add", "contoso.com")
            for one in service.told("dkim", "rotate", "contoso.com")["records"]:
                zone[one["name"], "TXT"] = [one["zone"].partition(" IN TXT ")[2]]
            service.told("dkim", "check", "contoso.com")
            yield World(service, hq, away, zone)


def results_in(content: bytes) -> list[str]:
    """The Authentication-Results fields, each as one line, from the top."""
    headers = read_headers(content)
    found = [unfold(value) for name, value in headers.fields if name.lower() == b"authentication-results"]
    return [" ".join(text.split()) for text in found]


def test_a_forged_field_in_our_name_arrives_and_leaves_with_ours_only(world: World) -> None:
    other = b"Authentication-Results: relay.bank.test; auth=pass\r\n"
    world.send(letter(FORGED, other, b"X-Lockgate-Verdict: clean\r\n"), BEN)
    mail = world.next(world.hq)
    assert results_in(mail.content) == [
        f"{HOSTNAME}; spf=pass (sender IP is {THEIRS}) smtp.mailfrom=bank.test; dkim=none (message not signed);"
        " dmarc=pass action=none header.from=bank.test; compauth=pass reason=102",
        "relay.bank.test; auth=pass",
    ]
    assert mail.content.startswith(b"Authentication-Results: ")
    assert b"X-Lockgate-Verdict" not in mail.content
    assert mail.content.endswith(letter(other)), "every other octet is as it was"


def test_held_mail_bears_what_was_done_when_it_is_released(world: World) -> None:
    code_of = world.send(letter(FORGED, author="s@shop.test"), BEN, origin="s@shop.test", peer=ELSEWHERE)
    world.service.settled(code_of, "Held")
    assert world.service.command("hold", "release", code_of)[0] == 0
    (ours,) = results_in(world.next(world.hq).content)
    assert "dmarc=fail action=quarantine header.from=shop.test" in ours
    assert "compauth=fail reason=000" in ours


def test_a_forwarded_copy_is_rewritten_and_sealed_and_both_verifiers_take_the_chain(world: World) -> None:
    world.send(signed(letter(FORGED)), OUT)
    mail = world.next(world.world)
    assert recipients(mail) == ["out@away.test"]
    assert re.fullmatch(r"SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=bank\.test=ann@contoso\.com", sender(mail))
    ours, cv = world.chain(mail.content)
    assert (ours.verdict, ours.sets, ours.sealer) == (ArcVerdict.PASS, 1, "contoso.com"), ours
    assert cv == b"pass"
    assert ours.results.startswith(f"i=1; {HOSTNAME}; spf=pass")
    assert "dmarc=pass action=none header.from=bank.test; compauth=pass reason=100" in ours.results
    assert len(results_in(mail.content)) == 1
    texts = world.texts()
    assert dkim.DKIM(mail.content).verify(dnsfunc=lambda name, timeout=5: texts[name.decode().rstrip(".")].encode())


def test_who_forwards_and_keeps_a_copy_gets_it_as_it_came_and_the_other_copy_is_sealed(world: World) -> None:
    message = world.send(signed(letter()), FAY)
    here, outside = world.next(world.hq), world.next(world.world)
    assert (recipients(here), sender(here)) == ([FAY], ANN)
    assert b"ARC-Seal" not in here.content
    assert recipients(outside) == ["fay@away.test"]
    assert sender(outside).endswith("=bank.test=ann@contoso.com")
    ours, cv = world.chain(outside.content)
    assert (ours.verdict, cv) == (ArcVerdict.PASS, b"pass")
    world.service.settled(message)
    assert "rewritten under contoso.com" in str(world.service.told("explain", message))
    report = world.send(letter(author="mailer-daemon@away.test"), sender(outside), origin="", peer=ELSEWHERE)
    assert recipients(world.next(world.world)) == [ANN]
    world.service.settled(report)


def test_a_chain_goes_on_when_a_sealed_message_is_sent_on(world: World) -> None:
    world.send(signed(sealed(letter(), b"list.test; spf=none")), OUT)
    ours, cv = world.chain(world.next(world.world).content)
    assert (ours.verdict, ours.sets, ours.sealers) == (ArcVerdict.PASS, 2, ("list.test", "contoso.com")), ours
    assert cv == b"pass"


def test_the_word_of_a_trusted_sealer_saves_what_a_list_has_changed(world: World) -> None:
    changed = signed(letter()).replace(b"Subject: hello", b"Subject: [list] hello")
    said = b"list.test; spf=pass smtp.mailfrom=bank.test; dmarc=pass (p=reject) header.from=bank.test"
    message = world.send(sealed(changed, said), BEN, origin="list@list.test", peer=ELSEWHERE)
    (ours,) = results_in(world.next(world.hq).content)
    assert "dmarc=fail action=oreject header.from=bank.test" in ours
    assert "arc=pass (i=1 d=list.test oda=1)" in ours
    assert "compauth=pass reason=130" in ours
    world.service.settled(message)
    told = str(world.service.told("explain", message))
    assert "list.test, whose seals are trusted, found bank.test proven (reason 130)" in told
    for results in (b"list.test; dmarc=pass header.from=other.test", b"list.test; dmarc=fail header.from=bank.test"):
        with world.service.client(ELSEWHERE) as client:
            code, text = client.letter("list@list.test", BEN, content=sealed(changed, results))
        assert (code, text[:7]) == (550, "5.7.509")
    with world.service.client(ELSEWHERE) as client:
        code, text = client.letter("x@bank.test", BEN, content=sealed(changed, said, BANK))
    assert (code, text[:7]) == (550, "5.7.509"), "sealed by nobody who is trusted"


def test_a_report_to_a_rewritten_sender_reaches_the_first_sender_once(world: World) -> None:
    world.send(signed(letter()), OUT)
    back = sender(world.next(world.world))
    report = letter(author="mailer-daemon@away.test", body=b"It could not be delivered.\r\n")
    message = world.send(report, back, origin="", peer=ELSEWHERE)
    mail = world.next(world.world)
    assert (recipients(mail), sender(mail)) == ([ANN], "")
    assert mail.content.endswith(report)
    (row,) = world.service.settled(message)
    assert row["recipient_address"] == back
    assert "goes to ann@bank.test" in str(world.service.told("explain", message))
    assert len(world.world.mails) == world.seen[id(world.world)], "and no second time"


def test_a_forged_way_back_is_refused_and_so_is_other_mail_to_a_true_one(world: World) -> None:
    world.send(signed(letter()), OUT)
    back = sender(world.next(world.world))
    forged = re.sub(r"=[A-Z2-7]{8}=", "=AAAAAAAA=", back)
    third = re.sub(r"=bank\.test=ann@", "=victim.test=joe@", back)
    with world.service.client(ELSEWHERE) as client:
        client.begin("")
        assert [client.to(one)[1][:5] for one in (forged, third)] == ["5.1.1", "5.1.1"]
        assert client.to(back)[0] == 250
    with world.service.client(ELSEWHERE) as client:
        client.begin("joe@victim.test")
        code, text = client.to(back)
        assert (code, text[:5]) == (550, "5.1.1")
        connection = text.rpartition("(id ")[2].rstrip(")")
    world.service.until(lambda: world.service.command("explain", connection)[0] in (0, 1), "the refusal is written")
    assert "only reports, which have no sender, take this way" in world.service.command("explain", connection)[1]
    code, out, _ = world.service.command("what-if", "--ip", ELSEWHERE, "--from", "<>", "--to", back)
    assert code == 0
    assert "goes to ann@bank.test" in out


def test_the_secret_of_rewritten_senders_is_kept_and_in_every_backup(world: World) -> None:
    key = world.service.state / "srs.key"
    assert key.stat().st_mode & 0o777 == 0o600
    archive = world.service.folder / "backup.tar.zst"
    code, out, err = world.service.command("backup", str(archive))
    assert code == 0, (out, err)
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as files:
        kept = files.extractfile("state/srs.key")
        assert kept is not None
        assert kept.read() == key.read_bytes()


def test_where_nobody_asks_only_what_is_forged_goes(tmp_path: Path) -> None:
    with SmtpPeer(WORLD) as hq:
        policy = POLICY.format(hq=hq.host, world=hq.host)
        with running(tmp_path / "s", policy, recipients=PEOPLE) as service:
            service.send(ANN, BEN, content=letter(FORGED), peer=THEIRS)
            service.send(ANN, BEN, content=letter(b"X-Odd:  kept \r\n"), peer=THEIRS)
            first, second = (mail.content for mail in arrived(hq, 2)[:2])
    assert results_in(first) == []
    assert first.endswith(letter())
    assert second.endswith(letter(b"X-Odd:  kept \r\n"))
    assert first.startswith(b"Received: ")


def test_hosted_mailboxes_get_the_field_too(tmp_path: Path) -> None:
    zone = {
        ("bank.test", "TXT"): [f'"v=spf1 ip4:{THEIRS} -all"'],
        ("_dmarc.bank.test", "TXT"): ['"v=DMARC1; p=reject"'],
    }
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    people = "address,kind\nben@contoso.com,mailbox\n"
    with dns(zone) as names, SmtpPeer(WORLD) as hq:
        policy = POLICY.format(hq=hq.host, world=hq.host) + ASKING
        resolver = {"resolvers": [names.address[0]], "port": names.address[1]}
        with running(
            tmp_path / "s", policy, recipients=people, dns=resolver, mailboxes={"directory": str(boxes)}
        ) as service:
            service.settled(service.send(ANN, BEN, content=letter(FORGED), peer=THEIRS))
    (kept,) = [path.read_bytes() for path in boxes.rglob("new/*")]
    (ours,) = results_in(kept.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert "dmarc=pass action=none header.from=bank.test" in ours


def test_what_is_to_be_written_survives_a_restart(tmp_path: Path) -> None:
    zone = {("bank.test", "TXT"): [f'"v=spf1 ip4:{THEIRS} -all"'], ("_dmarc.bank.test", "TXT"): ['"v=DMARC1; p=none"']}
    with dns(zone) as names, Down() as hq:
        policy = POLICY.format(hq=hq.host, world=hq.host) + ASKING
        resolver = {"resolvers": [names.address[0]], "port": names.address[1]}
        with running(tmp_path / "s", policy, recipients=PEOPLE, dns=resolver) as service:
            service.send(ANN, BEN, OUT, content=letter(FORGED), peer=THEIRS)
            service.until(service.queue, "it waits")
            service.stop()
            asked = len(names.asked)
            service.start()
            sink = hq.up(WORLD)
            mails = {recipients(mail)[0]: mail for mail in arrived(sink, 2)}
            assert len(names.asked) == asked, "nobody is asked twice"
    for mail in mails.values():
        (ours,) = results_in(mail.content)
        assert "compauth=pass reason=102" in ours
    assert sender(mails["out@away.test"]).startswith("SRS0=")
