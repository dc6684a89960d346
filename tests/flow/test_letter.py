"""Who sent it, asked at the end of data: once, with the message as it came, and never an outage as a verdict."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import msgspec
import pytest

from flow.house import CONTOSO, House
from lockgate.flow import allowance, letter
from lockgate.flow.allowance import Allowance
from lockgate.flow.contents import answers, is_slow
from lockgate.flow.letter import LARGE, Authentication, without_trouble
from lockgate.flow.settle import forget_unknown
from lockgate.mail.authentication import DmarcVerdict, SpfVerdict
from lockgate.mail.envelope import Envelope
from lockgate.mail.findings import CallForward, Found, Unknown, WhoSent
from lockgate.mail.recipient import RecipientId
from lockgate.testing.builders import address, facts_of
from lockgate.testing.clock import HandClock
from lockgate.testing.sender import ListedAuthenticator, authenticated
from pace import slower

POLICY = CONTOSO + """
[[anti_phishing_policy]]
name = "Default"
"""
LETTER = b"Subject: Hello\r\nMessage-ID: <m1@sender.test>\r\n\r\nHello\r\n"


def house_with(asked: ListedAuthenticator, policy: str = POLICY) -> House:
    house = House(policy=policy)
    authentication = Authentication(asked, asyncio.Semaphore(1))
    house.reception = msgspec.structs.replace(house.reception, authentication=authentication)
    return house


async def test_it_is_asked_once_with_the_message_as_it_came():
    asked = ListedAuthenticator(authenticated("pass"))
    said = await house_with(asked).send("ben@contoso.com", "amy@contoso.com")
    assert [reply.code for reply in said] == [250] * 4
    assert asked.asked == [("198.51.100.7", "mail.sender.test", "x@sender.test", LETTER)]


async def test_without_a_policy_nobody_is_asked():
    asked = ListedAuthenticator(authenticated("fail", "reject"))
    said = await house_with(asked, CONTOSO).send("ben@contoso.com")
    assert (said[-1].code, asked.asked) == (250, [])


async def test_a_forged_author_is_refused_and_nothing_is_kept():
    house = house_with(ListedAuthenticator(authenticated("fail", "reject")))
    said = await house.send("ben@contoso.com")
    assert (said[-1].code, said[-1].enhanced) == (550, "5.7.509")
    assert not house.spool.messages
    assert "asks for reject" in house.spool.refusals[-1].reason


async def test_quarantine_is_accepted_and_held():
    house = house_with(ListedAuthenticator(authenticated("fail", "quarantine")))
    said = await house.send("ben@contoso.com")
    await house.settle()
    assert said[-1].code == 250
    assert not house.courier.carried


@pytest.mark.parametrize("trouble", [ValueError("no address"), OSError("gone"), TimeoutError()])
async def test_what_fails_is_temporary(trouble):
    async def fails() -> None:
        raise trouble

    house = house_with(ListedAuthenticator(authenticated("pass"), first=fails))
    said = await house.send("ben@contoso.com")
    assert said[-1].code == 451
    assert not house.spool.messages


@pytest.mark.parametrize(("hours", "code"), [(0, 451), (3.9, 451), (4, 250)])
async def test_dns_that_is_silent_for_four_hours_counts_as_none(hours, code):
    """DESIGN 2; of mail that waits already. The clock of the house stands still, so the mail is older than it."""
    silent = authenticated("temperror")
    silent = msgspec.structs.replace(
        silent, dmarc=msgspec.structs.replace(silent.dmarc, problem="no answer"),
        spf=msgspec.structs.replace(silent.spf, verdict=SpfVerdict.TEMPERROR),
    )  # fmt: skip
    house = house_with(ListedAuthenticator(silent))
    later = HandClock(house.clock.now() + hours * 3600)
    asking = msgspec.structs.replace(house.reception.authentication, clock=later)
    house.reception = msgspec.structs.replace(house.reception, authentication=asking)
    said = await house.send("ben@contoso.com")
    assert said[-1].code == code


def test_what_counts_as_none_is_marked_so_and_nothing_else_is_touched():
    for verdict in ("pass", "fail", "permerror", "none"):
        assert without_trouble(authenticated(verdict)) == authenticated(verdict)
    found = without_trouble(authenticated("temperror"))
    assert found.dmarc.verdict is DmarcVerdict.NONE
    assert "counts as none" in found.dmarc.problem


async def test_a_slow_answer_is_no_answer(monkeypatch):
    monkeypatch.setattr(letter, "BUDGET", 0.05)
    never = asyncio.Event()

    async def slow() -> None:
        await never.wait()

    said = await house_with(ListedAuthenticator(authenticated("pass"), first=slow)).send("ben@contoso.com")
    assert said[-1].code == 451


async def test_without_anybody_to_ask_it_is_temporary():
    said = await House(policy=POLICY).send("ben@contoso.com")
    assert said[-1].code == 451


async def test_a_large_message_is_read_whole_and_few_are_at_once():
    running, most = 0, 0

    async def count() -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.01)
        running -= 1

    asked = ListedAuthenticator(authenticated("pass"), first=count)
    house = house_with(asked)
    large = LETTER + b"x" * 70 * 1000 + b"\r\n" + (b"y" * 900 + b"\r\n") * (LARGE // 900)

    async def send() -> int:
        guest = house.guest()
        guest.mail(Envelope(address("x@sender.test")))
        guest.rcpt(RecipientId(address("ben@contoso.com")))
        body = guest.begin()
        body.write(large)
        return (await guest.done(body)).code

    assert await asyncio.gather(*(send() for _ in range(3))) == [250] * 3
    assert [octets == large for *_, octets in asked.asked] == [True] * 3
    assert most == 1


async def test_what_was_temporary_is_asked_again_with_the_kept_message():
    """One recipient is taken, so the message is kept; the other one waits until DNS answers."""
    asked = ListedAuthenticator(authenticated("temperror", problem="SERVFAIL"), authenticated("pass"))
    other = """
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
domain_type = "internal_relay"
vouched_by_operator = true
"""
    policy = POLICY
    for table in ("accepted_domain", "inbound_connector", "outbound_connector", "anti_phishing_policy"):
        policy = policy.replace(f"[[{table}]]", f'[[{table}]]\norganisation = "contoso"')
    house = house_with(asked, policy + other)
    reconsider = msgspec.structs.replace(
        house.delivery._with.reconsider, authentication=house.reception.authentication
    )
    house.delivery._with = msgspec.structs.replace(house.delivery._with, reconsider=reconsider)
    said = await house.send("ben@contoso.com", "b@fabrikam.com")
    assert said[-1].code == 250
    await house.settle()
    house.clock.move(61.0)
    house.spool.assign()
    await house.settle()
    assert len(asked.asked) == 2
    assert asked.asked[0] == asked.asked[1], "the same octets, without our trace fields"


def test_trouble_with_dns_is_forgotten_before_asking_again():
    unsure, sure = WhoSent("contoso"), WhoSent("fabrikam")
    facts = facts_of(findings={unsure: authenticated("temperror"), sure: authenticated("fail")})
    left = forget_unknown(facts).findings
    assert (unsure in left, sure in left) == (False, True)


async def test_what_else_is_asked_goes_to_the_others():
    async def others(policy, facts, questions):
        return dict.fromkeys(questions, Unknown("the next hop is away"))

    async def octets() -> bytes:
        return LETTER

    forward, who = CallForward("contoso", "ben@contoso.com"), WhoSent("contoso")
    asked = Authentication(ListedAuthenticator(authenticated("pass")), asyncio.Semaphore(1))
    facts = facts_of()
    found = await asked.of(octets, len(LETTER), others)(None, facts, (forward, who))
    assert found == {forward: Unknown("the next hop is away"), who: authenticated("pass")}
    alone = await asked.of(octets, len(LETTER))(None, facts, (forward,))
    assert isinstance(alone[forward], Unknown)


WORDS = CONTOSO + """
[[mail_flow_rule]]
name = "Words"
subject_or_body_contains_words = ["a falcon"]
reject_message = {}
"""

SLOW = CONTOSO + """
[[mail_flow_rule]]
name = "Slow"
subject_or_body_matches_patterns = ["a[^x]{198}z"]
rule_error_action = "%s"
reject_message = {}

[[mail_flow_rule]]
name = "Word"
subject_or_body_contains_words = ["falcon"]
reject_message = { reason_text = "no falcons" }
"""


def made_slow(size: int, words: str = "") -> bytes:
    dice = random.Random(7)
    lines = ["".join(dice.choices("ab", k=900)) for _ in range(size // 902)]
    return "\r\n".join([f"Subject: x\r\n\r\n{words}", *lines, ""]).encode()


def test_what_would_take_too_long_is_given_up_within_a_tenth_of_a_second() -> None:
    policy = House(policy=SLOW % "ignore").policy
    questions = policy.organisations["contoso"].rules.asks
    assert is_slow(policy, questions)
    octets = made_slow(1_000_000, "the falcon")
    found, spent = [], []
    for _ in range(3):
        policy = House(policy=SLOW % "ignore").policy
        answers(policy, made_slow(1_000_000), [questions[1]])
        began = time.process_time()
        found.append(answers(policy, octets, questions))
        spent.append(time.process_time() - began)
    assert list(found[-1].values()) == [Found("", slow=True), Found("falcon")]
    assert min(spent) < 0.1 * slower()


def test_all_expressions_together_have_their_time_too() -> None:
    now = [0.0]
    time_left = Allowance(lambda: now[0])
    taken = 0
    for _ in range(100):
        time_left.begin()
        while not time_left.is_over():
            now[0] += 0.01
            taken += 1
    assert taken == round(allowance.ALL / 0.01)


async def test_an_expression_that_takes_too_long_decides_by_its_rules_error_action() -> None:
    asked = ListedAuthenticator(authenticated("pass"))
    for action, code in (("defer", 451), ("ignore", 250)):
        house = house_with(asked, SLOW % action)
        said = await house.send("ben@contoso.com", fields=made_slow(300_000))
        assert said[-1].code == code
        assert (await house.send("ben@contoso.com", fields=made_slow(3_000)))[-1].code == 250
    said = await house.send("ben@contoso.com", fields=made_slow(300_000, "a falcon"))
    assert said[-1].code == 550 and "no falcons" in said[-1].text, "other rules are what they are"


@pytest.mark.parametrize(("rules", "few", "many"), [(SLOW % "ignore", 2_000, 20_000), (WORDS, 100_000, 200_000)])
async def test_what_can_take_long_is_looked_for_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, rules: str, few: int, many: int
) -> None:
    threads: list[str] = []
    real = letter.answers

    def watched(*given):
        threads.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(letter, "answers", watched)
    house = house_with(ListedAuthenticator(authenticated("pass")), rules)
    await house.send("ben@contoso.com", fields=made_slow(many))
    await house.send("ben@contoso.com", fields=made_slow(few))
    assert threads[0] != threading.main_thread().name == threads[1]
