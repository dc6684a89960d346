"""T-RULE-*: mail flow rules on one running service (specification 1.15; amendments for -8 and -15).

Not here: T-RULE-9 needs a condition about executable content, which is not built yet; T-RULE-11 is about the commands.
"""

from __future__ import annotations

import base64
import datetime as dt
import email
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from peers.contoso import contoso, mail_users
from peers.listening import recipients, sender, subject
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

OUTSIDE, OWN = "alice@outside.example", "192.0.2.25"
ANA, BEN, CARL, REX, GONE = (f"{name}@contoso.com" for name in ("ana", "ben", "carl", "rex", "gone"))
TEAM = "team@contoso.com"
DAY = dt.timedelta(days=1)


def rule(name: str, *lines: str) -> str:
    return "\n".join(["[[mail_flow_rule]]", f'name = "{name}"', *lines, ""])


def marks(name: str) -> str:
    return f'set_header = {{name = "X-Rule", value = "{name}"}}'


def policy(host: str) -> str:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    yesterday, tomorrow = (now - DAY).isoformat(), (now + DAY).isoformat()
    return "\n".join([
        contoso(host),
        "[[inbound_connector]]", 'name = "Own"', 'connector_type = "on_premises"', f'sender_ip_addresses = ["{OWN}"]',
        rule("Words", 'subject_contains_words = ["stock"]', marks("words")),
        rule("Fork", f'sent_to = ["{REX}"]', 'reject_message = {reason_text = "Rex takes no mail"}'),
        rule("Any", 'subject_contains_words = ["everyone"]', 'any_of_recipient_address_contains_words = ["ana"]',
             "reject_message = {}"),
        rule("Spared", 'subject_contains_words = ["spared"]',
             'except_if_any_of_recipient_address_contains_words = ["ana"]', "reject_message = {}"),
        rule("Exceptions", 'subject_contains_words = ["exceptional"]',
             'except_if_subject_contains_words = ["never there"]', f'except_if_sent_to = ["{ANA}"]',
             marks("exceptions")),
        rule("Held", 'subject_contains_words = ["suspicious"]', "quarantine = true"),
        rule("Prefix", 'subject_contains_words = ["suspicious"]', 'prepend_subject = "[LATE] "'),
        rule("Audit", 'subject_contains_words = ["audited"]', 'mode = "audit"', "reject_message = {}",
             f'generate_incident_report = {{report_to = "{CARL}", content = ["subject", "rule_detections"]}}'),
        rule("Over", 'subject_contains_words = ["dated"]', f"expiry_date = {yesterday}", "reject_message = {}"),
        rule("Not yet", 'subject_contains_words = ["dated"]', f"activation_date = {tomorrow}", "reject_message = {}"),
        rule("Now", 'subject_contains_words = ["dated"]', f"activation_date = {yesterday}", f"expiry_date = {tomorrow}",
             marks("now")),
        rule("Part", 'attachment_size_over = "1MB"', 'set_header = {name = "X-Part", value = "large"}'),
        rule("Whole", 'message_size_over = "1MB"', 'set_header = {name = "X-Whole", value = "large"}'),
        rule("Scope", f'from = ["{CARL}"]', 'from_scope = "not_in_organization"', marks("outside")),
        rule("Team", f'sent_to_member_of = ["{TEAM}"]', 'subject_contains_words = ["teamwork"]', marks("team")),
        rule("Below", 'sender_domain_is = ["partner.example"]', marks("below")),
        rule("All", 'set_header = {name = "X-All", value = "yes"}'),
    ])  # fmt: skip


@dataclass
class World:
    service: Service
    headquarters: SmtpPeer

    def sends(self, title: str, *to: str, author: str = OUTSIDE, envelope: str | None = None, peer: str = "") -> str:
        """A small message; its id."""
        content = f"From: {author}\r\nTo: somebody\r\nSubject: {title}\r\n\r\nhello\r\n".encode()
        return self.service.send(author if envelope is None else envelope, *(to or (BEN,)), content=content,
                                 peer=peer or "192.0.2.10")  # fmt: skip

    def gets(self, title: str, *to: str, **others: str) -> Message:
        """What arrives of it, which all of its recipients get in one copy."""
        message = self.sends(title, *to, **others)
        self.service.settled(message)
        (mail,) = self.about(title)
        return email.message_from_bytes(mail.content)

    def about(self, title: str) -> list[Mail]:
        return [mail for mail in self.headquarters.mails if title in subject(mail)]

    def report_about(self, title: str) -> Mail:
        """The report to the sender of this message."""
        def seen() -> list[Mail]:
            return [mail for mail in self.headquarters.mails if sender(mail) == "" and title.encode() in mail.content
                    and b"multipart/report" in mail.content]  # fmt: skip

        return self.service.until(seen, "a report arrives")[0]

    def trace_of(self, message: str) -> dict[str, str]:
        """The status of each recipient."""
        return {row["recipient_address"]: row["status"] for row in self.service.trace(id=message)}

    def explained(self, message: str) -> str:
        code, out, _ = self.service.command("explain", message)
        assert code == 0, out
        return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    script = Script(rcpt={f"RCPT TO:<{GONE}>": "550 5.1.1 gone", GONE: "550 5.1.1 gone"})
    people = mail_users("ana", "ben", "carl", "rex", "gone")
    with SmtpPeer(script) as headquarters, running(
        tmp_path_factory.mktemp("rules"), policy(headquarters.host), recipients=people
    ) as service:  # fmt: skip
        yield World(service, headquarters)


def test_t_rule_1_words_are_whole_words(world: World) -> None:
    assert world.gets("Stock price 1")["X-Rule"] == "words"
    assert world.gets("the stockroom 1")["X-Rule"] is None


def test_t_rule_2_fork_rejects_one_copy_and_delivers_the_other(world: World) -> None:
    message = world.sends("forked", REX, BEN, author=ANA, peer=OWN)
    world.service.until(lambda: world.trace_of(message).get(BEN) == "Delivered", "the other one has it")
    (mail,) = world.about("forked")
    assert recipients(mail) == [BEN]
    report = world.report_about("forked")
    assert recipients(report) == [ANA] and b"Rex takes no mail" in report.content and REX.encode() in report.content
    assert world.trace_of(message)[REX] == "Failed"


@pytest.mark.parametrize(
    ("title", "to", "because"),
    [
        ("everyone 3 a", (BEN, ANA), f"{ANA}, a recipient of the message, has 'ana'"),
        ("everyone 3 b", (BEN, CARL), ""),
        ("spared 3 c", (BEN, ANA), ""),
        ("spared 3 d", (BEN, CARL), "the subject has 'spared'"),
    ],
)
def test_t_rule_3_any_recipient_rejects_or_spares_the_whole_message(
    world: World, title: str, to: tuple[str, ...], because: str
) -> None:
    with world.service.client() as client:
        code, text = client.letter(OUTSIDE, *to, content=title)
    if because:
        assert (code, text.split(" ")[0]) == (550, "5.7.1")
        refused = world.service.until(
            lambda: world.service.trace(id=text.rpartition(" ")[2].strip("()")), "the refusals are told"
        )
        assert {row["recipient_address"] for row in refused} == set(to)
        assert world.about(title) == [] and because in world.explained(refused[0]["id"])
    else:
        assert code == 250, text
        world.service.settled(text.rpartition(" ")[2])
        (mail,) = world.about(title)
        assert sorted(recipients(mail)) == sorted(to)


def test_t_rule_4_one_exception_is_enough(world: World) -> None:
    assert world.gets("exceptional 1", ANA)["X-Rule"] is None
    assert world.gets("exceptional 2", BEN)["X-Rule"] == "exceptions"


def test_t_rule_5_quarantine_ends_the_rules_for_good(world: World) -> None:
    message = world.sends("suspicious 5")
    world.service.settled(message, "Held")
    world.service.told("hold", "release", message)
    world.service.settled(message)
    (mail,) = world.about("suspicious 5")
    assert subject(mail) == "suspicious 5" and b"X-All" not in mail.content


def test_t_rule_6_audit_delivers_reports_and_tells(world: World) -> None:
    message = world.sends("audited 6")
    world.service.settled(message)
    assert len(world.about("audited 6")) == 1
    (report,) = world.service.until(lambda: world.about("Incident report: Audit"), "the incident report arrives")
    assert (sender(report), recipients(report)) == ("", [CARL])
    letter = email.message_from_bytes(report.content)
    content = letter.get_payload(decode=True)
    assert isinstance(content, bytes)
    told = content.decode().splitlines()
    assert "Subject: audited 6" in told and f"Network message id: {message}" in told
    hit = "Audit: mode audit, actions generate_incident_report, reject_message"
    assert f"  {hit}" in told
    (row,) = world.service.show(message)["rows"]
    assert ("Rule", hit) in [(event["kind"], event["detail"]) for event in row["events"]]
    said = world.explained(message)
    assert f"incident report to {CARL}" in said
    assert "only told, because the rule is on audit: refused: 550 5.7.1 Delivery not authorized" in said


def test_t_rule_7_outside_its_dates_a_rule_does_nothing(world: World) -> None:
    message = world.sends("dated 7")
    world.service.settled(message)
    (mail,) = world.about("dated 7")
    assert email.message_from_bytes(mail.content)["X-Rule"] == "now"
    said = world.explained(message)
    assert "its time is over" in said and "its time has not begun" in said


def test_t_rule_8_own_reports_are_exempt_and_the_null_sender_is_not(world: World) -> None:
    world.sends("bounced 8", GONE, author=ANA, peer=OWN)
    report = world.report_about("bounced 8")
    assert recipients(report) == [ANA] and email.message_from_bytes(report.content)["X-All"] is None
    assert world.gets("strange report 8", envelope="")["X-All"] == "yes"


def test_t_rule_10_attachments_are_measured_one_by_one(world: World) -> None:
    """In proportion: three of 500 KB, against 1 MB."""
    part = base64.encodebytes(bytes(500 * 1024)).replace(b"\n", b"\r\n")
    head = "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=f{}\r\n"
    parts = [f"--b\r\n{head}Content-Transfer-Encoding: base64\r\n\r\n".format(n).encode() + part for n in range(3)]
    top = f"From: {OUTSIDE}\r\nSubject: heavy 10\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    content = top.encode() + b"\r\n".join(parts) + b"\r\n--b--\r\n"
    message = world.service.send(OUTSIDE, BEN, content=content)
    world.service.settled(message)
    (mail,) = world.about("heavy 10")
    got = email.message_from_bytes(mail.content)
    assert got["X-Whole"] == "large" and got["X-Part"] is None
    assert "has 512000 octets, fewer than 1048576" in world.explained(message)


def test_t_rule_12_anonymous_mail_in_our_name_is_from_outside(world: World) -> None:
    assert world.gets("scope 12 a", author=CARL, envelope=OUTSIDE)["X-Rule"] == "outside"
    assert world.gets("scope 12 b", author=CARL, peer=OWN)["X-Rule"] is None


def test_t_rule_13_a_deleted_group_matches_nobody(world: World) -> None:
    service = world.service
    service.people_changed("group", "add", TEAM, "--member", BEN)
    assert world.gets("teamwork 13 a")["X-Rule"] == "team"
    service.people_changed("group", "remove", TEAM)
    gone = f"belongs to none of {TEAM}; there is no group {TEAM}"
    message = world.sends("teamwork 13 b")
    service.settled(message)
    (mail,) = world.about("teamwork 13 b")
    assert email.message_from_bytes(mail.content)["X-Rule"] is None
    assert gone in world.explained(message)


def test_t_rule_14_a_domain_means_its_subdomains_too(world: World) -> None:
    assert world.gets("below 14 a", author="x@mail.partner.example")["X-Rule"] == "below"
    assert world.gets("below 14 b", author="x@partner.example")["X-Rule"] == "below"
    assert world.gets("below 14 c", author="x@notpartner.example")["X-Rule"] is None


def test_t_rule_15_exchanges_limits_are_refused_in_compatibility_and_reported_otherwise(
    world: World, tmp_path: Path
) -> None:
    many = "".join(rule(f"Rule {number}", "stop_rule_processing = true") for number in range(301))
    words = ", ".join(f'"{number:082}"' for number in range(98))
    long = rule("Long", f"subject_contains_words = [{words}]", "delete_message = true")
    patterns = ", ".join(f"'{number:0100}'" for number in range(70))
    costly = "".join(rule(f"P{n}", f"subject_matches_patterns = [{patterns}]", "delete_message = true") for n in "ABC")
    base = contoso(world.headquarters.host)
    strict = base.replace('name = "contoso"', 'name = "contoso"\ncompatibility = "exchange"', 1)
    for text, words in ((many, "at most 300 mail flow rules"), (long, "maximum number of characters is 8192"),
                        (costly, "have at most 20 KB")):  # fmt: skip
        document = tmp_path / "policy.toml"
        document.write_text(strict + text, "utf-8")
        code, out, err = world.service.command("plan", str(tmp_path))
        assert code == 1 and "in compatibility " in out + err and words in out + err, out + err
        document.write_text(base + text, "utf-8")
        code, out, err = world.service.command("plan", str(tmp_path))
        assert code == 0 and words in out + err and "in compatibility" not in out + err, out + err
