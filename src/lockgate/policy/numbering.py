"""Priorities of mail flow rules: unique and dense, however a rule is put between the others (specification 1.15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lockgate.policy.documents import Written
from lockgate.policy.editing import Edit, Place
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.ordering import rules_in_order

MOST = 1_000_000
"""What is greater is no priority; the check of documents says so."""


class Numbered(NamedTuple):
    """Where the rule stands now, and what is to be written at the others so that all stand at 0, 1, 2 and so on."""

    place: int
    others: Mapping[Place, Edit]


def is_priority(value: Any) -> bool:
    """Whether a rule can be put there; what is none is left to the check of documents."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def put_between(rules: Sequence[Written[MailFlowRule]], to: int, moving: Written[MailFlowRule] | None) -> Numbered:
    """Put a new rule (or `moving`, one of these) at `to`: those that stand there and behind are shifted.

    `rules` are the organisation's, in the order of writing. Behind the last one is last.
    """
    others = [rule for _, rule in rules_in_order(list(rules)) if rule is not moving]
    place = min(to, len(others))
    numbers = [*range(place), *range(place + 1, len(others) + 1)]
    edits = {
        Place(rule.file, rule.table, rule.index): Edit({"priority": number})
        for number, rule in zip(numbers, others, strict=True)
        if rule.value.priority != number
    }
    return Numbered(place, edits)


def rules_of(rules: Iterable[Written[MailFlowRule]], organisation: str) -> list[Written[MailFlowRule]]:
    """The rules of one organisation in the order of writing."""
    return [rule for rule in rules if rule.value.organisation == organisation]


def priorities_of(rules: Iterable[Written[MailFlowRule]]) -> dict[tuple[str, str], int]:
    """The priority that each rule has, written or not, by organisation and name."""
    grouped: dict[str, list[Written[MailFlowRule]]] = {}
    for rule in rules:
        grouped.setdefault(rule.value.organisation, []).append(rule)
    return {
        (owner, rule.value.name): priority
        for owner, group in grouped.items()
        for priority, rule in rules_in_order(group)
    }
