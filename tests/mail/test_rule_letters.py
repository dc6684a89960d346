"""What rules have us write, about messages that mean us harm: nothing of them gets out of its place."""

from __future__ import annotations

import email
import email.policy
import html.parser
import random
from email.message import EmailMessage

import pytest

from lockgate.mail import rule_letters
from lockgate.mail.headers import message_of
from lockgate.mail.message import Message
from lockgate.mail.rule_letters import (
    Applied,
    Frame,
    Incident,
    attachable,
    highest,
    incident_report,
    notification,
    told_of,
)
from lockgate.mail.ruling import RuleHit, Severity

FRAME = Frame("id-7", "postmaster@contoso.com", "soc@contoso.com", "mx.contoso.com", 1_780_000_000.0, "mark")
ALL = (
    "sender", "recipients", "subject", "cc", "bcc", "severity", "override", "rule_detections", "false_positive",
    "data_classifications", "id_match", "attach_original_mail",
)  # fmt: skip
FIELDS = [
    "Subject", "From", "To", "Date", "Message-ID", "X-Lockgate-Letter", "Auto-Submitted", "X-Auto-Response-Suppress",
    "MIME-Version", "Content-Type",
]  # fmt: skip


def message(*fields: str) -> Message:
    octets = "".join(f"{field}\r\n" for field in fields).encode() + b"\r\nhello\r\n"
    return message_of("net-1", octets, len(octets), "here")


def parsed(octets: bytes) -> EmailMessage:
    assert b"\n" not in octets.replace(b"\r\n", b"") and b"\r" not in octets.replace(b"\r\n", b"")
    found = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects and not [part for part in found.iter_parts() if part.defects]
    return found


def report(incident: Incident) -> tuple[EmailMessage, list[str]]:
    found = parsed(incident_report(FRAME, incident))
    body = found.get_body(("plain",))
    assert body is not None
    return found, str(body.get_content()).splitlines()


def incident(
    about: Message, *, rule: str = "Rule", original: bytes = b"", recipients: tuple[str, ...] = ()
) -> Incident:
    applied = (Applied(RuleHit(rule, "audit", Severity.LOW, ("set_scl",)), recipients),)
    return Incident(rule, ALL, about, "x@sender.test", recipients, applied, original)


def test_a_subject_stays_on_its_line_and_hides_nothing() -> None:
    evil = message("Subject: =?utf-8?q?Hi=0D=0ABcc=3A_eve=40evil.test=0D=0A=0D=0A=E2=80=AEfdp.exe=00?=")
    found, lines = report(incident(evil, rule="Rüle"))
    assert list(found) == [*FIELDS, "Content-Transfer-Encoding"] and found["Subject"] == "Incident report: Rüle"
    assert "Subject: Hi  Bcc: eve@evil.test    ?fdp.exe?" in lines
    assert found["From"].addresses[0].addr_spec == "postmaster@contoso.com"


def test_the_first_ten_are_named_and_the_others_counted() -> None:
    people = [f"p{n}@contoso.com" for n in range(25)]
    about = message(f"To: {', '.join(people[:11])}", f"Cc: {', '.join(people[11:14])}", "From: Ann <a@sender.test>")
    lines = report(incident(about, recipients=tuple(people)))[1]
    assert f"Recipients: {', '.join(people[:10])}, and 1 more" in lines
    assert f"Cc: {', '.join(people[11:14])}" in lines
    assert f"Bcc: {', '.join(people[14:24])}, and 1 more" in lines
    assert f"    for: {', '.join(people[:10])}, and 15 more" in lines
    assert "From: Ann <a@sender.test>" in lines and "Sender: x@sender.test" in lines


def test_a_report_tells_what_it_is_to_tell_and_always_the_ids() -> None:
    about = message("Message-ID: <m@sender.test>", "Subject: secret", "To: ben@contoso.com", "From: a@sender.test")
    little = Incident("Rule", (), about, "x@sender.test", ("ben@contoso.com",), (), b"Subject: secret\r\n\r\n")
    found, lines = report(little)
    assert lines == [
        "The mail flow rule 'Rule' applies to a message.", "", "Message-ID: <m@sender.test>",
        "Network message id: net-1",
    ]  # fmt: skip
    assert not list(found.iter_attachments())


def test_an_original_cannot_end_the_letter_that_holds_it() -> None:
    evil = (
        b"Subject: x\r\nContent-Type: multipart/mixed; boundary=\"=_incident_id-7_0\"\r\n\r\n"
        b"--=_incident_id-7_0\r\n\r\n"
        b"a\r\n--=_incident_id-7_0--\r\n--=_incident_id-7_1\r\nContent-Type: text/html\r\n\r\n<script>\xff"
    )
    found, _ = report(incident(message("Subject: x"), original=evil))
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "message/rfc822"]
    assert found["Content-Transfer-Encoding"] == "8bit"
    assert incident_report(FRAME, incident(message("Subject: x"), original=evil)).count(evil) == 1


@pytest.mark.parametrize(
    ("octets", "kept"),
    [
        (b"A: b\r\n\r\n" + bytes(200), b"A: b\r\n\r\nThe message"),
        (b"A: " + b"x" * 200, b"\r\n\r\nThe message"),
        (b"A: b\r\n" * 100, b"A: b\r\n\r\nThe message"),
    ],
)
def test_a_large_original_is_its_header(octets: bytes, kept: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_letters, "ATTACHED_LIMIT", 100)
    found = attachable(octets)
    assert kept in found and b"\0" not in found
    assert attachable(b"x" * 100) == b"x" * 100


def test_the_gravest_severity_counts() -> None:
    def hits(*severities: Severity) -> Severity:
        return highest(RuleHit("r", severity=severity) for severity in severities)

    assert hits(Severity.LOW, Severity.HIGH, Severity.MEDIUM) is Severity.HIGH
    assert hits(Severity.DO_NOT_AUDIT, Severity.LOW) is Severity.LOW
    assert hits(Severity.DO_NOT_AUDIT, Severity.NOT_SAID) is Severity.NOT_SAID and hits() is Severity.NOT_SAID
    assert told_of(RuleHit("R\r\nS")) == "R  S: mode enforce, actions none"


TOKENS = "%%From%%|%%To%%|%%Cc%%|%%Subject%%|%%MessageDate%%|%%Headers%%|%%Other%%"


def test_a_note_says_what_the_message_says() -> None:
    about = message("From: =?utf-8?q?J=C3=BCrg?= <j@sender.test>", "To: ben@contoso.com, Amy <amy@contoso.com>",
                    "Subject: a\tb", "Date: today", "X-MS-Exchange-Organization-SCL: 1",
                    "X-A: =?utf-8?q?=3C?=")  # fmt: skip
    found = parsed(notification(FRAME, TOKENS, about))
    assert list(found) == [*FIELDS, "Content-Transfer-Encoding"] and found["Subject"] == "Notice about a message to you"
    said = str(found.get_content()).strip().split("|")
    assert said[:5] == ["Jürg <j@sender.test>", "ben@contoso.com, Amy <amy@contoso.com>", "", "a b", "today"]
    assert said[5].splitlines()[-1] == "X-A: <" and "SCL" not in said[5] and said[6] == "%%Other%%"


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_markup_of_a_stranger_is_text() -> None:
    evil = "<img src=x onerror=alert(1)>'\"&lt;"
    about = message(f"From: {evil}", f"Subject: {evil} %%Headers%%", f"Date: {evil}", f"X-E: {evil}", f"To: {evil}")
    found = parsed(notification(FRAME, f"<p title=\"%%Subject%%\">{TOKENS}</p>", about))
    assert found.get_content_type() == "text/html"
    reader = Tags()
    reader.feed(str(found.get_content()))
    assert set(reader.tags) == {"p", "br"}, "a token in a value is no token"


def test_whatever_comes_the_letters_are_whole() -> None:
    dice = random.Random(1)
    pieces = [
        b"Subject: ", b"From: ", b"To: ", b"Cc: ", b"\r\n", b"\r\n ", b"=?utf-8?b?", b"?=", b"<a@b.test>", b"\"",
        b"\xff", b"\xe2\x80\xae", b"\x00", b"%%Headers%%", b"</p><script>", b"--", b":", b",", b"(", b"Date: ",
    ]  # fmt: skip
    for _ in range(400):
        head = b"".join(dice.choices(pieces, k=dice.randint(0, 40)))
        about = message_of("net-1", head + b"\r\n\r\nx", 100, "here")
        found, lines = report(incident(about, original=head.replace(b"\x00", b"") + b"\r\n\r\nx\r\n"))
        assert list(found)[: len(FIELDS)] == FIELDS and lines[3] == "Network message id: net-1"
        assert all(line.isprintable() for line in lines)
        for text in (TOKENS, f"<p>{TOKENS}</p>"):
            assert list(parsed(notification(FRAME, text, about))) == [*FIELDS, "Content-Transfer-Encoding"]
