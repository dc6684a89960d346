"""The order in which the rules of an organisation are looked at (specification 1.15.1)."""

from __future__ import annotations

from lockgate.policy.documents import Written
from lockgate.policy.objects.rules import MailFlowRule


def rules_in_order(rules: list[Written[MailFlowRule]]) -> list[tuple[int, Written[MailFlowRule]]]:
    """Rules with the priority they have: the given one, or after all given ones in the order of writing."""
    given = [rule.value.priority for rule in rules if rule.value.priority is not None]
    last = max(given, default=-1)
    ordered: list[tuple[int, Written[MailFlowRule]]] = []
    for rule in rules:
        if rule.value.priority is None:
            last += 1
            ordered.append((last, rule))
        else:
            ordered.append((rule.value.priority, rule))
    return sorted(ordered, key=lambda pair: pair[0])
