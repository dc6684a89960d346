"""What leaves is signed: keys made by command, seen in real DNS, and signatures that other software takes for good."""

from __future__ import annotations

import contextlib
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lockgate.mail.headers import read_headers
from peers.client import Raw
from peers.contoso import mail_users
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer
from peers.verifiers import dkimpy, needs_opendkim, opendkim

POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
default = true

[[accepted_domain]]
domain_name = "fabrikam.test"
vouched_by_operator = true

[[inbound_connector]]
name = "Own"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]

[[outbound_connector]]
name = "World"
use_mx_record = false
smart_hosts = ["{sink}"]
recipient_domains = ["*"]

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["{sink}"]
recipient_domains = ["contoso.com"]
"""
OWN = "192.0.2.25"
ANN, FAR = "ann@contoso.com", "far@away.test"


def letter(number: int = 0, *, author: str = ANN, body: bytes = b"Hello.\r\n", more: bytes = b"") -> bytes:
    head = f"From: Ann <{author}>\r\nTo: {FAR}\r\nSubject: letter {number}\r\nMessage-ID: <{number}@contoso.com>\r\n"
    return head.encode() + b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n" + more + b"\r\n" + body


@dataclass
class World:
    service: Service
    names: DnsServer
    sink: SmtpPeer
    zone: dict[tuple[str, str], list[str]]

    def send(self, content: bytes, *, sender: str = ANN, to: str = FAR, options: tuple[str, ...] = ()) -> Mail:
        """One message of an own server; as it arrives in the world."""
        before = self.mails
        with self.service.client(OWN) as client:
            code, text = client.letter(sender, to, content=content, options=options)
            assert code == 250, text
        return self.next(before)

    @property
    def mails(self) -> list[Mail]:
        """What has arrived, in no certain order: connections take turns."""
        return self.sink.mails

    def next(self, before: list[Mail]) -> Mail:
        """The one that arrives after those."""
        known = {id(mail) for mail in before}
        (mail,) = [mail for mail in arrived(self.sink, len(before) + 1) if id(mail) not in known]
        return mail

    def publish(self, records: list[dict[str, Any]]) -> None:
        """What `dkim dns` printed, put into the zone by its owner."""
        for one in records:
            self.zone[one["name"], "TXT"] = [one["zone"].partition(" IN TXT ")[2]]

    def held(self, domain: str = "contoso.com") -> list[dict[str, Any]]:
        return self.service.told("dkim", "keys", domain)

    def states(self, domain: str = "contoso.com") -> dict[str, str]:
        return {key["algorithm"]: key["state"] for key in self.held(domain)}

    def records(self) -> dict[str, str]:
        """The TXT records of the whole zone, joined."""
        return {name: "".join(re.findall(r'"([^"]*)"', texts[0])) for (name, kind), texts in self.zone.items()}

    def begin(self, domain: str, *properties: str) -> None:
        """A configuration, its keys, their records published and seen."""
        self.service.told("dkim", "add", domain, *properties)
        self.publish(self.service.told("dkim", "rotate", domain)["records"])
        self.service.told("dkim", "check", domain)
        self.service.until(lambda: set(self.states(domain).values()) == {"active"}, "the keys sign")


PLAIN = Script(extensions=("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 50000000"))
"""A next hop that takes messages by DATA, whose last line always ends."""

Start = Callable[[Path], Any]


@pytest.fixture(scope="module")
def start() -> Start:
    @contextlib.contextmanager
    def world(folder: Path) -> Iterator[World]:
        zone: dict[tuple[str, str], list[str]] = {("away.test", "A"): ["192.0.2.9"]}
        with dns(zone) as names, SmtpPeer(PLAIN) as sink:
            resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "300ms"}
            policy = POLICY.format(sink=sink.host)
            people = mail_users("ann")
            with running(folder, policy, dns=resolver, dkim={"look": "500ms"}, recipients=people) as service:
                yield World(service, names, sink, zone)

    return world


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Iterator[World]:
    """A world in which contoso.com signs with a key of each algorithm."""
    with start(tmp_path_factory.mktemp("signing")) as world:
        world.begin("contoso.com", "algorithms=rsa", "algorithms=ed25519")
        yield world


def signatures(content: bytes) -> list[dict[str, str]]:
    """The tags of the DKIM-Signature fields, from the top."""
    found = []
    for name, value in read_headers(content).fields:
        if name.lower() == b"dkim-signature":
            parts = [part.partition("=") for part in value.decode().split(";")]
            found.append({tag.strip(): "".join(text.split()) for tag, _, text in parts})
    return found


def test_a_key_waits_for_dns_before_it_signs(tmp_path: Path, start: Start) -> None:
    with start(tmp_path / "house") as world:
        service = world.service
        assert signatures(world.send(letter()).content) == []
        code, out, err = service.command("dkim", "rotate", "contoso.com")
        assert (code, out) == (1, "") and "make one: lockgate dkim add contoso.com" in err
        code, out, _ = service.command("dkim", "add", "contoso.com", "--what-if")
        assert code == 0 and "mail of contoso.com that leaves will be signed by contoso.com" in out
        service.told("dkim", "add", "contoso.com")
        code, out, _ = service.command("dkim", "rotate", "contoso.com", "--what-if")
        assert code == 0 and "An rsa key of 2048 bits would be made." in out and world.held() == []
        made = service.told("dkim", "rotate", "contoso.com")
        (record,) = made["records"]
        assert all(len(string) <= 255 for string in record["strings"]) and len(record["strings"]) == 2
        assert service.told("dkim", "rotate", "contoso.com")["made"] == []
        code, out, _ = service.command("dkim", "check", "contoso.com")
        assert code == 1 and "there is no TXT record at" in out
        assert signatures(world.send(letter()).content) == []
        world.zone[record["name"], "TXT"] = ['"v=DKIM1; k=rsa; p="']
        code, out, _ = service.command("dkim", "check", "contoso.com")
        assert code == 1 and "the key is revoked" in out
        assert world.states() == {"rsa": "waiting"}
        world.names.modes[record["name"]] = "servfail"
        assert service.command("dkim", "check", "contoso.com")[0] == 3
        del world.names.modes[record["name"]]

        world.publish(made["records"])
        service.until(lambda: world.states() == {"rsa": "active"}, "the caretaker has seen the record")
        (tags,) = signatures(world.send(letter()).content)
        assert (tags["d"], tags["s"], tags["a"]) == ("contoso.com", made["made"][0]["selector"], "rsa-sha256")
        code, out, _ = service.command("dkim", "check", "contoso.com")
        assert code == 0 and "DNS has it" in out
        rows = service.told("audit", "find", "--what", "dkim key")
        assert [(row["what"], row["after"]) for row in rows][::-1] == [
            ("dkim key waiting", "waiting"), ("dkim key active", "active"),
        ]  # fmt: skip
        _secrets_are_secret(service)


def _secrets_are_secret(service: Service) -> None:
    """Private keys are the service's alone, in a backup, and not in one without keys."""
    folder = service.state / "dkim"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (pem,) = folder.glob("*.pem")
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600 and b"PRIVATE KEY" in pem.read_bytes()
    secret = pem.read_text().splitlines()[3]
    for path in service.folder.rglob("*"):
        if path.is_file() and path != pem and not path.is_socket():
            assert secret.encode() not in path.read_bytes(), path
    names = {}
    for words in ((), ("--no-keys",)):
        target = service.folder / f"backup{len(words)}.tar.zst"
        service.told("backup", str(target), *words)
        place = service.folder / f"restored{len(words)}"
        config = place / "lockgate.toml"
        place.mkdir()
        config.write_text(service.config.read_text())
        code, out, err = Service(place, config).command("restore", str(target))
        assert code == 0, (out, err)
        names[len(words)] = sorted(path.name for path in (place / "state" / "dkim").glob("*.*"))
        if not words:
            kept = place / "state" / "dkim" / pem.name
            assert kept.read_bytes() == pem.read_bytes() and stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert names == {0: sorted([".lock", "index.json", pem.name]), 1: []}


def test_a_rotation_changes_the_key_only_when_the_new_one_is_published(tmp_path: Path, start: Start) -> None:
    with start(tmp_path / "house") as world:
        world.begin("contoso.com")
        (old,) = world.held()
        made = world.service.told("dkim", "rotate", "contoso.com")
        (new,) = made["made"]
        assert new["selector"] != old["selector"]
        assert signatures(world.send(letter()).content)[0]["s"] == old["selector"]
        world.publish(made["records"])
        world.service.told("dkim", "check", "contoso.com")
        world.service.until(lambda: len(world.held()) == 2 and "waiting" not in str(world.held()), "the new one signs")
        assert signatures(world.send(letter()).content)[0]["s"] == new["selector"]
        first, second = world.held()
        assert (first["state"], second["state"]) == ("retiring", "active")
        assert first["keep_record_until"] > time.time() + 6 * 86400
        code, out, _ = world.service.command("dkim", "keys", "contoso.com")
        assert code == 0 and "its record has to stay in DNS until 20" in out
        code, out, _ = world.service.command("dkim", "dns", "contoso.com")
        assert old["selector"] in out and new["selector"] in out

        world.service.command("dkim", "revoke", "contoso.com", new["selector"], "--what-if")
        assert world.held()[1]["state"] == "active"
        world.service.told("dkim", "revoke", "contoso.com", new["selector"])
        assert signatures(world.send(letter()).content) == []
        assert [path.name for path in (world.service.state / "dkim").glob("*.pem")] == [
            f"contoso.com.{old['selector']}.pem"
        ]


def test_a_domain_without_keys_is_signed_by_the_default_domain(signing: World) -> None:
    content = signing.send(letter(author="bo@fabrikam.test"), sender="bo@fabrikam.test").content
    assert {tags["d"] for tags in signatures(content)} == {"contoso.com"}
    assert dkimpy(signing.records(), content) == [True, True]


def test_what_stays_inside_and_what_is_not_ours_is_not_signed(signing: World) -> None:
    assert signatures(signing.send(letter(), to=ANN).content) == []
    before = signing.mails
    with signing.service.client("203.0.113.5") as client:
        assert client.letter("x@stranger.test", ANN, content=letter(author="x@stranger.test"))[0] == 250
    assert signatures(signing.next(before).content) == []


def test_the_test_mail_of_a_validation_is_signed_as_all_mail_is(signing: World) -> None:
    for connector, to, signed in (("World", FAR, [True, True]), ("Headquarters", ANN, [])):
        before = signing.mails
        signing.service.told("connector", "validate", connector, "--to", to)
        assert dkimpy(signing.records(), signing.next(before).content) == signed


def test_reports_of_own_servers_are_signed(signing: World) -> None:
    content = signing.send(letter(), sender="").content
    assert [tags["a"] for tags in signatures(content)] == ["rsa-sha256", "ed25519-sha256"]


def test_a_large_message(signing: World) -> None:
    content = signing.send(letter(body=(b"x" * 76 + b"\r\n") * 40_000)).content
    assert dkimpy(signing.records(), content) == [True, True]


LONG = b"X-Long: " + b"a" * 900 + b"\r\nReferences: " + b"\r\n ".join([b"<%d@a.test>" % n for n in range(60)]) + b"\r\n"
FOLDED = b'Reply-To: =?utf-8?q?J=C3?=\r\n\t<ann@contoso.com>,\r\n    \t"A  B" <b@contoso.com>\r\nCc:c@away.test\r\n'
MIME = b"MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
EAI = "X-Name: Jürgen\r\nSender: Jürgen <jürgen@contoso.com>\r\n".encode()
HEADS = [b"", LONG, FOLDED, MIME, MIME + EAI]
BODIES = [
    b"Hello.\r\n",
    b"",
    b"\r\n",
    b"text\r\n\r\n\r\n\r\n",
    b".\r\n..\r\n.dot\r\n. \r\n",
    "Grüße aus Köln, 日本\r\n".encode(),
    b"blanks  \t \r\n\tat the end \t\r\n  \r\n",
    b"octets \xff\xfe\xe9 that are no UTF-8\r\n",
    b"a line of 1,500 octets: " + b"y" * 1476 + b"\r\nFrom here\r\n>From there\r\n",
    bytes(range(32, 127)) * 40 + b"\r\n",
]
UNENDED = [b"no line end", b"blank at the end ", b"\r\n\r\nlast", b".", b"\xc3\xa9"]


def corpus() -> list[tuple[bytes, bool]]:
    """A hundred messages, and whether they are sent by BDAT because their last line has no end."""
    ended = [
        (letter(number, body=body, more=head), False)
        for number, (head, body) in enumerate((head, body) for head in HEADS for body in BODIES)
    ]
    twice = [(message.replace(b"letter", b"  another\tletter"), False) for message, _ in ended[:25]]
    unended = [(letter(100 + n, body=body, more=head), True) for n, (head, body) in enumerate(
        (head, body) for head in HEADS for body in UNENDED
    )]  # fmt: skip
    return ended + twice + unended


def _by_bdat(world: World, content: bytes) -> Mail:
    before = world.mails
    with Raw(world.service.proxied, OWN) as raw:
        raw.reply()
        for line in ("EHLO own.test", f"MAIL FROM:<{ANN}> BODY=8BITMIME SMTPUTF8", f"RCPT TO:<{FAR}>"):
            raw.socket.sendall(line.encode() + b"\r\n")
            assert raw.reply().startswith("250"), line
        raw.socket.sendall(b"BDAT %d LAST\r\n" % len(content) + content)
        assert raw.reply().startswith("250")
    return world.next(before)


@pytest.fixture(scope="module")
def hundred(signing: World) -> list[bytes]:
    """The hundred messages as they arrive."""
    options = ("BODY=8BITMIME", "SMTPUTF8")
    found = []
    for content, unended in corpus():
        mail = _by_bdat(signing, content) if unended else signing.send(content, options=options)
        body = content.partition(b"\r\n\r\n")[2]
        assert mail.content.partition(b"\r\n\r\n")[2] == (body + b"\r\n" if unended else body)
        found.append(mail.content)
    assert len(found) == 100
    return found


def test_dkimpy_takes_both_signatures_of_100_of_100(signing: World, hundred: list[bytes]) -> None:
    records = signing.records()
    wrong = [number for number, content in enumerate(hundred) if dkimpy(records, content) != [True, True]]
    assert wrong == []


@needs_opendkim
def test_opendkim_takes_both_signatures_of_100_of_100(tmp_path: Path, signing: World, hundred: list[bytes]) -> None:
    both = {key["selector"] for key in signing.held()}
    assert len(both) == 2
    found = opendkim(tmp_path / "opendkim", signing.records(), hundred)
    wrong = {number: selectors for number, selectors in enumerate(found) if selectors != both}
    assert wrong == {}


def test_a_next_hop_that_takes_chunks_gets_them_octet_by_octet(signing: World) -> None:
    signing.sink.script = Script()
    signing.sink.drop_all()
    try:
        for body in UNENDED:
            content = _by_bdat(signing, letter(body=body)).content
            assert content.endswith(b"\r\n\r\n" + body)
            # dkimpy, unlike RFC 6376 3.4.4, adds no line end in the relaxed form where there is none.
            assert dkimpy(signing.records(), content + b"\r\n") == [True, True]
    finally:
        signing.sink.script = PLAIN
        signing.sink.drop_all()


def test_a_changed_message_is_not_taken(signing: World, hundred: list[bytes]) -> None:
    changed = hundred[0].replace(b"Hello.", b"Hullo.")
    assert dkimpy(signing.records(), changed) == [False, False]
    added = hundred[0].replace(b"Subject: ", b"Subject: bought\r\nSubject: ", 1)
    assert dkimpy(signing.records(), added) == [False, False]
