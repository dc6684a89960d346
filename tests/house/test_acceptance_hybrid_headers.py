"""T-HYB-1 and T-HYB-3, what headers say: both sides of a hybrid, Postfix and a peer that logs every octet."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from peers.certificates import Authority, Papers
from peers.listening import subject
from peers.names import Names
from peers.postfix import Postfix, need_postfix
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import Script, SmtpPeer

WEBMAIL, STRANGER = "203.0.113.30", "198.51.100.9"
DAVID, JULIE, OUTSIDE = "david@contoso.com", "julie@contoso.com", "x@example.net"
ORGANISATION, CROSS = "X-MS-Exchange-Organization-", "X-MS-Exchange-CrossPremises-"
NETWORK_ID = "Network-Message-Id"
GUID = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
PEOPLE = f"address,kind\n{DAVID},mailbox\n{JULIE},mail_user\n"
POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
default = true
vouched_by_operator = true

[[inbound_connector]]
name = "From on-premises"
connector_type = "on_premises"
tls_sender_certificate_name = "contoso.com"
ca_file = "{ca}"
cloud_services_mail_enabled = true

[[inbound_connector]]
name = "Web mail"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.30"]
treat_messages_as_internal = true

[[outbound_connector]]
name = "To on-premises"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
tls_settings = "domain_validation"
tls_domain = "mail.contoso.com"
ca_file = "{ca}"
cloud_services_mail_enabled = true

[[mail_flow_rule]]
name = "Look at it"
subject_contains_words = ["suspicious"]
quarantine = true
"""


@dataclass
class World:
    service: Service
    boxes: Path
    julies: SmtpPeer
    example: SmtpPeer
    ca: Authority
    papers: Papers

    def letter(self, name: str) -> Message:
        """What lies in david's mailbox under this subject."""

        def found() -> list[Message]:
            files = [file for file in self.boxes.rglob("*") if file.is_file() and file.parent.name in ("new", "cur")]
            return [one for one in map(message_from_bytes, map(Path.read_bytes, files)) if one["Subject"] == name]

        (letter,) = self.service.until(found, f"{name} in the mailbox")
        return letter

    def on_the_wire(self, peer: SmtpPeer, name: str) -> Message:
        self.service.until(lambda: [one for one in peer.mails if subject(one) == name], f"{name} at the peer")
        (mail,) = [one for one in peer.mails if subject(one) == name]
        return message_from_bytes(mail.raw)

    def postfix(self, **settings: object) -> Postfix:
        """The on-premises server, with the organisation's certificate."""
        return Postfix(
            f"127.0.0.1:{self.service.port}",
            smtp_tls_security_level="secure", smtp_tls_secure_cert_match=HOSTNAME, smtp_tls_CAfile=self.ca.file,
            smtp_tls_cert_file=self.papers.chain, smtp_tls_key_file=self.papers.key, **settings,
        )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hybrid")
    (folder / "boxes").mkdir(mode=0o700)
    ca = Authority(folder)
    ours, theirs, organisation = ca.issue(HOSTNAME), ca.issue("mail.contoso.com"), ca.issue("contoso.com")
    with (
        SmtpPeer(Script(context=theirs.server_context())) as julies,
        SmtpPeer(Script(), "127.0.0.21") as example,
        Names({"example.net": ["mx.example.net"]}, {"mx.example.net": ["127.0.0.21"]}) as names,
        running(
            folder / "service", POLICY.format(ca=ca.file, host=julies.host), recipients=PEOPLE, dns=names.settings,
            mailboxes={"directory": str(folder / "boxes")}, delivery={"mx_port": example.port},
            certificate=[{"chain": ours.chain, "key": ours.key}],
        ) as service,
    ):  # fmt: skip
        yield World(service, folder / "boxes", julies, example, ca, organisation)


def internal(letter: Message) -> dict[str, list[str]]:
    names = sorted({name for name, _ in letter.items() if name.lower().startswith("x-ms-exchange-")})
    return {name: letter.get_all(name, []) for name in names}


def says(name: str, *fields: str, author: str = JULIE) -> bytes:
    head = "".join(f"{line}\r\n" for line in (*fields, f"From: {author}", f"To: {DAVID}", f"Subject: {name}"))
    return (head + f"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{name}@x.test>\r\n\r\nhello\r\n").encode()


FORGED = (
    f"{ORGANISATION}AuthAs: Internal", f"{ORGANISATION}{NETWORK_ID}: {GUID}", f"{CROSS}AuthAs: Internal",
    f"{CROSS}{NETWORK_ID}: {GUID}", "x-ms-exchange-organization-SCL:\r\n -1",
    f"{ORGANISATION}AuthSource : dc.contoso.com", "X-MS-Exchange-CrossTenant-AuthAs: Internal",
)  # fmt: skip


def test_t_hyb_1_one_message_two_copies_one_network_message_id(world: World) -> None:
    message = world.service.send("a@outside.example", DAVID, JULIE, content=says("both", *FORGED), peer=STRANGER)
    rows = {row["recipient_address"]: row for row in world.service.settled(message)}
    assert {row["network_message_id"] for row in rows.values()} == {message}
    assert rows[JULIE]["outbound_connector"] == "To on-premises" and rows[DAVID]["outbound_connector"] == ""
    session = next(s for s in world.julies.sessions if any(subject(one) == "both" for one in s.mails))
    assert b"MAIL FROM" not in session.clear and b"X-MS-" not in session.clear, "nothing left in clear"
    assert CROSS.encode() in session.secure
    wire = world.on_the_wire(world.julies, "both")
    assert wire.get_all(CROSS + NETWORK_ID) == [rows[JULIE]["network_message_id"]]
    assert wire.get_all(CROSS + "AuthAs") == ["Anonymous"]
    stored = world.letter("both")
    assert stored.get_all(ORGANISATION + NETWORK_ID) == [message]
    assert internal(stored) == {
        ORGANISATION + "AuthAs": ["Anonymous"], ORGANISATION + "AuthSource": [HOSTNAME],
        ORGANISATION + "MessageDirectionality": ["Incoming"], ORGANISATION + NETWORK_ID: [message],
    }  # fmt: skip


def test_t_hyb_3_julie_to_david_is_internal(world: World) -> None:
    need_postfix()
    fields = (f"{CROSS}AuthAs: Internal", f"{CROSS}AuthSource: EX1.contoso.local", f"{CROSS}{NETWORK_ID}: {GUID}",
              f"{CROSS}SCL: -1", f"{ORGANISATION}SCL: 9")  # fmt: skip
    with world.postfix() as postfix, smtplib.SMTP("127.0.0.1", postfix.port, "client.test", 20) as client:
        client.sendmail(JULIE, [DAVID], says("internal", *fields))
        queued = postfix.logged(r"to=<david@contoso\.com>.*status=sent \(250 2\.0\.0 Queued as ([0-9a-f-]+)\)")[1]
    assert internal(world.letter("internal")) == {
        ORGANISATION + "AuthAs": ["Internal"], ORGANISATION + "AuthSource": ["EX1.contoso.local"],
        ORGANISATION + "MessageDirectionality": ["Originating"], ORGANISATION + NETWORK_ID: [GUID],
        ORGANISATION + "SCL": ["-1"],
    }  # fmt: skip
    (row,) = world.service.settled(queued)
    assert (row["network_message_id"], row["inbound_connector"]) == (GUID, "From on-premises")
    (part,) = world.service.told("explain", queued)["parts"]
    rights = {step["subject"]: step for step in part["recipients"][0]["steps"] if step["stage"] == "entitle"}
    assert {name: step["sign"] for name, step in rights.items()} == {
        "right to relay": "+", "internal trust": "+", "header promotion": "+", "spam bypass": "+",
    }  # fmt: skip
    assert rights["internal trust"]["because"] == "the other side says AuthAs: Internal"


def test_t_hyb_3_through_a_relay_that_strips_them_it_is_external(world: World) -> None:
    need_postfix()
    with (
        world.postfix(header_checks="regexp:{{/^X-MS-Exchange-/ IGNORE}}") as postfix,
        smtplib.SMTP("127.0.0.1", postfix.port, "client.test", 20) as client,
    ):
        client.sendmail(JULIE, [DAVID], says("stripped", f"{CROSS}AuthAs: Internal", f"{CROSS}{NETWORK_ID}: {GUID}"))
        queued = postfix.logged(r"to=<david@contoso\.com>.*status=sent \(250 2\.0\.0 Queued as ([0-9a-f-]+)\)")[1]
    told = internal(world.letter("stripped"))
    assert told[ORGANISATION + "AuthAs"] == ["Anonymous"] and told[ORGANISATION + NETWORK_ID] == [queued]
    assert world.service.settled(queued)[0]["network_message_id"] == queued


def test_the_same_fields_from_a_stranger_are_nothing(world: World) -> None:
    message = world.service.send("julie@outside.example", DAVID, content=says("stranger", *FORGED), peer=STRANGER)
    told = internal(world.letter("stranger"))
    assert told[ORGANISATION + "AuthAs"] == ["Anonymous"] and told[ORGANISATION + NETWORK_ID] == [message]
    assert not [name for name in told if name.startswith((CROSS, "X-MS-Exchange-CrossTenant"))]
    assert ORGANISATION + "SCL" not in {name.replace("organization", "Organization") for name in told}


def test_t_hyb_3_outward_the_wire_says_internal(world: World) -> None:
    """david writes by the organisation's web mail, whose mail counts as that of its own people."""
    message = world.service.send(DAVID, JULIE, OUTSIDE, content=says("outward", *FORGED, author=DAVID), peer=WEBMAIL)
    world.service.settled(message)
    wire = world.on_the_wire(world.julies, "outward")
    assert wire.get_all(CROSS + "AuthAs") == ["Internal"]
    assert wire.get_all(CROSS + NETWORK_ID) == [message]
    assert wire.get_all(CROSS + "MessageDirectionality") == ["Originating"]
    outside = world.on_the_wire(world.example, "outward")
    assert internal(outside) == {}
    assert b"x-ms-exchange" not in world.example.mails[-1].raw.lower()


def test_held_mail_is_dressed_by_the_way_it_takes_in_the_end(world: World) -> None:
    letter = says("suspicious", *FORGED, author="a@outside.example")
    message = world.service.send("a@outside.example", DAVID, JULIE, content=letter, peer=STRANGER)
    world.service.settled(message, "Held")
    code, out, err = world.service.command("hold", "release", message)
    assert code == 0, (out, err)
    world.service.settled(message)
    stored, wire = internal(world.letter("suspicious")), world.on_the_wire(world.julies, "suspicious")
    assert stored[ORGANISATION + "AuthAs"] == ["Anonymous"] and stored[ORGANISATION + NETWORK_ID] == [message]
    assert len(stored) == 4
    assert wire.get_all(CROSS + "AuthAs") == ["Anonymous"] and wire.get_all(CROSS + NETWORK_ID) == [message]
