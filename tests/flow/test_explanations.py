"""Live ruling = explanation = what-if with the same facts, for a thousand random messages."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from flow.house import House
from lockgate.flow import retelling
from lockgate.flow.asking.explain import WhatIf
from lockgate.flow.intake import Guest
from lockgate.flow.letter import Authentication
from lockgate.flow.retelling import PolicyGone, Recorded, Retelling, part
from lockgate.flow.simulate import converse
from lockgate.flow.suppose import read_suppositions
from lockgate.flow.supposing import Scene, supposed_facts
from lockgate.mail import replies
from lockgate.mail.authentication import Authenticated
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.findings import Restriction, WhoSent
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import JUDGE, Recorder
from lockgate.mail.ruling import Hit, Step
from lockgate.policy.policy import Policy
from lockgate.testing.builders import address, certificate_of, connection_of, people, policy_of, tls_of, who_of

BASE = """
[operator]
ip_block_list = ["203.0.113.0/24"]
ip_allow_list = ["203.0.113.7"]
[operator.limits]
message_size = 150000
[[organisation]]
name = "contoso"
max_receive_size = 120000
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
organisation = "contoso"
domain_name = "nola.contoso.com"
domain_type = "internal_relay"
vouched_by_operator = true
[[accepted_domain]]
organisation = "contoso"
domain_name = "unproven.test"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[outbound_connector]]
organisation = "contoso"
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
"""
PIECES = (
    """
[[inbound_connector]]
organisation = "contoso"
name = "own"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
""",
    """
[[inbound_connector]]
organisation = "contoso"
name = "cloud"
connector_type = "on_premises"
tls_sender_certificate_name = "*.contoso.com"
relay_null_sender = false
""",
    """
[[inbound_connector]]
organisation = "contoso"
name = "bank"
sender_domains = ["*.bank.test"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "*.bank.test"
[[inbound_connector]]
organisation = "contoso"
name = "bank, old"
sender_domains = ["bank.test"]
""",
    """
[[inbound_connector]]
organisation = "fabrikam"
name = "gateway"
sender_domains = ["*"]
require_tls = false
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["198.51.100.0/24"]
""",
    """
[[connection_filter]]
organisation = "contoso"
ip_block_list = ["198.51.100.66", "192.0.2.0/24"]
ip_allow_list = ["192.0.2.25"]
""",
    """
[[outbound_connector]]
organisation = "contoso"
name = "dear"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["dear.test"]
all_accepted_domains = true
cost = 10
[[outbound_connector]]
organisation = "contoso"
name = "site"
use_mx_record = false
smart_hosts = ["site.test"]
is_transport_rule_scoped = true
[[outbound_connector]]
organisation = "contoso"
name = "old"
use_mx_record = false
smart_hosts = ["old.test"]
enabled = false
recipient_domains = ["contoso.com"]
[[mail_flow_rule]]
organisation = "contoso"
name = "to the site"
recipient_domain_is = ["nola.contoso.com"]
route_message_outbound_connector = "site"
stop_rule_processing = true
[[mail_flow_rule]]
organisation = "contoso"
name = "never"
enabled = false
recipient_domain_is = ["contoso.com"]
route_message_outbound_connector = "old"
[[mail_flow_rule]]
organisation = "contoso"
name = "but for the head office"
recipient_domain_is = ["contoso.com"]
except_if_recipient_domain_is = ["nola.contoso.com"]
route_message_outbound_connector = "old"
""",
    """
[[outbound_connector]]
organisation = "fabrikam"
name = "small"
recipient_domains = ["fabrikam.com", "*.example.net"]
size_limit = 50000
[[outbound_connector]]
organisation = "fabrikam"
name = "rest"
recipient_domains = ["*"]
tls_settings = "encryption_only"
""",
    """
[[mail_flow_rule]]
organisation = "contoso"
name = "for all of them"
recipient_address_type = "original"
either = [
  {any_of_recipient_address_contains_words = ["alias", "rosa"], except_if_sent_to = ["c@contoso.com"]},
  {any_of_recipient_address_matches_patterns = ["^no@", "@mail"], recipient_domain_is = ["contoso.com"]},
]
except_if_either = [{any_of_recipient_address_contains_words = ["kept"]}]
reject_message = {}
[[mail_flow_rule]]
organisation = "fabrikam"
name = "or for theirs"
any_of_recipient_address_contains_words = ["rosa", "u", "example.net"]
except_if_any_of_recipient_address_contains_words = ["both"]
quarantine = true
""",
)
FORGED = (
    """
[[anti_phishing_policy]]
organisation = "contoso"
name = "strict"
own_domain_spoof_action = "reject"
""",
    """
[[anti_phishing_policy]]
organisation = "fabrikam"
name = "mild"
dmarc_reject_action = "quarantine"
own_domain_spoof_action = "none"
unclear_author_action = "none"
""",
)
DIRECTORY = people(
    who_of("contoso", "u@contoso.com", city="Seattle"),
    who_of("contoso", "rosa@nola.contoso.com", kind="mailbox"),
    who_of("contoso", "c@contoso.com", kind="mail_contact", external="u@contoso.com"),
    who_of("contoso", "loop@contoso.com", external="pool@contoso.com"),
    who_of("contoso", "pool@contoso.com", external="loop@contoso.com"),
    who_of("fabrikam", "u@fabrikam.com"),
    who_of("contoso", "team@contoso.com", kind="distribution_group"),
    who_of("contoso", "all@nola.contoso.com", kind="distribution_group"),
    who_of("fabrikam", "both@fabrikam.com", kind="distribution_group"),
    who_of("contoso", "ping@contoso.com", kind="mailbox", forwarding="pong@contoso.com"),
    who_of("contoso", "pong@contoso.com", kind="mailbox", forwarding="ping@contoso.com"),
    who_of("contoso", "kept@contoso.com", kind="mailbox", forwarding="k@example.net", keeps_copy=True, by_user=True),
    who_of("contoso", "boss@contoso.com", kind="mailbox", restriction=Restriction(accept_from=("team@contoso.com",))),
    aliases={"alias@contoso.com": "u@contoso.com"},
    members={
        "team@contoso.com": ["alias@contoso.com", "rosa@nola.contoso.com", "gone@contoso.com", "u@fabrikam.com",
                             "x@example.net", "all@nola.contoso.com"],
        "all@nola.contoso.com": ["team@contoso.com", "ping@contoso.com", "kept@contoso.com", "boss@contoso.com"],
        "both@fabrikam.com": ["u@fabrikam.com", "team@contoso.com", "c@contoso.com"],
    },
)
SENDERS = ("", "x@sender.test", "a@bank.test", "u@contoso.com", "u@fabrikam.com", "u@unproven.test")
RECIPIENTS = (
    "u@contoso.com", "no@contoso.com", "rosa@nola.contoso.com", "new@nola.contoso.com", "alias@contoso.com",
    "c@contoso.com", "loop@contoso.com", "u@fabrikam.com", "x@example.net", "y@mail.example.net", "postmaster",
    "postmaster@contoso.com", "U@Contoso.com", "x@unproven.test", "team@contoso.com", "all@nola.contoso.com",
    "both@fabrikam.com", "ping@contoso.com", "kept@contoso.com", "boss@contoso.com", "u+tag@contoso.com",
)  # fmt: skip
PEERS = ("198.51.100.7", "198.51.100.66", "192.0.2.25", "192.0.2.26", "203.0.113.9", "203.0.113.7", "2001:db8::1")
CERTIFICATES = ("", "", "mail.contoso.com", "mail.bank.test", "*.contoso.com")
AUTHORS = (
    "dmarc = pass sender.test", "dmarc = pass sender.test", "dmarc = none contoso.com", "dmarc = none fabrikam.com",
    "dmarc = fail reject sender.test", "dmarc = fail quarantine sender.test", "dmarc = temperror sender.test",
    "who-sent = unknown no answer",
)  # fmt: skip
HOW_MANY = 1000


def policies(chance: random.Random, count: int) -> list[Policy]:
    """A small pool of policies; each takes about half of the pieces."""
    texts = ["".join([BASE, *(piece for piece in PIECES + FORGED if chance.random() < 0.6)]) for _ in range(count)]
    return [policy_of(text, revision=number) for number, text in enumerate(texts, 1)]


def random_message(chance: random.Random) -> WhatIf:
    """What a sender does, in the words of what-if."""
    certificate = chance.choice(CERTIFICATES)
    hops = chance.choice((0, 0, 0, 3, 40))
    head = b"Received: from a by b\r\n" * hops + b"Subject: Hello\r\nMessage-ID: <m@sender.test>\r\n\r\n"
    return WhatIf(
        sender=chance.choice(SENDERS),
        recipients=tuple(chance.sample(RECIPIENTS, chance.randint(1, 5))),
        ip=chance.choice(PEERS),
        helo="mail.sender.test",
        tls="1.3" if certificate else chance.choice(("", "1.3")),
        certificate=certificate,
        untrusted=certificate != "" and chance.random() < 0.3,
        login=chance.choice(("", "", "", "u@contoso.com")),
        require_tls=chance.random() < 0.1,
        size=len(head) + chance.choice((0, 1000, 60_000, 130_000, 160_000)),
        head=head,
        suppose=(chance.choice(AUTHORS), *(("directory = unknown it is being built",) * (chance.random() < 0.1))),
        declared_size=chance.choice((*(0,) * 40, 60_000, 130_000, 160_000_000)),
    )


def connection(said: WhatIf) -> Connection:
    """The connection as the edge would have seen it."""
    tls = None
    if said.certificate:
        trusted = () if said.untrusted else ("public",)
        tls = tls_of(certificate_of(said.certificate), trusted_by=trusted)
    elif said.tls:
        tls = tls_of()
    return connection_of(said.ip, tls=tls, login=said.login)


async def sent(house: House, said: WhatIf) -> list[str]:
    """The message through the real intake; every judged reply, without the ids."""
    guest = Guest(house.reception, connection(said))
    no = guest.connected()
    if no is not None:
        return [plain(no)]
    who = address(said.sender or "") if said.sender else None
    replies = [guest.mail(Envelope(who, require_tls=said.require_tls, size=said.declared_size))]
    if replies[-1].code != 250:
        return [plain(reply) for reply in replies]
    replies += [guest.rcpt(RecipientId(address(one))) for one in said.recipients]
    if any(reply.code == 250 for reply in replies[1:]):
        body = guest.begin()
        body.write(said.head + b"x" * (said.size - len(said.head)))
        replies.append(await guest.done(body))
    return [plain(reply) for reply in replies]


def plain(reply: object) -> str:
    return re.sub(r" \(id \w+\)$|(?<= Queued as ).*", "", str(reply))


def told(course_part: dict[str, Any]) -> list[str]:
    """The replies of an explanation after the greeting."""
    replies = [plain(row["reply"]) for row in course_part["conversation"]]
    return replies[1:] if replies[0].startswith("220") else replies


class Supposing:
    """seams.Authenticator that finds out what is supposed."""

    def __init__(self) -> None:
        self.found: object = None

    async def authenticate(self, *_: object) -> Authenticated:
        match self.found:
            case Authenticated() as found:
                return found
            case unknown:
                raise ValueError(unknown.why)


def whom(row: Mapping[str, Any]) -> str:
    return f"{row['recipient']}, {row['derivation']}" if row["derivation"] else row["recipient"]


class Checked:
    """One message, live, explained, and supposed."""

    def __init__(self, house: House, pool: list[Policy]) -> None:
        self.house = house
        self.pool = {policy.revision: policy for policy in pool}
        self.recorder = Recorder()
        self.retelling = Retelling(self.at, self.recorder)
        self.authenticator = Supposing()
        self.cut = 0
        authentication = Authentication(self.authenticator, asyncio.Semaphore(1))
        house.reception = msgspec.structs.replace(house.reception, authentication=authentication)

    async def at(self, number: int) -> Policy:
        if number not in self.pool:
            raise PolicyGone(f"revision {number} is not kept here any more")
        return self.pool[number]

    async def check(self, said: WhatIf) -> str:
        house = self.house
        house.spool.messages.clear()
        house.spool.refusals.clear()
        self.authenticator.found = read_suppositions(said.suppose).answer(WhoSent("contoso"))
        failing = "it is being built" if len(said.suppose) > 1 else ""
        house.ask = people(failing=failing) if failing else DIRECTORY
        live = await sent(house, said)
        supposed = self.supposed(said)
        assert told(supposed) == live, said
        fates = {whom(row): row["sentence"] for row in supposed["recipients"]}
        everything = supposed.get("refusal", {}).get("reply")
        for stored in house.spool.messages.values():
            lanes = {t.id.text: task.lane for task in stored.tasks if task.route for t in task.recipients}
            for organisation, data in stored.stories:
                explained = await self.explained(Recorded(organisation, data, (), str(replies.queued(stored.id))))
                for row in explained["recipients"]:
                    assert row["sentence"] == fates[whom(row)], said
                    assert row.get("route", {}).get("lane") == lanes.get(whom(row)), said
                if explained["conversation"]:
                    assert told(explained)[0] == live[0] and told(explained)[-1] == live[-1], said
        for refusal in house.spool.refusals:
            explained = await self.explained(Recorded(refusal.organisation, refusal.story, (), refusal.reply))
            if explained["conversation"]:
                assert told(explained)[-1] == plain(refusal.reply), said
            if not refusal.recipient:
                assert explained["refusal"]["reply"] == everything, said
            else:
                (row,) = explained["recipients"]
                assert row["recipient"] == refusal.recipient and row["sentence"] == fates[whom(row)], said
        return "accepted" if house.spool.messages else "refused"

    async def explained(self, recorded: Recorded) -> dict[str, Any]:
        explained = await self.retelling.tell(recorded)
        story = self.recorder.read_story(recorded.data)
        ruling = story.ruling
        if explained["judged"]["steps"] == "recorded":
            assert any(recipient.derived_from is not None for recipient in story.facts.recipients)
            self.cut += 1
            return explained
        assert explained["judged"]["steps"] == "judged again"
        assert explained["differs"] == []
        kept = [step for verdict in ruling.recipients for step in verdict.steps]
        full = [row for one in explained["recipients"] for row in one["steps"]]
        assert {(s.stage, s.subject, s.because, s.effect) for s in kept} <= {
            (row["stage"], row["subject"], row["because"], row["effect"]) for row in full
        }
        return explained

    def supposed(self, said: WhatIf) -> dict[str, Any]:
        policy = self.house.policy
        supposed = read_suppositions(said.suppose)
        facts = supposed_facts(said, None, Scene(policy, self.house.clock.now(), "test-house", lambda *_: ()))
        return part(policy, converse(policy, facts, supposed.over(DIRECTORY)))


async def test_a_thousand_random_messages_live_explained_and_supposed_are_one() -> None:
    chance = random.Random(20261125)
    house = House()
    house.take = lambda tasks: None
    pool = policies(chance, 12)
    checked = Checked(house, pool)
    ends = {"accepted": 0, "refused": 0}
    codes: set[str] = set()
    for _ in range(HOW_MANY):
        house.policy = chance.choice(pool)
        ends[await checked.check(random_message(chance))] += 1
        codes |= {refusal.reply.split()[1] for refusal in house.spool.refusals}
    assert {"5.7.509", "5.7.68", "4.3.0"} <= codes, "forged authors are among them"
    assert min(ends.values()) > HOW_MANY // 5, f"the messages are not mixed: {ends}"


async def story_of(house: House, *recipients: str, sender: str = "x@sender.test") -> bytes:
    house.take = lambda tasks: None
    await house.send(*recipients, sender=sender)
    (stored,) = house.spool.messages.values()
    return stored.stories[0][1]


async def test_corrupting_the_recorded_steps_changes_nothing() -> None:
    house = House()
    data = await story_of(house, "ben@contoso.com")
    checked = Checked(house, [house.policy])
    honest = await checked.explained(Recorded("contoso", data))
    story = checked.recorder.read_story(data)
    lie = (Step("route", "connector evil", Hit.YES, "somebody wrote this here", "leaves by it"),)
    verdicts = tuple(msgspec.structs.replace(verdict, steps=lie) for verdict in story.ruling.recipients)
    forged = msgspec.structs.replace(story.ruling, recipients=verdicts, steps=lie)
    again = await checked.retelling.tell(Recorded("contoso", checked.recorder.write_story(story.facts, forged), ()))
    assert again == honest and "evil" not in str(again)


async def test_another_judge_shows_the_recorded_steps_and_what_today_would_decide(monkeypatch) -> None:
    house = House()
    data = await story_of(house, "ben@contoso.com")
    checked = Checked(house, [house.policy])
    monkeypatch.setattr(retelling, "JUDGE", 99)
    told_ = await checked.retelling.tell(Recorded("contoso", data, ()))
    assert told_["judged"]["steps"] == "recorded" and told_["judged"]["judge"] == JUDGE
    assert "today's is 99; it would decide the same" in told_["judged"]["note"]
    recorded = checked.recorder.read_story(data).ruling.recipients[0].steps
    assert [row["because"] for row in told_["recipients"][0]["steps"]] == [step.because for step in recorded]


@pytest.mark.parametrize("gone", ["no longer kept", "another policy of that number"])
async def test_without_its_policy_a_message_is_told_as_recorded(gone: str) -> None:
    house = House()
    data = await story_of(house, "ben@contoso.com")
    pool = [] if gone == "no longer kept" else [policy_of(BASE)]
    told_ = await Checked(house, pool).retelling.tell(Recorded("contoso", data, ()))
    assert told_["judged"]["steps"] == "recorded"
    says = "not kept here any more" if not pool else "is not the one that judged"
    assert says in told_["judged"]["note"]
    assert told_["recipients"][0]["what"] == "delivered"
    assert (await Checked(house, pool).retelling.tell(Recorded("contoso", b"\0", ())))["judged"]["steps"] == "none"


async def test_one_recipient_too_many_is_explained_from_its_own_row() -> None:
    house = House(policy=BASE.replace("message_size", "recipients_per_message = 100\nmessage_size"))
    everybody = [f"u{n}@contoso.com" for n in range(101)]
    house.ask = people(*(who_of("contoso", one) for one in everybody))
    house.take = lambda tasks: None
    replies = await house.send(*everybody)
    assert [reply.code for reply in replies].count(452) == 1
    (refusal,) = house.spool.refusals
    explained = await Checked(house, [house.policy]).explained(Recorded("contoso", refusal.story))
    assert explained["recipients"][0]["because"] == "recipient limit: 100 recipients were named already"
    assert explained["facts"]["recipients_before"] == 100


async def test_of_very_many_recipients_every_step_is_told_of_the_one_that_is_asked_for() -> None:
    house = House()
    everybody = [f"u{n}@contoso.com" for n in range(60)]
    house.ask = people(*(who_of("contoso", one) for one in everybody))
    data = await story_of(house, *everybody)
    checked = Checked(house, [house.policy])
    whole = await checked.explained(Recorded("contoso", data))
    assert len(whole["recipients"]) == 60 and "name one recipient" in whole["judged"]["note"]
    assert len(whole["recipients"][7]["steps"]) < 3
    one = await Retelling(checked.at, checked.recorder, "u7@contoso.com").tell(Recorded("contoso", data))
    (row,) = one["recipients"]
    assert row["sentence"] == whole["recipients"][7]["sentence"] and len(row["steps"]) > 8
    assert one["differs"] == [] and not one["judged"]["note"]


async def test_a_report_of_our_own_is_explained_as_one() -> None:
    from lockgate.mail.reply import Reply
    from lockgate.testing.courier import RecordingCourier

    house = House(RecordingCourier(lambda hop, cargo: Reply(550, "5.1.1", "no such person")))
    await house.send("ben@contoso.com", sender="amy@contoso.com", peer="192.0.2.25")
    await house.settle()
    report = next(stored for stored in house.spool.messages.values() if stored.envelope.sender is None)
    explained = await Checked(house, [house.policy]).explained(Recorded("contoso", report.stories[0][1]))
    assert explained["judged"]["note"].startswith("a report of our own")
    assert explained["recipients"][0]["route"]["connector"] == "hq"
