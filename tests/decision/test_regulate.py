"""Many rules for one domain: how they go is remembered where nothing else can change it, and nowhere else."""

from __future__ import annotations

import pytest

from decision.judging import fates, settled
from decision.test_route import BASE, HQ, NOLA
from lockgate.decision.stage import Depth
from lockgate.mail.address import Address
from lockgate.mail.facts import Point
from lockgate.mail.ruling import Effects, Ruling
from lockgate.policy.policy import Policy
from lockgate.policy.rules import _REMEMBERED, CompiledRules
from lockgate.testing.builders import facts_of, policy_of

MANY = 40


def chain(more: str = "") -> str:
    return "".join(
        f'[[mail_flow_rule]]\nname = "r{n}"\npriority = {n}\nrecipient_domain_is = ["nola.contoso.com"]\n'
        f'route_message_outbound_connector = "{"NOLA" if n % 2 else "HQ"}"\n{more}'
        for n in range(MANY)
    )


def ruling_of(policy: Policy, *to: str, depth: Depth = Depth.LIVE) -> Ruling:
    return settled(policy, facts_of("x@sender.test", *to), None, Point.DATA, depth=depth)[1]


def rule_steps(ruling: Ruling, number: int = 0) -> list:
    return [step for step in ruling.recipients[number].steps if step.stage == "regulate"]


def test_what_is_remembered_is_what_is_found_out() -> None:
    text = BASE + NOLA + HQ + chain()
    policy = policy_of(text)
    first = ruling_of(policy, "rosa@nola.contoso.com")
    assert policy.of("contoso").rules.courses
    again = ruling_of(policy, "rosa@nola.contoso.com")
    assert again == first == ruling_of(policy_of(text), "rosa@nola.contoso.com")
    assert [step.subject for step in rule_steps(first)] == [f"rule r{n}" for n in range(MANY)]
    assert fates(first) == ["-> contoso/NOLA rosa@nola.contoso.com"]
    assert rule_steps(first)[1].effect == "goes by connector NOLA"


def test_every_recipient_has_an_explanation_of_its_own() -> None:
    policy = policy_of(BASE + NOLA + HQ + chain())
    ruling = ruling_of(policy, "rosa@nola.contoso.com", "ben@nola.contoso.com", "sue@below.nola.contoso.com")
    for number, name in enumerate(("rosa@nola.contoso.com", "ben@nola.contoso.com", "sue@below.nola.contoso.com")):
        steps = rule_steps(ruling, number)
        assert len(steps) == MANY
        assert {step.recipient for step in steps} == {name}
    assert rule_steps(ruling, 1)[0].because == "the recipient's domain is nola.contoso.com"
    assert rule_steps(ruling, 2)[0].because == "below.nola.contoso.com is below nola.contoso.com"


def test_the_full_explanation_is_remembered_apart_from_the_live_one() -> None:
    exception = 'except_if_recipient_domain_is = ["no.nola.contoso.com"]\n'
    policy = policy_of(BASE + NOLA + HQ + chain(exception))
    for _ in range(2):
        live = ruling_of(policy, "rosa@no.nola.contoso.com")
        full = ruling_of(policy, "rosa@no.nola.contoso.com", depth=Depth.FULL)
        assert rule_steps(live) == []
        assert len(rule_steps(full)) == MANY
        assert rule_steps(full)[0].because.startswith("exception: ")
        assert fates(live) == fates(full)


def test_a_rule_that_ends_the_others_ends_them_in_memory_too() -> None:
    policy = policy_of(BASE + NOLA + HQ + chain("stop_rule_processing = true\n"))
    for _ in range(2):
        assert len(rule_steps(ruling_of(policy, "rosa@nola.contoso.com"))) == 1


def test_the_memory_stays_small() -> None:
    rules = CompiledRules(())
    for number in range(10 * _REMEMBERED):
        rules.remember((f"d{number}.test", Effects(), 0), (Effects(), ()))
        assert 0 < len(rules.courses) <= _REMEMBERED
    assert (f"d{number}.test", Effects(), 0) in rules.courses


@pytest.mark.parametrize("by_domain", [True, False])
def test_a_rule_that_looks_at_anything_else_is_run_each_time(by_domain: bool) -> None:
    import dataclasses

    policy = policy_of(BASE + NOLA + HQ + chain())
    seen: list[Address] = []
    mine = policy.of("contoso")
    last = mine.rules.all[-1]

    def test(case, recipient):
        seen.append(recipient)
        return last.when[0](case, recipient)

    rules = (*mine.rules.all[:-1], dataclasses.replace(last, when=(test,), by_domain=by_domain))
    mine = dataclasses.replace(mine, rules=CompiledRules(rules))
    policy = dataclasses.replace(policy, organisations={"contoso": mine})
    for _ in range(3):
        ruling_of(policy, "rosa@nola.contoso.com")
    assert len(seen) == (1 if by_domain else 3)
