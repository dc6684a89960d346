"""Mail flow rules on the running service: by city, by words, on audit; headers changed, mail refused, held, deleted."""

from __future__ import annotations

import base64
import random
from pathlib import Path

from peers.contoso import contoso
from peers.listening import arrived, recipients
from peers.service import HOSTNAME, running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@outside.example"
PEOPLE = (
    "address,kind,city\nana@contoso.com,mail_user,New Orleans\nben@contoso.com,mail_user,Seattle\n"
    "carl@contoso.com,mail_user,Seattle\n"
)


def test_rules_by_command_act_on_the_copies_they_are_for(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        told("rule", "add", "Site", 'recipient_ad_attribute_contains_words={city = ["new orleans"]}',
             'set_header={name = "X-Site", value = "Nola"}', "prepend_subject=[NOLA] ", "priority=0")  # fmt: skip
        told("rule", "add", "Secret", "subject_contains_words=secret", "subject_contains_words=top hush",
             'except_if_from=["alice@outside.example"]', 'reject_message={reason_text = "Not so"}')  # fmt: skip
        told("rule", "add", "Watch", "subject_matches_patterns=^watch", "mode=audit", "delete_message=true")
        told("rule", "add", "Keep", 'header_contains_words={header = "X-Odd", words = ["odd one"]}', "quarantine=true")
        service.in_force()
        letter = "From: {}\r\nTo: all\r\nSubject: {}\r\nX-Odd: {}\r\n\r\nHello\r\n".format

        first = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com",
                             content=letter(OUTSIDE, "watch this secret", "none").encode())  # fmt: skip
        both = service.until(lambda: len(arrived(headquarters)) == 2 and arrived(headquarters), "both arrive")
        for_ana, for_ben = sorted(both, key=recipients)
        assert recipients(for_ana) == ["ana@contoso.com"] and recipients(for_ben) == ["ben@contoso.com"]
        assert b"X-Site: Nola\r\n" in for_ana.content and b"Subject: [NOLA] watch this secret\r\n" in for_ana.content
        assert b"X-Site" not in for_ben.content and b"Subject: watch this secret\r\n" in for_ben.content
        code, out, _ = service.command("explain", first)
        assert code == 0
        assert "the city of ana@contoso.com is 'New Orleans', which has 'new orleans'" in out
        assert "only told, because the rule is on audit: deleted" in out
        assert "exception: the sender is alice@outside.example" in out

        with service.client() as client:
            hush = letter("mallory@outside.example", "a Top  Hush matter", "").encode()
            code, text = client.letter("mallory@outside.example", "ben@contoso.com", content=hush)
        assert (code, text.split(" (id")[0]) == (550, "5.7.1 Not so")
        held = service.send(OUTSIDE, "carl@contoso.com", content=letter(OUTSIDE, "x", "an ODD one").encode())
        row = service.until(lambda: service.trace(id=held, status="Held"), "it is held")[0]
        assert row["recipient_address"] == "carl@contoso.com"
        told("hold", "release", held)
        service.until(lambda: service.trace(id=held, status="Delivered"), "released, no rule is looked at again")


def test_rules_look_into_the_message(tmp_path: Path) -> None:
    """Text behind an encoding, markup and a second reading; names and sizes of attachments; explained afterwards."""
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        told("rule", "add", "Cards", r"subject_or_body_matches_patterns=\b4\d{3}-\d{4}\b",
             'set_header={name = "X-Card", value = "yes"}')  # fmt: skip
        told("rule", "add", "Words", "subject_or_body_contains_words=project falcon",
             'except_if_recipient_domain_is=["far.example"]', 'reject_message={reason_text = "Not so"}')  # fmt: skip
        told("rule", "add", "Programs", 'attachment_extension_matches_words=["exe"]', "quarantine=true")
        told("rule", "add", "Large", "attachment_size_over=20KB", "prepend_subject=[LARGE] ")

        service.in_force()
        plain = f"From: {OUTSIDE}\r\nSubject: hello\r\n\r\nnothing to see\r\n".encode()
        service.send(OUTSIDE, "ben@contoso.com", content=plain)
        (first,) = service.until(lambda: arrived(headquarters), "an ordinary message arrives")
        assert b"X-Card" not in first.content and b"Subject: hello\r\n" in first.content

        page = b"<p>Card <b>4</b>111-<i>1111</i></p>"
        head = "Subject: x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        octets = f"From: {OUTSIDE}\r\n{head}".encode() + base64.encodebytes(page).replace(b"\n", b"\r\n")
        card = service.send(OUTSIDE, "ben@contoso.com", content=octets)
        second = service.until(lambda: len(arrived(headquarters)) == 2 and arrived(headquarters)[1], "it arrives")
        assert b"X-Card: yes\r\n" in second.content
        code, out, _ = service.command("explain", card)
        assert code == 0 and r"the text has '\b4\d{3}-\d{4}\b'" in out

        with service.client() as client:
            hush = f"From: {OUTSIDE}\r\nSubject: x\r\n\r\nabout Project\r\nFalcon.\r\n".encode()
            code, text = client.letter(OUTSIDE, "ben@contoso.com", content=hush)
        assert (code, text.split(" (id")[0]) == (550, "5.7.1 Not so")

        def attached(name: str, octets: bytes) -> bytes:
            lines = [
                f"From: {OUTSIDE}", "Subject: look", "Content-Type: multipart/mixed; boundary=b", "",
                "--b", "", "see", "--b", "Content-Type: application/octet-stream; name=fine.txt",
                f"Content-Disposition: attachment; filename*0={name[:3]}; filename*1={name[3:]}",
                "Content-Transfer-Encoding: base64", "", "",
            ]  # fmt: skip
            encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
            return "\r\n".join(lines).encode() + encoded + b"--b--\r\n"

        held = service.send(OUTSIDE, "ben@contoso.com", content=attached("run.EXE", b"MZ"))
        service.until(lambda: service.trace(id=held, status="Held"), "a program is held")
        code, out, _ = service.command("explain", held)
        assert "the attachment 'run.EXE' ends with .exe" in out
        service.send(OUTSIDE, "ben@contoso.com", content=attached("plan.pdf", bytes(21 * 1024)))
        third = service.until(lambda: len(arrived(headquarters)) == 3 and arrived(headquarters)[2], "it arrives")
        assert b"Subject: [LARGE] look\r\n" in third.content


def test_rules_see_what_mail_programs_show(tmp_path: Path) -> None:
    """Pages, types and names that programs read differently: each is refused, and what shows no secret is not."""
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        service.told("rule", "add", "Words", "subject_or_body_contains_words=secret", "reject_message={}")
        service.told("rule", "add", "Programs", r"attachment_name_matches_patterns=\.exe$", "reject_message={}")
        service.in_force()
        page = "Content-Type: text/html\r\n\r\n<html>{}".format
        blanks = " " * 260
        programs = "; ".join(f"filename=n{number}.txt" for number in range(9))
        refused = [
            page("<!--><p>secret</p>"), page('<p title="><style>">secret</p>'), "Content-Type: foo\r\n\r\nsecret",
            "Content-Type: multipart/mixed\r\n\r\nsecret", f"X-A: b\r\nSubject: {'x ' * 130}secret\r\n\r\nx",
            "Content-Type: image/png\r\nContent-Type: text/plain\r\n\r\nsecret",
            f'Content-Disposition: attachment; filename="invoice.pdf{blanks}.exe"\r\n\r\nMZ',
            f"Content-Disposition: attachment; {programs}; filename=z.exe\r\n\r\nMZ",
        ]
        with service.client() as client:
            for content in refused:
                octets = f"From: {OUTSIDE}\r\nMIME-Version: 1.0\r\n{content}\r\n".encode()
                assert client.letter(OUTSIDE, "ben@contoso.com", content=octets)[0] == 550, content
        harmless = page("<!-- secret -->hello<style>secret</style><p title=secret>").encode()
        service.send(OUTSIDE, "ben@contoso.com", content=f"From: {OUTSIDE}\r\nSubject: x\r\n".encode() + harmless)
        (only,) = service.until(lambda: arrived(headquarters), "what shows none of it arrives")
        assert harmless in only.content


def test_an_expression_that_takes_too_long_puts_its_mail_off_and_no_other(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        code, *said = service.command("rule", "add", "Never", "subject_or_body_matches_patterns=a.{1000}z",
                                      "delete_message=true")  # fmt: skip
        assert code and "1000 places" in str(said) and "write smaller repetitions" in str(said)
        service.told("rule", "add", "Slow", "subject_or_body_matches_patterns=a[^x]{198}z", "rule_error_action=defer",
                     'set_header={name = "X-Slow", value = "yes"}')  # fmt: skip
        service.in_force()
        dice = random.Random(7)
        lines = ["".join(dice.choices("ab", k=900)) for _ in range(1000)]
        slow = "\r\n".join([f"From: {OUTSIDE}\r\nSubject: x\r\n", *lines, ""]).encode()
        with service.client() as client:
            code, text = client.letter(OUTSIDE, "ben@contoso.com", content=slow)
        assert code == 451, text
        hit = f"From: {OUTSIDE}\r\nSubject: x\r\n\r\na{'b' * 198}z\r\n".encode()
        service.send(OUTSIDE, "ben@contoso.com", content=hit)
        (only,) = service.until(lambda: arrived(headquarters), "the other one arrives")
        assert b"X-Slow: yes\r\n" in only.content


def test_rules_know_groups_managers_and_whom_the_header_names(tmp_path: Path) -> None:
    people = (
        "address,kind,city,department,manager\nana@contoso.com,mail_user,Rome,Sales,boss@contoso.com\n"
        "ben@contoso.com,mail_user,Oslo,Legal,\nboss@contoso.com,mail_user,Rome,Sales,\n"
    )
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=people
    ) as service:  # fmt: skip
        told = service.told
        told("group", "add", "rome@contoso.com", "--member", "ana@contoso.com")
        service.people_changed("group", "add", "italy@contoso.com", "--member", "rome@contoso.com")
        told("rule", "add", "Italy", 'sent_to_member_of=["italy@contoso.com"]',
             'set_header={name = "X-Italy", value = "yes"}')  # fmt: skip
        told("rule", "add", "Gone", 'sent_to_member_of=["nobody@contoso.com"]', "delete_message=true")
        managed = 'manager_for_evaluated_user={user = "recipient", managers = ["boss@contoso.com"]}'
        told("rule", "add", "Managed", managed,
             'set_header={name = "X-Managed", value = "yes"}')  # fmt: skip
        told("rule", "add", "All", 'any_of_to_header=["italy@contoso.com"]',
             'set_header={name = "X-All", value = "yes"}')  # fmt: skip
        service.in_force()
        content = f"From: {OUTSIDE}\r\nTo: Italy <italy@contoso.com>\r\nSubject: x\r\n\r\nhello\r\n".encode()
        sent = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=content)
        both = service.until(lambda: len(arrived(headquarters)) == 2 and arrived(headquarters), "both arrive")
        for_ana, for_ben = sorted(both, key=recipients)
        assert b"X-Italy: yes\r\n" in for_ana.content and b"X-Managed: yes\r\n" in for_ana.content
        assert b"X-Italy" not in for_ben.content and b"X-Managed" not in for_ben.content
        assert b"X-All: yes\r\n" in for_ana.content and b"X-All: yes\r\n" in for_ben.content
        code, out, _ = service.command("explain", sent)
        assert code == 0
        assert "the recipient ana@contoso.com belongs to italy@contoso.com" in out
        assert "the recipient belongs to none of nobody@contoso.com; there is no group nobody@contoso.com" in out
        assert "the manager of ana@contoso.com is boss@contoso.com" in out


def test_rules_redirect_and_add_recipients(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        told("rule", "add", "Away", 'sent_to=["ana@contoso.com"]', 'redirect_message_to=["ben@contoso.com"]')
        told("rule", "add", "Copy", 'subject_contains_words=["contract"]', 'copy_to=["carl@contoso.com"]')
        service.in_force()
        head = f"From: {OUTSIDE}\r\nTo: Ana <ana@contoso.com>\r\nSubject: {{}}\r\n\r\nhello\r\n"
        first = service.send(OUTSIDE, "ana@contoso.com", content=head.format("x").encode())
        (copy,) = service.until(lambda: arrived(headquarters), "the redirected copy arrives")
        assert recipients(copy) == ["ben@contoso.com"] and b"X-Lockgate-Rules-Redirected: 1\r\n" in copy.content
        service.until(lambda: service.trace(id=first, status="Delivered"), "it is told to be delivered")
        rows = {row["recipient_address"]: row["status"] for row in service.trace(id=first)}
        assert rows == {"ana@contoso.com": "Resolved", "ben@contoso.com": "Delivered"}
        code, out, _ = service.command("explain", first)
        assert code == 0 and "redirected to ben@contoso.com" in out

        with service.client() as client:
            code, text = client.letter(OUTSIDE, "ana@contoso.com", content=copy.content)
        assert (code, text.split(" ")[0]) == (550, "5.7.128")

        service.send(OUTSIDE, "ben@contoso.com", content=head.format("the contract").encode())
        both = ["ben@contoso.com", "carl@contoso.com"]
        service.until(lambda: sorted(a for one in arrived(headquarters)[1:] for a in recipients(one)) == both, "both")
        last = arrived(headquarters)[1:]
        assert all(b"Cc: carl@contoso.com\r\n" in one.content for one in last)


def test_nobody_outside_switches_a_rule_off(tmp_path: Path) -> None:
    """By naming the archive as well, by results in our name, by an odd From; and a redirect wins over a copy."""
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        told("rule", "add", "Bad", 'sender_domain_is=["bad.example"]', "quarantine=true")
        told("rule", "add", "Doubt", 'subject_contains_words=["doubt"]', "quarantine=true",
             'except_if_header_contains_words={header = "Authentication-Results", words = ["dmarc=pass"]}')  # fmt: skip
        told("rule", "add", "Journal", 'blind_copy_to=["carl@contoso.com"]', 'except_if_sent_to=["carl@contoso.com"]')
        told("rule", "add", "Closed", 'sent_to=["carl@contoso.com"]', "delete_message=true")
        told("rule", "add", "Away", 'sent_to=["ana@contoso.com"]', 'redirect_message_to=["carl@contoso.com"]')
        service.in_force()
        letter = "From: {}\r\nTo: all\r\nSubject: {}\r\n{}\r\nHello\r\n".format

        service.send(OUTSIDE, "ben@contoso.com", "carl@contoso.com", content=letter(OUTSIDE, "one", "").encode())
        service.until(lambda: len(arrived(headquarters)) == 1, "it arrives for both in one transaction")
        assert sorted(recipients(arrived(headquarters)[0])) == ["ben@contoso.com", "carl@contoso.com"]

        away = service.send(OUTSIDE, "ana@contoso.com", content=letter(OUTSIDE, "two", "").encode())
        copy = service.until(lambda: len(arrived(headquarters)) == 2 and arrived(headquarters)[1], "it is redirected")
        assert recipients(copy) == ["carl@contoso.com"]
        code, out, _ = service.command("explain", away)
        assert code == 0 and "redirected to carl@contoso.com" in out

        forged = f"Authentication-Results: {HOSTNAME}; dmarc=pass header.from=outside.example\r\n"
        for author, field in ((OUTSIDE, forged), ("U <u@bad.example> x", ""), ("U: <u@bad.example", "")):
            service.send(OUTSIDE, "ben@contoso.com", content=letter(author, "no doubt", field).encode())
        service.until(lambda: len(service.trace(status="Held")) == 3, "all three are held")
        assert len(arrived(headquarters)) == 2
