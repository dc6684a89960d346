"""Reports of success and failure as DSN parameters ask for them (RFC 3461, RFC 3464), from the wire to the wire."""

from __future__ import annotations

import email
from email.message import Message
from pathlib import Path

import pytest

from house.test_mailboxes import HYBRID, ORGANISATION, OUTSIDE, OWN, PEOPLE
from peers.listening import arrived
from peers.names import Names
from peers.service import running
from peers.smtp_peer import PLAIN, Mail, Script, SmtpPeer

JULIE, ANA, BOB, EVE = "julie@contoso.com", "ana@contoso.com", "bob+20x@fabrikam.com", "eve@dsn.example"
"""Bob's address holds what would be xtext if anybody undid it twice."""

NO = "550 5.1.1 no such user"


def fields(report: Mail) -> list[Message]:
    """The blocks of the delivery status: about the message, then about each recipient."""
    message = email.message_from_bytes(report.content)
    assert message.get_content_type() == "multipart/report"
    return message.get_payload()[1].get_payload()


@pytest.fixture
def world(tmp_path: Path):
    """Headquarters, where julie is; fabrikam, which knows no DSN; an exchanger that does; and a folder of mailboxes."""
    (tmp_path / "mail").mkdir()
    names = Names(
        {"fabrikam.com": ["mx.fabrikam.com"], "dsn.example": ["mx.dsn.example"]},
        {"mx.fabrikam.com": ["127.0.0.1"], "mx.dsn.example": ["127.0.0.2"]},
    )
    with (
        names,
        SmtpPeer() as headquarters,
        SmtpPeer(Script(PLAIN, rcpt={"gone@fabrikam.com": NO})) as fabrikam,
        SmtpPeer(address="127.0.0.2", port=fabrikam.port) as knows_dsn,
        running(
            tmp_path / "service", ORGANISATION + HYBRID.format(host=headquarters.host), recipients=PEOPLE,
            mailboxes={"directory": str(tmp_path / "mail")}, dns=names.settings,
            delivery={"mx_port": fabrikam.port},
        ) as service,
    ):  # fmt: skip
        yield service, headquarters, fabrikam, knows_dsn


def test_success_is_told_by_whoever_knows_it_last(world) -> None:
    service, headquarters, fabrikam, knows_dsn = world
    with service.client(OWN) as client:
        client.begin(JULIE, "RET=HDRS", "ENVID=QQ+2B314159")
        for address in (ANA, BOB, EVE):
            original = address.replace("+", "+2B").replace("@", "+40")
            code, text = client.rcpt(address, ["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;{original}"])
            assert code == 250, text
        code, text = client.content(b"From: julie@contoso.com\r\nSubject: the plan\r\n\r\nsecret body\r\n")
        assert code == 250
    message = text.rpartition(" ")[2]
    service.settled(message)
    told = {}
    for report in arrived(headquarters, 2):
        about, each = fields(report)
        assert about["Original-Envelope-Id"] == "QQ+314159"
        assert report.mail.startswith("MAIL FROM:<>") and "secret body" not in report.content.decode()
        told[each["Final-Recipient"]] = (each["Action"], each["Status"], each["Original-Recipient"], each["Remote-MTA"])
    assert told == {
        f"rfc822; {ANA}": ("delivered", "2.0.0", f"rfc822; {ANA}", None),
        f"rfc822; {BOB}": ("relayed", "2.0.0", f"rfc822; {BOB}", "dns; mx.fabrikam.com"),
    }
    (handed_on,) = arrived(knows_dsn)
    assert "RET=HDRS" in handed_on.mail and "ENVID=QQ+2B314159" in handed_on.mail
    assert "NOTIFY=SUCCESS,FAILURE" in handed_on.rcpt[0] and "ORCPT=rfc822;eve" in handed_on.rcpt[0]
    assert "NOTIFY" not in fabrikam.mails[0].rcpt[0], "what is not offered is not asked for"
    assert len(headquarters.mails) == 2


def test_never_means_never_and_failure_is_told_without_being_asked(world) -> None:
    service, headquarters, _, _ = world
    with service.client(OWN) as client:
        client.begin(JULIE)
        assert client.rcpt("gone@fabrikam.com", ["NOTIFY=NEVER"])[0] == 250
        code, text = client.content(b"Subject: one\r\n\r\n")
        assert code == 250
    quiet = text.rpartition(" ")[2]
    service.settled(quiet, "Failed")
    assert "asked for no report" in str(service.show(quiet)["rows"][0]["events"])
    loud = service.send(JULIE, "gone@fabrikam.com", peer=OWN)
    service.settled(loud, "Failed")
    _, each = fields(arrived(headquarters)[0])
    assert (each["Action"], each["Status"]) == ("failed", "5.1.1")
    assert each["Diagnostic-Code"] == f"smtp; {NO}"
    assert len(headquarters.mails) == 1


def test_a_stranger_is_not_told_of_success_because_the_address_may_be_forged(world) -> None:
    service, headquarters, fabrikam, _ = world
    with service.client() as client:
        client.begin(OUTSIDE)
        assert client.rcpt(ANA, ["NOTIFY=SUCCESS"])[0] == 250
        code, text = client.content(b"Subject: one\r\n\r\n")
        assert code == 250
    message = text.rpartition(" ")[2]
    service.settled(message)
    assert "success not reported, because the sender is not proven" in str(service.show(message)["rows"])
    assert not service.trace(recipient=OUTSIDE)
    assert not headquarters.mails and not fabrikam.mails
