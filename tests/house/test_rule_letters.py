"""What mail flow rules have us write and mark, on the running service: reports, notes, managers, spam levels."""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import re
import signal
import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

from peers.contoso import contoso
from peers.listening import Down, recipients, sender, subject
from peers.service import Service, running
from peers.smtp_peer import Mail, SmtpPeer

OUTSIDE = "alice@outside.example"
SOC = "soc@contoso.com"
PEOPLE = (
    "address,kind,manager\nana@contoso.com,mail_user,boss@contoso.com\nben@contoso.com,mail_user,\n"
    "carl@contoso.com,mail_user,\nboss@contoso.com,mail_user,\nsoc@contoso.com,mail_user,\n"
)
CONTENT = 'content = ["sender", "recipients", "subject", "cc", "bcc", "severity", "rule_detections"'
PLAIN_REPORT = f'generate_incident_report = {{report_to = "{SOC}", {CONTENT}]}}'
FULL_REPORT = f'generate_incident_report = {{report_to = "{SOC}", {CONTENT}, "attach_original_mail"]}}'


def rule(name: str, *lines: str) -> str:
    return "\n".join(["[[mail_flow_rule]]", f'name = "{name}"', *lines, ""])


def about(peer: SmtpPeer, title: str) -> list[Mail]:
    return [mail for mail in peer.mails if title in subject(mail)]


def letters(peer: SmtpPeer) -> list[Mail]:
    """Our own ones."""
    return [mail for mail in peer.mails if b"\r\nX-Lockgate-Letter: " in mail.content]


def parsed(mail: Mail) -> EmailMessage:
    found = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert isinstance(found, EmailMessage) and not found.defects
    return found


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain", "html"))
    assert body is not None
    return str(body.get_content())


def in_line(title: str, *fields: str, to: str = "all", author: str = OUTSIDE) -> bytes:
    return "\r\n".join([f"From: {author}", f"To: {to}", f"Subject: {title}", *fields, "", "hello", ""]).encode()


def quiet(service: Service, peer: SmtpPeer, count: int) -> list[Mail]:
    """The letters, when no more are under way."""
    service.until(lambda: len(letters(peer)) >= count and not service.queue(), f"{count} letters have arrived")
    found = letters(peer)
    assert len(found) == count, [subject(mail) for mail in found]
    return found


def test_one_report_for_each_message_and_rule(tmp_path: Path) -> None:
    rules = (
        rule("Secrets", 'subject_contains_words = ["secret"]', FULL_REPORT, 'set_audit_severity = "low"'),
        rule("Grave", 'subject_contains_words = ["secret"]', 'set_audit_severity = "high"',
             'set_header = {name = "X-Seen", value = "yes"}'),
    )  # fmt: skip
    with SmtpPeer() as headquarters, running(
        tmp_path, contoso(headquarters.host) + "".join(rules), recipients=PEOPLE
    ) as service:  # fmt: skip
        title = "=?utf-8?b?U2VjcmV0IHBsYW5zw6ANCkJjYzogZXZlQGV2aWwudGVzdA==?= secret"
        fields = ("Cc: Carl <carl@contoso.com>", "Message-ID: <one@outside.example>")
        sent = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", "carl@contoso.com",
                            content=in_line(title, *fields, to="Ana <ana@contoso.com>"))  # fmt: skip
        service.settled(sent)
        (mail,) = quiet(service, headquarters, 1)
        assert recipients(mail) == [SOC] and sender(mail) == ""
        report = parsed(mail)
        assert report["To"] == SOC and report["Subject"] == "Incident report: Secrets"
        assert report["From"] == "Lockgate <postmaster@contoso.com>" and "Bcc" not in report
        told = text_of(report)
        for line in (
            "Message-ID: <one@outside.example>", f"Network message id: {sent}", f"Sender: {OUTSIDE}",
            "Recipients: ana@contoso.com", "Cc: carl@contoso.com", "Bcc: ben@contoso.com", "Severity: high",
            "Subject: Secret plansà  Bcc: eve@evil.test secret",
            "  Secrets: mode enforce, severity low, actions generate_incident_report",
            "  Grave: mode enforce, severity high, actions set_header",
            "    for: ana@contoso.com, ben@contoso.com, carl@contoso.com",
        ):  # fmt: skip
            assert line in told.splitlines(), told
        (attached,) = report.iter_attachments()
        assert attached.get_content_type() == "message/rfc822"
        original = attached.get_content()
        assert original["Message-ID"] == "<one@outside.example>" and original.get_content() == "hello\r\n"
        assert "Received" not in original, "as it came"
        (row,) = service.trace(recipient=SOC)
        shown = service.show(row["id"])
        assert f"incident report of rule Secrets about {sent}" in str(shown["rows"])
        hit = "Secrets: mode enforce, severity low, actions generate_incident_report"
        assert hit in str(service.show(sent)["rows"])


def test_refused_mail_is_reported_before_it_is_refused(tmp_path: Path) -> None:
    rules = rule("No", 'subject_contains_words = ["never"]', PLAIN_REPORT, "reject_message = {}")
    with SmtpPeer() as headquarters, running(
        tmp_path, contoso(headquarters.host) + rules, recipients=PEOPLE
    ) as service:  # fmt: skip
        with service.client() as client:
            code, _ = client.letter(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=in_line("never"))
        assert code == 550
        (mail,) = quiet(service, headquarters, 1)
        assert recipients(mail) == [SOC]
        told = text_of(parsed(mail))
        assert "  No: mode enforce, actions generate_incident_report, reject_message" in told.splitlines()
        assert about(headquarters, "never") == []


def kill(service: Service) -> None:
    """kill -9 of everything; it can be started again."""
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait(10)
    (service.state / "run" / "service.json").unlink()


NOTE = (
    'generate_notification = "<p>%%From%% wrote to %%To%% on %%MessageDate%%: <b>%%Subject%%</b></p><p>%%Headers%%</p>"'
)


def test_every_matched_recipient_gets_a_note_of_its_own(tmp_path: Path) -> None:
    rules = (
        rule("Note", 'sent_to = ["ana@contoso.com", "ben@contoso.com"]', NOTE),
        rule("Watch", 'mode = "audit"', 'subject_contains_words = ["noted"]', NOTE, "delete_message = true"),
        rule("Tell", 'mode = "audit_and_notify"', 'subject_contains_words = ["told"]', PLAIN_REPORT,
             'generate_notification = "It says %%Subject%%"', "delete_message = true"),
    )  # fmt: skip
    with SmtpPeer() as headquarters, running(
        tmp_path, contoso(headquarters.host) + "".join(rules), recipients=PEOPLE
    ) as service:  # fmt: skip
        fields = ("Date: Mon, 1 Jun 2026 10:00:00 +0000", "X-Evil: <img src=x onerror=alert(1)>")
        sent = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", "carl@contoso.com",
                            content=in_line("<script>noted</script>", *fields))  # fmt: skip
        service.settled(sent)
        notes = sorted(quiet(service, headquarters, 2), key=recipients)
        assert [recipients(note) for note in notes] == [["ana@contoso.com"], ["ben@contoso.com"]]
        for note, to in zip(notes, ("ana@contoso.com", "ben@contoso.com"), strict=True):
            letter = parsed(note)
            assert letter["To"] == to and sender(note) == "" and letter["Auto-Submitted"] == "auto-generated"
            told = text_of(letter)
            assert letter.get_content_type() == "text/html"
            assert "&lt;script&gt;noted&lt;/script&gt;" in told and "Mon, 1 Jun 2026 10:00:00 +0000" in told
            assert "X-Evil: &lt;img" in told and not re.search("<(script|img)", told)
        assert len(about(headquarters, "noted")) == 1, "on audit nothing is deleted and no note is sent"

        again = service.send(OUTSIDE, "carl@contoso.com", content=in_line("this is told"))
        service.settled(again)
        more = [mail for mail in quiet(service, headquarters, 4) if mail not in notes]
        assert sorted(map(recipients, more)) == [["carl@contoso.com"], [SOC]]
        assert any("It says this is told" in text_of(parsed(mail)) for mail in more)

        back = letters(headquarters)[0].content.replace(b"Subject: ", b"Subject: told ", 1)
        with service.client() as client:  # one of them comes back, as from somebody who forwards all mail
            assert client.letter("", "ben@contoso.com", content=back)[0] == 250
        with service.client() as client:  # from nobody too, with a mark that is made up
            forged = re.sub(rb"X-Lockgate-Letter: .*\r\n", b"X-Lockgate-Letter: a 1 b\r\n", back)
            assert client.letter("", "carl@contoso.com", content=forged.replace(b"told", b"plain"))[0] == 250
        service.until(lambda: not service.queue(), "all is delivered")
        fresh = [mail for mail in letters(headquarters) if b"X-Lockgate-Hop" not in mail.content]
        assert len(fresh) == 4, "no letter about a letter"


def test_the_manager_of_the_sender_gets_a_copy(tmp_path: Path) -> None:
    rules = (
        rule("Manager", 'subject_contains_words = ["offer"]', 'add_manager_as_recipient_type = "cc"'),
        rule("Instead", 'subject_contains_words = ["complaint"]', 'add_manager_as_recipient_type = "redirect"'),
    )
    with SmtpPeer() as headquarters, running(
        tmp_path, contoso(headquarters.host) + "".join(rules), recipients=PEOPLE
    ) as service:  # fmt: skip
        for title, author, to in (
            ("offer 1", "ana@contoso.com", ["ben@contoso.com", "boss@contoso.com"]),
            ("offer 2", "ben@contoso.com", ["ben@contoso.com"]),
            ("offer 3", OUTSIDE, ["ben@contoso.com"]),
            ("complaint 4", "ana@contoso.com", ["boss@contoso.com"]),
        ):
            sent = service.send(OUTSIDE, "ben@contoso.com", content=in_line(title, author=author))
            service.until(lambda sent=sent: not service.queue(id=sent), "it is delivered")
            copies = about(headquarters, title)
            assert sorted(one for mail in copies for one in recipients(mail)) == to, title
            shown = [email.message_from_bytes(mail.content)["Cc"] for mail in copies]
            assert set(shown) == {"boss@contoso.com" if title == "offer 1" else None}


def test_the_spam_level_goes_to_own_servers_and_not_to_the_internet(tmp_path: Path) -> None:
    rules = (
        rule("Level", 'subject_contains_words = ["lottery"]', "set_scl = 9", 'apply_classification = "Doubtful"'),
        rule("Seen", "scl_over = 7", 'has_classification = "doubtful"', 'set_header = {name = "X-Seen", value = "1"}'),
        rule("Clean", "has_no_classification = true", 'set_header = {name = "X-Clean", value = "1"}'),
    )
    with SmtpPeer() as headquarters, SmtpPeer() as abroad:
        out = "\n".join([
            "[[outbound_connector]]", 'name = "Away"', 'recipient_domains = ["away.example"]', "use_mx_record = false",
            f'smart_hosts = ["{abroad.host}"]', "[[inbound_connector]]", 'name = "Own"',
            'connector_type = "on_premises"', 'sender_ip_addresses = ["192.0.2.25"]', "",
        ])  # fmt: skip
        with running(tmp_path, contoso(headquarters.host) + out + "".join(rules), recipients=PEOPLE) as service:
            forged = ("X-MS-Exchange-Organization-SCL: -1", "X-MS-Exchange-Organization-Classification: Doubtful")
            for title in ("lottery", "ordinary"):
                sent = service.send("ana@contoso.com", "ben@contoso.com", "x@away.example", peer="192.0.2.25",
                                    content=in_line(title, *forged, author="ana@contoso.com"))  # fmt: skip
                service.settled(sent)
                (own,), (away,) = about(headquarters, title), about(abroad, title)
                level, name = b"X-MS-Exchange-Organization-SCL: 9\r\n", b"-Classification: Doubtful\r\n"
                marked = title == "lottery"
                told = str(service.show(sent)["rows"])
                assert ("'spam confidence level 9'" in told, "'classification Doubtful'" in told) == (marked, marked)
                assert (level in own.content, name in own.content) == (marked, marked)
                for copy in (own, away):
                    assert (b"X-Seen: 1" in copy.content, b"X-Clean: 1" in copy.content) == (marked, not marked)
                    assert b"SCL: -1" not in copy.content
                assert b"X-MS-Exchange-Organization" not in away.content


@pytest.mark.parametrize("refused", [False, True])
def test_a_kill_neither_loses_nor_repeats_a_letter(tmp_path: Path, refused: bool) -> None:
    end = "reject_message = {}" if refused else 'set_header = {name = "X-Seen", value = "1"}'
    rules = rule("All", 'subject_contains_words = ["all"]', FULL_REPORT, NOTE, end)
    with Down() as down, running(tmp_path, contoso(down.host) + rules, recipients=PEOPLE) as service:
        with service.client() as client:
            code, _ = client.letter(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=in_line("it is all"))
        assert code == (550 if refused else 250)
        kill(service)
        with down.up() as headquarters:
            service.start()
            found = quiet(service, headquarters, 3)
            assert sorted(map(recipients, found)) == [["ana@contoso.com"], ["ben@contoso.com"], [SOC]]
            assert len(about(headquarters, "it is all")) == (0 if refused else 1)


def test_a_kill_in_the_middle_leaves_no_message_without_its_letters_and_no_letter_without_its_message(
    tmp_path: Path,
) -> None:
    report = f'generate_incident_report = {{report_to = "{SOC}", content = ["subject"]}}'
    rules = rule("All", 'subject_contains_words = ["kept"]', report, 'generate_notification = "about %%Subject%%"')
    with Down() as down, running(tmp_path, contoso(down.host) + rules, recipients=PEOPLE) as service:
        accepted: set[str] = set()
        begun = threading.Event()

        def send(number: int) -> None:
            with contextlib.suppress(OSError, EOFError, AssertionError), service.client() as client:
                for turn in range(200):
                    title = f"kept {number}-{turn}"
                    if client.letter(OUTSIDE, "ana@contoso.com", content=in_line(title))[0] == 250:
                        accepted.add(title)
                    if len(accepted) > 20:
                        begun.set()

        senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for one in senders:
            one.start()
        assert begun.wait(30), service.said()
        kill(service)
        for one in senders:
            one.join(30)
        with down.up() as headquarters:
            service.start()
            service.until(lambda: not service.queue(), "all is delivered", 60)
            kept = sorted(subject(mail) for mail in headquarters.mails if subject(mail).startswith("kept"))
            told = [text_of(parsed(mail)) for mail in letters(headquarters)]
        assert len(kept) == len(set(kept)) and accepted <= set(kept)
        assert sorted(said.rpartition("Subject: ")[2].strip() for said in told if "Subject: " in said) == kept
        assert sorted(said.removeprefix("about ").strip() for said in told if said.startswith("about ")) == kept
