"""Specification 1.2.2: scope is what the judge's routing says, and the test mail takes the way of all mail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lockgate.flow.departure import Departure
from lockgate.flow.hops import Pool, plan
from lockgate.flow.settle import local_answers
from lockgate.flow.validating import Trial, Validating
from lockgate.mail.address import Address, parse_address
from lockgate.mail.findings import RecipientKind, Who
from lockgate.mail.hop import Cargo, NextHop
from lockgate.mail.replies import OK
from lockgate.mail.reply import Reply
from lockgate.mail.validation import StepName, StepOutcome, ValidationStep, failed, passed
from lockgate.seams import Unreachable
from lockgate.testing.builders import policy_of
from lockgate.testing.clock import HandClock
from lockgate.testing.courier import RecordingCourier
from lockgate.testing.examining import ListedExaminer
from lockgate.testing.memory import MemoryDirectory

POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["hq.contoso.com"]
tls_settings = "encryption_only"
[[outbound_connector]]
name = "Spare"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
cost = 5
use_mx_record = false
smart_hosts = ["spare.contoso.com"]
[[outbound_connector]]
name = "Bank"
recipient_domains = ["*.contosobank.com", "contosobank.com"]
tls_settings = "domain_validation"
tls_domain = "*.contosobank.com"
[[outbound_connector]]
name = "NOLA"
connector_type = "on_premises"
is_transport_rule_scoped = true
use_mx_record = false
smart_hosts = ["nola.contoso.com"]
[[outbound_connector]]
name = "Unused"
connector_type = "on_premises"
is_transport_rule_scoped = true
use_mx_record = false
smart_hosts = ["unused.contoso.com"]
[[outbound_connector]]
name = "Off"
recipient_domains = ["off.example"]
enabled = false
[[mail_flow_rule]]
name = "City"
recipient_domain_is = ["nola.contoso.com"]
route_message_outbound_connector = "NOLA"
"""
POOLS = {"default": Pool("default", "", "", "out.lockgate.test")}
SENDER = parse_address("connectorvalidation@contoso.com")


def willing(*recipients: str) -> ListedExaminer:
    return ListedExaminer([passed(StepName.RECIPIENT, "250", server="s", recipient=one) for one in recipients])


async def tried(
    name: str, *to: str, look: ListedExaminer | None = None, answers=lambda hop, cargo: OK,
    text: str = POLICY, mail: bool = True, sender: Address | None = SENDER, people: Sequence[Who] = (),
) -> tuple[tuple[ValidationStep, ...], ListedExaminer, RecordingCourier]:  # fmt: skip
    policy, look, courier = policy_of(text), look or willing(*to), RecordingCourier(answers)
    directory = MemoryDirectory({("contoso", who.primary.text): who for who in people})
    validating = Validating(
        examiner=look,
        courier=lambda: courier,
        plan=lambda policy, route: plan(policy, route, POOLS, lambda reference: "secret"),
        dress=Departure(()).dress,
        ask=local_answers(directory),
        clock=HandClock(1_800_000_000.0),
        new_id=lambda: "id-1",
    )
    connector = policy.of("contoso").outbound.named[name]
    steps = await validating.validate(Trial(policy, connector, tuple(map(parse_address, to)), sender, mail))
    return steps, look, courier


def outcomes(steps: Sequence[ValidationStep]) -> list[tuple[str, str]]:
    return [(step.step.value, step.outcome.value) for step in steps]


async def test_in_scope_it_is_looked_at_and_mail_is_sent() -> None:
    steps, look, courier = await tried("HQ", "ben@contoso.com")
    assert outcomes(steps) == [("scope", "ok"), ("recipient", "ok"), ("test_mail", "ok")]
    assert steps[0].seen == "it is for contoso.com" and steps[0].details["wins"]
    (hop, envelope, recipients), = look.examined
    assert (hop.smart_hosts, hop.tls.level.value, recipients) == (
        ("hq.contoso.com",), "encryption_only", ("ben@contoso.com",)
    )  # fmt: skip
    assert envelope.sender == SENDER
    (carried, cargo), = courier.carried
    assert carried == hop and courier.closed
    assert [one.address for one in cargo.recipients] == ["ben@contoso.com"]
    head = cargo.content.decode().partition("\r\n\r\n")[0].split("\r\n")
    assert "Auto-Submitted: auto-generated" in head and "Subject: Test of the connector HQ" in head
    assert "From: Lockgate <connectorvalidation@contoso.com>" in head and "To: <ben@contoso.com>" in head
    assert "Message-ID: <id-1@mx.lockgate.test>" in head


async def test_the_recipients_domain_is_not_part_of_the_connector() -> None:
    """Specification 1.2.2 rule 1, and who would have it."""
    steps, look, courier = await tried("HQ", "x@contosobank.com")
    (step,) = steps
    assert step.outcome is StepOutcome.FAILED
    assert "the recipient's domain contosobank.com is not part of the connector HQ" in step.seen
    assert "real mail to it leaves by the connector Bank" in step.seen
    assert not step.details["wins"] and step.fix
    assert look.examined == [] and courier.carried == []
    (step,), _, _ = await tried("Bank", "x@elsewhere.example")
    assert "real mail to it leaves by MX" in step.seen


async def test_in_scope_but_another_one_wins() -> None:
    steps, look, courier = await tried("Spare", "ben@contoso.com")
    assert steps[0].outcome is StepOutcome.OK
    assert "but real mail to it leaves by the connector HQ" in steps[0].seen
    assert look.examined[0][0].smart_hosts == ("spare.contoso.com",)
    assert courier.carried[0][0].smart_hosts == ("spare.contoso.com",)


async def test_a_connector_that_is_switched_off() -> None:
    (step,), look, _ = await tried("Off", "x@off.example")
    assert step.outcome is StepOutcome.FAILED and "switched off" in step.seen
    assert "lockgate connector enable Off --outbound" in step.fix and look.examined == []


async def test_a_connector_for_rules_takes_any_recipient_and_says_which_rule() -> None:
    steps, look, _ = await tried("NOLA", "x@elsewhere.example")
    assert "the rule City names it" in steps[0].seen and steps[0].details["rules"] == ["City"]
    assert look.examined[0][0].smart_hosts == ("nola.contoso.com",)
    steps, _, _ = await tried("Unused", "x@elsewhere.example")
    assert "no enabled rule names it" in steps[0].seen


async def test_a_mail_user_is_tried_where_she_lives() -> None:
    ben = parse_address("ben@contoso.com")
    who = Who("contoso", RecipientKind.MAIL_USER, ben, external=parse_address("ben@mail.contosobank.com"))
    there = willing("ben@mail.contosobank.com")
    steps, look, courier = await tried("Bank", "ben@contoso.com", people=[who], look=there)
    assert steps[0].outcome is StepOutcome.OK and steps[0].details["target"] == "ben@mail.contosobank.com"
    hop, _, recipients = look.examined[0]
    assert (hop.mx_domain, recipients) == ("mail.contosobank.com", ("ben@mail.contosobank.com",))
    assert courier.carried[0][1].recipients[0].address == "ben@mail.contosobank.com"


async def test_each_domain_of_a_connector_by_mx_is_a_next_hop_of_its_own() -> None:
    steps, look, courier = await tried("Bank", "a@x.contosobank.com", "b@contosobank.com", "c@x.contosobank.com")
    assert [hop.mx_domain for hop, _, _ in look.examined] == ["x.contosobank.com", "contosobank.com"]
    assert [len(cargo.recipients) for _, cargo in courier.carried] == [2, 1]
    assert {step.recipient for step in steps if step.step is StepName.TEST_MAIL} == {
        "a@x.contosobank.com", "b@contosobank.com", "c@x.contosobank.com",
    }  # fmt: skip


async def test_no_mail_means_no_mail() -> None:
    steps, look, courier = await tried("HQ", "ben@contoso.com", mail=False)
    assert outcomes(steps)[-1] == ("test_mail", "skipped") and courier.carried == [] and look.examined


async def test_whom_no_server_takes_gets_no_mail() -> None:
    look = ListedExaminer([
        passed(StepName.RECIPIENT, "250", server="s", recipient="ben@contoso.com"),
        failed(StepName.RECIPIENT, "550", "fix", server="s", recipient="no@contoso.com"),
    ])  # fmt: skip
    steps, _, courier = await tried("HQ", "ben@contoso.com", "no@contoso.com", look=look)
    assert [one.address for one in courier.carried[0][1].recipients] == ["ben@contoso.com"]
    mails = {step.recipient: step.outcome.value for step in steps if step.step is StepName.TEST_MAIL}
    assert mails == {"ben@contoso.com": "ok", "no@contoso.com": "skipped"}


@pytest.mark.parametrize(
    ("said", "queue_id"),
    [
        ("2.0.0 Ok: queued as 4Zk1aB0xYz", "4Zk1aB0xYz"),
        ("2.6.0 <x@y> [InternalId=7] Queued mail for delivery", ""),
        ("OK id=1tFabc-000000001-AbCd", "1tFabc-000000001-AbCd"),
        ("2.0.0 taken", ""),
    ],
)
async def test_the_answer_and_its_queue_id_are_shown(said: str, queue_id: str) -> None:
    steps, _, _ = await tried("HQ", "ben@contoso.com", answers=lambda hop, cargo: Reply(250, "2.0.0", said))
    assert steps[-1].details["queue_id"] == queue_id and said in steps[-1].seen


async def test_mail_that_is_not_taken_is_a_failure_with_the_answer() -> None:
    def refuses(hop: NextHop, cargo: Cargo) -> Reply:
        return Reply(554, "5.7.1", "no spam here")

    steps, _, _ = await tried("HQ", "ben@contoso.com", answers=refuses)
    assert steps[-1].outcome is StepOutcome.FAILED and "554 5.7.1 no spam here" in steps[-1].seen

    def breaks(hop: NextHop, cargo: Cargo) -> Reply:
        raise Unreachable(Reply(451, "4.4.2", "gone"), host="hq[192.0.2.1]:25")

    steps, _, courier = await tried("HQ", "ben@contoso.com", answers=breaks)
    assert steps[-1].outcome is StepOutcome.FAILED and "gone" in steps[-1].seen and courier.closed


async def test_the_null_sender_and_settings_that_cannot_be_used() -> None:
    steps, look, courier = await tried("HQ", "ben@contoso.com", sender=None)
    assert look.examined[0][1].sender is None and courier.carried[0][1].envelope.sender is None
    assert b"From: Lockgate <postmaster@contoso.com>" in courier.carried[0][1].content

    def no_secret(reference: str) -> str:
        raise KeyError(reference)

    policy = policy_of(POLICY.replace('tls_settings = "encryption_only"',
                                      'tls_settings = "encryption_only"\nlogin_user = "x"\nlogin_secret = "env:NONE"'))
    look = ListedExaminer()
    validating = Validating(
        look, RecordingCourier, lambda p, route: plan(p, route, POOLS, no_secret), Departure(()).dress,
        local_answers(MemoryDirectory({})), HandClock(1_800_000_000.0), lambda: "id-1",
    )  # fmt: skip
    connector = policy.of("contoso").outbound.named["HQ"]
    steps = await validating.validate(Trial(policy, connector, (parse_address("ben@contoso.com"),), SENDER, mail=True))
    assert outcomes(steps) == [("scope", "ok"), ("plan", "failed")] and "secret" in steps[1].seen
    assert look.examined == []


async def test_what_if_dials_nothing() -> None:
    policy = policy_of(POLICY)
    look, courier = ListedExaminer(), RecordingCourier()
    validating = Validating(
        look, lambda: courier, lambda p, route: plan(p, route, POOLS, str), Departure(()).dress,
        local_answers(MemoryDirectory({})), HandClock(1_800_000_000.0), lambda: "id-1",
    )  # fmt: skip
    connector = policy.of("contoso").outbound.named["HQ"]
    wish = Trial(policy, connector, (parse_address("ben@contoso.com"),), SENDER, mail=True, what_if=True)
    steps = await validating.validate(wish)
    assert outcomes(steps) == [("scope", "ok"), ("plan", "skipped")]
    assert "hq.contoso.com would be dialled with TLS encryption_only and a test mail sent" in steps[1].seen
    assert look.examined == [] and courier.carried == []
