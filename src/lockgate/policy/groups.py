"""Groups of conditions joined by "or": how they are run, explained, and found by domain.

A rule or a group hits if all its conditions hit, one of its groups does, and no exception hits (Kleene's three values:
what cannot be told decides nothing as long as something else may).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from lockgate.mail.address import Address
from lockgate.mail.ruling import Hit
from lockgate.policy.catalog import EXCEPTION
from lockgate.policy.found import UNBOUND, Bounds
from lockgate.policy.kinds import Bound, ByDomainAlone, InContext, OfAddress
from lockgate.policy.objects.rules import EITHER, MailFlowRule, groups_of
from lockgate.policy.reading import Clued
from lockgate.policy.rules import Case, RecipientTest, Seen, no, yes

if TYPE_CHECKING:
    from lockgate.policy.catalog import Catalog
    from lockgate.policy.reading import Context

_TOLD = 20
"""So many groups of one key are told of when none of them hits."""


class Tests(NamedTuple):
    """The conditions and exceptions of a rule or a group, ready to run, and what is known of them beforehand.

    `bounds` are those of all conditions together, `by_domain` tells that all follows from the recipient's domain.
    """

    when: tuple[RecipientTest, ...]
    unless: tuple[RecipientTest, ...]
    bounds: Bounds
    by_domain: bool


def said_in(holder: BaseModel) -> list[str]:
    """The keys that are written in a rule or a group and have a value, in alphabetical order."""
    return sorted([key for key in holder.model_fields_set if getattr(holder, key) is not None])


def written_in(
    holder: BaseModel, catalog: Catalog, at: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every condition and exception of a rule, those in groups too: the path of its key within the rule, and its value.
    """
    for key in said_in(holder):
        if key.removeprefix(EXCEPTION) in catalog.conditions:
            yield (*at, key), getattr(holder, key)
    for key, place, group in groups_of(holder):
        yield from written_in(group, catalog, (*at, key, place))


def tests_of(holder: BaseModel, rule: MailFlowRule, catalog: Catalog, context: Context, number: str = "") -> Tests:
    """What a rule, or a group of it, tests; `number` is how its groups are called before their own number."""
    conditions = [value for name in catalog.conditions if (value := getattr(holder, name)) is not None]
    exceptions = [value for name in catalog.conditions if (value := getattr(holder, EXCEPTION + name)) is not None]
    as_sent = rule.recipient_address_type == "original"
    tests = [_test(value, rule, context) for value in conditions]
    when = [test for test, _ in tests]
    unless = [_test(value, rule, context)[0] for value in exceptions]
    bounds = functools.reduce(Bounds.both, (bounds for _, bounds in tests), UNBOUND)
    by_domain = not as_sent and all(isinstance(value, ByDomainAlone) for value in (*conditions, *exceptions))
    grouped: dict[str, list[Tests]] = {}
    for key, place, group in groups_of(holder):
        inner = tests_of(group, rule, catalog, context, f"{number}{place + 1}.")
        grouped.setdefault(key, []).append(inner)
    for key, groups in grouped.items():
        (when if key == EITHER else unless).append(_either(tuple(groups), number))
        by_domain = by_domain and all(group.by_domain for group in groups)
        if key == EITHER:  # one of them has to hit
            bounds = bounds.both(functools.reduce(Bounds.either, (group.bounds for group in groups)))
    return Tests(tuple(when), tuple(unless), bounds, by_domain)


def compiled(value: Any, context: Context, rule: MailFlowRule) -> Any:
    """What runs of a condition or an action."""
    return value.compile_in(context, rule) if isinstance(value, InContext) else value.compile()


def _test(value: Any, rule: MailFlowRule, context: Context) -> tuple[RecipientTest, Bounds]:
    """What runs of a condition, and outside of which it never hits."""
    test: RecipientTest = compiled(value, context, rule)
    if rule.recipient_address_type == "original" and isinstance(value, OfAddress):
        return _as_sent(test), UNBOUND
    bounds = value.bounds() if isinstance(value, Bound) else UNBOUND
    return (test.test, bounds._replace(clues=(test.clues,))) if isinstance(test, Clued) else (test, bounds)


def _as_sent(test: RecipientTest) -> RecipientTest:
    """The same test of the address that the recipient was sent to."""
    return lambda case, recipient: test(case, case.original or recipient)


def _either(groups: tuple[Tests, ...], number: str) -> RecipientTest:
    """One group that hits is enough."""

    def test(case: Case, recipient: Address) -> Seen:
        missed: list[str] = []
        doubts: list[Seen] = []
        for place, group in enumerate(groups, 1):
            seen = _all(group, case, recipient)
            told = f"group {number}{place}: {seen.because}"
            if seen.hit is Hit.YES:
                return yes(f"group {number}{place} hits: {seen.because}")
            if seen.hit is Hit.UNKNOWN:
                doubts.append(seen._replace(because=told))
            elif place <= _TOLD:
                missed.append(told)
        if doubts:
            return _unknown(doubts)
        more = f"; and {len(groups) - _TOLD} more" if len(groups) > _TOLD else ""
        return no(f"none of its groups hits ({'; '.join(missed)}{more})")

    return test


def _all(group: Tests, case: Case, recipient: Address) -> Seen:
    """All conditions and no exception; a miss decides whatever else is unknown."""
    hits: list[str] = []
    doubts: list[Seen] = []
    for condition in group.when:
        seen = condition(case, recipient)
        if seen.hit is Hit.NO:
            return seen
        if seen.hit is Hit.UNKNOWN:
            doubts.append(seen)
        hits.append(seen.because)
    for exception in group.unless:
        seen = exception(case, recipient)
        if seen.hit is Hit.YES:
            return no(f"exception: {seen.because}")
        if seen.hit is Hit.UNKNOWN:
            doubts.append(seen._replace(because=f"exception: {seen.because}"))
    return _unknown(doubts) if doubts else yes(", and ".join(hits) or "none of its exceptions hits")


def _unknown(doubts: list[Seen]) -> Seen:
    """What has to be known first is all that is unknown; it stays unknown for good only if all of it does."""
    asks = tuple(dict.fromkeys(question for seen in doubts for question in seen.asks))
    return Seen(Hit.UNKNOWN, doubts[0].because, asks, all(seen.for_good for seen in doubts))
