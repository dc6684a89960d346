"""Delivery reports: complete, readable by programs, and nothing a stranger wrote ends a line."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail import replies
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.reply import Reply
from lockgate.mail.report import FULL_LIMIT, Report, ReportedRecipient, compose
from lockgate.mail.report_advice import advice

ORIGINAL = (
    b"Received: from x by y; Tue, 1 Jan 2030 00:00:00 +0000\r\nMessage-ID: <m1@sender.test>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: a@sender.test\r\n\r\nThe body.\r\n"
)
NO_SUCH = Reply(550, "5.1.1", "no such user")


def report(**changes: object) -> Report:
    given: dict[str, object] = {
        "kind": "failed",
        "id": "0192-report",
        "reporting_host": "mx.lockgate.test",
        "postmaster": "postmaster@contoso.test",
        "sender": "a@sender.test",
        "recipients": (
            ReportedRecipient(
                "ben@contoso.test",
                NO_SUCH,
                orcpt="rfc822;ben+x@contoso.test",
                remote_host="mail.hq.test[192.0.2.1]:25",
            ),
        ),
        "arrival": 1900000000.0,
        "now": 1900000100.0,
        "until": 1900086400.0,
        "message_id": "0192-message",
        "original": ORIGINAL,
        **changes,
    }
    return Report(**given)  # type: ignore[arg-type]


def parts_of(made: bytes):
    message = email.message_from_bytes(made, policy=email.policy.SMTP)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    text, status, original = message.iter_parts()
    return message, text, status, original


def test_a_failure_tells_people_and_programs() -> None:
    message, text, status, original = parts_of(compose(report(envid="env+1")))
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["To"] == "a@sender.test"
    assert message["In-Reply-To"] == "<m1@sender.test>"
    words = " ".join(text.get_content().split())
    assert "ben@contoso.test" in words
    assert "What happened: The address does not exist" in words
    assert "Who can fix it: " in words
    assert "What to do: check the address" in words
    assert "550 5.1.1 no such user" in words
    assert "Grüße" in words
    first, second = status.get_payload()
    assert first["Reporting-MTA"] == "dns; mx.lockgate.test"
    assert first["Original-Envelope-Id"] == "env+1"
    assert first["Arrival-Date"]
    assert second["Original-Recipient"] == "rfc822; ben+x@contoso.test"
    assert second["Final-Recipient"] == "rfc822; ben@contoso.test"
    assert second["Action"] == "failed"
    assert second["Status"] == "5.1.1"
    assert second["Remote-MTA"] == "dns; mail.hq.test"
    assert second["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert original.get_content_type() == "text/rfc822-headers"
    assert b"The body." not in compose(report())


def test_the_original_comes_whole_only_when_asked_for_small_and_clean() -> None:
    assert b"The body." in compose(report(ret="FULL"))
    assert b"The body." not in compose(report(ret="HDRS"))
    assert b"The body." not in compose(report(ret="FULL", kind="delayed", recipients=(late(),)))
    large = ORIGINAL + b"x" * 70 * 14 + (b"y" * 70 + b"\r\n") * (FULL_LIMIT // 72)
    assert b"The body." not in compose(report(ret="FULL", original=large))
    assert b"The body." not in compose(report(ret="FULL", original=ORIGINAL + b"\xff\r\n"))
    assert b"The body." not in compose(report(ret="FULL", original=ORIGINAL + b"z" * 1200))
    *_, empty = parts_of(compose(report(original=b"")))
    assert empty.get_content_type() == "text/rfc822-headers"


def late() -> ReportedRecipient:
    return ReportedRecipient("ben@contoso.test", replies.unreachable("mail.hq.test does not answer"))


def test_a_delay_says_until_when_and_a_success_that_it_was_passed_on() -> None:
    _, text, status, _ = parts_of(compose(report(kind="delayed", recipients=(late(),))))
    _, second = status.get_payload()
    assert (second["Action"], second["Status"]) == ("delayed", "4.4.316")
    assert second["Will-Retry-Until"] == "Mon, 18 Mar 2030 17:46:40 +0000"
    assert "do not send the message again" in " ".join(text.get_content().split())
    passed = ReportedRecipient("ben@contoso.test", Reply(250, "2.0.0", "OK"), remote_host="mail.hq.test[192.0.2.1]:25")
    _, _, status, _ = parts_of(compose(report(kind="relayed", recipients=(passed,))))
    _, second = status.get_payload()
    assert (second["Action"], second["Status"]) == ("relayed", "2.0.0")


def test_an_expired_message_bears_the_code_and_the_last_answer() -> None:
    ours = Outcome(0, Fate.DEFERRED, replies.unreachable("connection refused")).given_up()
    gone = ReportedRecipient("ben@contoso.test", ours.reply, last=ours.last)
    _, text, status, _ = parts_of(compose(report(recipients=(gone,))))
    _, second = status.get_payload()
    assert second["Status"] == "5.4.300"
    assert second["Diagnostic-Code"] == "smtp; 451 4.4.316 connection refused"
    assert second["Remote-MTA"] is None
    words = " ".join(text.get_content().split())
    assert "What happened: The recipient's system could not be reached" in words
    assert "gave up: 550 5.4.300 Message expired Our own server said last: 451 4.4.316 connection refused" in words


def test_recipients_that_expired_after_different_words_are_told_apart() -> None:
    host = "mail.hq.test[192.0.2.1]:25"
    late = [("a@x.test", Reply(451, "4.2.1", "later")), ("b@x.test", Reply(452, "4.2.2", "full"))]
    gone = tuple(ReportedRecipient(who, replies.EXPIRED, remote_host=host, last=last) for who, last in late)
    _, text, status, _ = parts_of(compose(report(recipients=gone)))
    words = " ".join(text.get_content().split())
    for (who, last), block in zip(late, status.get_payload()[1:], strict=True):
        assert f"The server {host} said last: {last}" in words.partition(who)[2]
        assert (block["Final-Recipient"], block["Status"]) == (f"rfc822; {who}", "5.4.300")
        assert (block["Remote-MTA"], block["Diagnostic-Code"]) == ("dns; mail.hq.test", f"smtp; {last}")


def test_addresses_in_utf8_are_typed_so_and_the_rest_stays_seven_bit() -> None:
    made = compose(report(recipients=(ReportedRecipient("jürgen@xn--bcher-kva.test", NO_SUCH),)))
    assert made.isascii()
    assert b"Final-Recipient: utf-8; j\\x{FC}rgen@xn--bcher-kva.test" in made
    again = compose(
        report(recipients=(ReportedRecipient("j@x.test", NO_SUCH, orcpt="utf-8;j\\x{FC}rgen@b.test"),))
    )
    assert b"Original-Recipient: utf-8; j\\x{FC}rgen@b.test" in again
    assert "To: <jürgen@x.test>\r\n".encode() in compose(report(sender="jürgen@x.test"))


def test_headers_in_eight_bit_come_encoded_and_come_back_whole() -> None:
    odd = "Subject: Grüße\r\nX-Long: ".encode() + b"a" * 1500 + b"\r\nX-Odd: a\rb\r\n\r\nbody"
    made = compose(report(original=odd))
    assert made.isascii()
    *_, original = parts_of(made)
    assert original.get_payload(decode=True).startswith("Subject: Grüße\r\nX-Long: a".encode())


def test_the_boundary_is_in_no_part() -> None:
    hostile = b"X-A: --=_report_0192-report_0\r\nX-B: --=_report_0192-report_1\r\n\r\n"
    made = compose(report(original=hostile))
    assert b'boundary="=_report_0192-report_2"' in made
    assert len(list(parts_of(made)[0].iter_parts())) == 3


@pytest.mark.parametrize("code", ["", "5.1.1", "5.4.300", "5.4.14", "4.7.321", "5.7.1", "5.9.9", "5.3.4", "5"])
def test_every_code_has_advice_in_sentences(code: str) -> None:
    assert all(sentence and sentence.endswith(".") for sentence in advice(code))


ADVISED = {
    "5.7.509": ("DMARC", "administrator of the domain in your From address", "SPF, DKIM and DMARC"),
    "5.7.512": ("one valid From field", "the program that wrote", "one From address"),
    "5.7.68": ("came from outside", "administrator", "inbound connector"),
    "5.7.64": ("may not pass on", "administrator of the system that sent it", "inbound connector"),
    "5.7.124": ("only from certain senders", "owner of the group", "let you send"),
    "5.7.133": ("The group takes mail only from people of its own organisation", "owner", "from your account there"),
    "5.7.134": ("only from people of its own organisation", "administrator", "from your account there"),
    "5.7.136": ("only from people of its own organisation", "administrator", "from your account there"),
    "5.7.12": ("only from people of its own organisation", "administrator", "from your account there"),
    "5.7.520": ("sent on to an address outside", "recipient", "forwarding does not work"),
    "5.1.10": ("does not exist", "mistyped", "letter by letter"),
    "5.4.6": ("and that one back again", "administrator of the recipient's system", "will not help"),
    "5.4.14": ("in a circle between mail servers", "Received fields", "will not help"),
    "5.5.3": ("more recipients than one message may have", "you.", "fewer people"),
    "5.7.513": ("on a list", "administrator of the recipient's organisation", "off the list"),
    "5.7.1": ("by its rules", "administrator", "words of the server"),
    "5.4.300": ("as long as we may keep trying", "administrator", "send the message again later"),
}
"""What a report must say: the cause, who can fix it, and how."""


@pytest.mark.parametrize("code", ADVISED)
def test_a_code_is_told_in_words_for_the_person_who_sent_the_message(code: str) -> None:
    recipient = ReportedRecipient("ben@contoso.test", Reply(550, code, "whatever the server says"))
    message = email.message_from_bytes(compose(report(recipients=(recipient,))), policy=email.policy.SMTP)
    text = " ".join(message.get_payload()[0].get_content().split())
    assert text.count("What happened: ") == text.count("Who can fix it: ") == text.count("What to do: ") == 1
    cause, rest = text.partition("What happened: ")[2].split("Who can fix it: ")
    who, remedy = rest.split("What to do: ")
    for part, wanted in zip((cause, who, remedy), ADVISED[code], strict=True):
        assert wanted in part, (wanted, part)
    assert f"Our own server said: 550 {code} whatever the server says" in text


STRANGE = st.text(max_size=80) | st.sampled_from(
    ["a\r\nBcc: x@y", "\n\n--x", "a\rb", "\u2028x", "\x00", "\u202e", "x" * 3000]
)
MESSAGES = st.binary(max_size=300) | st.just(ORIGINAL)


@given(STRANGE, STRANGE, STRANGE, STRANGE, STRANGE, MESSAGES, st.sampled_from(["", "FULL"]))
def test_nothing_a_stranger_wrote_ends_a_line(
    address: str, orcpt: str, host: str, said: str, envid: str, original: bytes, ret: str
) -> None:
    recipient = ReportedRecipient(
        f"{address}@x.test", Reply(550, "5.1.1", replies.clean(said)), orcpt=f"rfc822;{orcpt}", remote_host=host
    )
    given = report(recipients=(recipient,), envid=envid, original=original, ret=ret)
    made = compose(given)
    assert made.isascii()
    lines = made.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert all(len(line) <= 998 for line in lines)
    head, _, body = made.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b"\t "]
    assert sorted(set(names)) == sorted(names)
    assert b"Bcc" not in names
    boundary = head.partition(b'boundary="')[2].partition(b'"')[0]
    status = body.split(b"--" + boundary)[2]
    fields = {line.partition(b":")[0] for line in status.split(b"\r\n") if line and line[:1] != b"\t"}
    assert fields <= {
        b"Content-Type", b"Reporting-MTA", b"Original-Envelope-Id", b"Arrival-Date", b"Original-Recipient",
        b"Final-Recipient", b"Action", b"Status", b"Remote-MTA", b"Diagnostic-Code", b"Last-Attempt-Date",
        b"Final-Log-ID",
    }  # fmt: skip
    assert made.count(b"--" + boundary) == 4
    assert compose(given) == made
