"""A condition sees the header as earlier rules left it, knows what it cannot know, and is told from its negation."""

import pytest

from catalog.test_kinds import CONDITIONS, FALSE, KEPT, RULE, THE_OTHER_WAY_ROUND, TRUE, ran
from lockgate.mail.findings import Unknown
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.headers import message_of
from lockgate.mail.ruling import Hit
from lockgate.policy.kinds import InContext
from lockgate.policy.reading import Context
from lockgate.policy.rules import no, yes
from policies import policy

ALL = [kind for kind in CONDITIONS if kind not in KEPT]
"""Without what is kept of Exchange's rules and never matches."""
every_condition = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)

FIELDS = [(name, value) for name, value in TRUE[0].facts.message.fields if name.lower() != "content-type"]
"""The header of the message that every example is true of."""


def cases_of(kind):
    """A case that the example is true of, and one that it is not true of."""
    return (FALSE, TRUE) if kind.name in THE_OTHER_WAY_ROUND else (TRUE, FALSE)


def as_if_it_had_come_so(case, octets):
    """The case, and its message, with these header fields for those it had."""
    body = octets.partition(b"\r\n\r\n")[2]
    kept = b"Content-Type: text/plain; charset=utf-8\r\n"
    head = "".join(f"{name}: {value}\r\n" for name, value in FIELDS).encode() + kept
    message = message_of("id", head + b"\r\n", case.facts.message.size, "here")
    return case._replace(facts=type(case.facts)(case.facts.at, case.facts.connection, case.facts.envelope,
                                                case.facts.recipients, message)), head + b"\r\n" + body  # fmt: skip


@every_condition
def test_what_an_earlier_rule_wrote_is_what_a_later_one_sees(kind):
    case, recipient, octets, people = FALSE
    edits = tuple(HeaderEdit(Change.SET, name, value) for name, value in FIELDS)
    edited = ran(kind, case._replace(edits=edits), recipient, octets, people)
    came, whole = as_if_it_had_come_so(case, octets)
    assert edited.hit is ran(kind, came, recipient, whole, people).hit


def test_the_edits_matter_to_some_conditions_and_not_to_others():
    case, recipient, octets, people = FALSE
    edits = tuple(HeaderEdit(Change.SET, name, value) for name, value in FIELDS)
    after = {kind.name: ran(kind, case._replace(edits=edits), recipient, octets, people).hit for kind in ALL}
    assert after["subject_contains_words"] is after["header_matches_patterns"] is Hit.YES
    assert after["message_size_over"] is after["recipient_domain_is"] is Hit.NO


@every_condition
def test_what_cannot_be_found_out_is_neither_a_hit_nor_a_miss(kind):
    case, recipient, _, _ = cases_of(kind)[0]
    value = kind.model.model_validate(kind.example)
    context = Context(policy().domains)
    test = value.compile_in(context, RULE) if isinstance(value, InContext) else value.compile()
    context.seal()
    asks = (*context.asks, *test(case, recipient).asks)
    for _ in range(10):
        silence = dict.fromkeys(asks, Unknown("the wind is too strong"))
        case = case._replace(facts=case.facts.learn(silence))
        asks = test(case, recipient).asks
    seen = test(case, recipient)
    assert seen.hit is Hit.YES or (seen.hit is Hit.UNKNOWN and "wind" in seen.because), seen


def told_apart(hit, miss):
    assert (hit.hit, miss.hit) == (Hit.YES, Hit.NO)


@every_condition
def test_a_condition_that_says_the_opposite_is_found(kind):
    def negated(seen):
        return no(seen.because) if seen.hit is Hit.YES else yes(seen.because)

    hit, miss = (ran(kind, *case) for case in cases_of(kind))
    told_apart(hit, miss)
    with pytest.raises(AssertionError):
        told_apart(negated(hit), negated(miss))
