"""T-EOP-4: the next hop is down; mail waits, is returned when its life is over, or goes in order when it is back."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path

import pytest

from peers.contoso import contoso, mail_users
from peers.dns_thread import dns
from peers.listening import Down, arrived, recipients, sender, subject
from peers.names import Names
from peers.service import running
from peers.smtp_peer import Script, SmtpPeer

ONE, BEN = "concurrency = 1", mail_users("ben")
BUSY = "451 4.3.2 headquarters is closed today"


def test_t_eop_4_a_message_whose_life_is_over_is_returned_once(tmp_path: Path) -> None:
    with (
        SmtpPeer(Script(mail=BUSY)) as headquarters,
        SmtpPeer(address="127.0.0.31") as outside,
        Names({"outside.example": ["mx.outside.example"]}, {"mx.outside.example": ["127.0.0.31"]}) as names,
        running(
            tmp_path / "service", contoso(headquarters.host, connector=ONE), recipients=BEN, dns=names.settings,
            delivery={"mx_port": outside.port, "message_life": "3s", "first_retry": "1s", "delay_notice": "0s"},
        ) as service,
    ):  # fmt: skip
        message = service.send("alice@outside.example", "ben@contoso.com", content="t-eop-4")
        row, = service.until(lambda: service.trace(id=message), "there is a row")
        assert row["status"] == "Pending"
        report = arrived(outside)[0]
        row, = service.settled(message, "Failed")
        tried = len([s for s in headquarters.sessions if b"MAIL FROM" in s.clear])
        assert 2 <= tried <= 6 and not headquarters.mails
        service.until(lambda: not service.queue(), "nothing waits any more")
        assert len(outside.mails) == 1, "one report, no more"
    assert (sender(report), recipients(report)) == ("", ["alice@outside.example"])
    whole = message_from_bytes(report.content)
    assert whole.get_content_type() == "multipart/report"
    text, status, original = whole.get_payload()
    about_all, about_one = status.get_payload()
    assert about_one["Action"] == "failed" and about_one["Status"] == "5.4.300"
    assert about_one["Final-Recipient"].replace(" ", "") == "rfc822;ben@contoso.com"
    kind, _, diagnostic = about_one["Diagnostic-Code"].partition(";")
    assert kind == "smtp" and " ".join(diagnostic.split()) == BUSY, "the last word of that server, and not ours"
    assert about_one["Remote-MTA"] == "dns; 127.0.0.1"
    words = " ".join(text.get_payload(decode=True).decode().split())
    server = f"127.0.0.1[127.0.0.1]:{headquarters.port}"
    assert f"Our own server gave up: 550 5.4.300 Message expired The server {server} said last: {BUSY}" in words
    assert "t-eop-4" in original.as_string() and about_all["Reporting-MTA"]


@pytest.mark.parametrize(
    ("zone", "whom", "sentence"),
    [
        ('"v=spf1 ip4:192.0.2.10 -all"', "alice@outside.test", "sender told by report"),
        ('"v=spf1 -all"', "alice@outside.test", "sender not told, because it may be forged"),
        ('"v=spf1 -all"', "", "sender not told, because the message came from the null sender"),
    ],
    ids=["proven", "forged", "null"],
)
def test_t_eop_4_a_dead_host_with_the_dsn_rule(tmp_path: Path, zone: str, whom: str, sentence: str) -> None:
    records = {
        ("outside.test", "TXT"): [zone],
        ("outside.test", "MX"): ["10 mx.outside.test."],
        ("mx.outside.test", "A"): ["127.0.0.31"],
    }
    policy = '[[anti_phishing_policy]]\nname = "Default"\n'
    with (
        Down() as headquarters,
        SmtpPeer(address="127.0.0.31") as outside,
        dns(records) as names,
        running(
            tmp_path / "service", contoso(headquarters.host, connector=ONE), policy, recipients=BEN,
            dns={"resolvers": [names.address[0]], "port": names.address[1], "timeout": "500ms"},
            delivery={"mx_port": outside.port, "message_life": "3s", "first_retry": "1s", "delay_notice": "1s"},
        ) as service,
    ):  # fmt: skip
        content = b"From: Alice <alice@outside.test>\r\nSubject: t-eop-4\r\n\r\nhello\r\n"
        message = service.send(whom, "ben@contoso.com", content=content)
        row, = service.settled(message, "Failed")
        events = service.show(message)["rows"][0]["events"]
        assert sentence in events[-1]["detail"]
        assert row["reply"].startswith("550 5.4.300 Message expired; last answer: 451 4.4.316 "), row
        service.until(lambda: not service.queue(), "nothing waits any more")
        told = sorted(subject(mail) for mail in outside.mails)
        assert told == (["Your message is delayed", "Your message was not delivered"] if "told by" in sentence else [])


def test_t_eop_4_what_waited_goes_in_order_of_acceptance(tmp_path: Path) -> None:
    count = 12
    with Down() as down, running(tmp_path / "s", contoso(down.host, connector=ONE), recipients=BEN) as service:
        wanted = [f"number {number}" for number in range(count)]
        ids = [service.send("alice@outside.example", "ben@contoso.com", content=text) for text in wanted]
        service.until(lambda: service.queue() and service.queue()[0]["why"], "the lane knows why it waits")
        assert service.queue()[0]["tasks"] == count
        assert {row["status"] for row in service.trace()} == {"Pending"}
        headquarters = down.up()
        mails = arrived(headquarters, count)
        assert [subject(mail) for mail in mails] == wanted
        assert len(headquarters.sessions) == 1
        for one in ids:
            service.settled(one)
        assert len(headquarters.mails) == count
