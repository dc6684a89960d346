"""Rules that others undo: never reached because an earlier one ends the rules, or redirecting in a circle.

Specification 1.15.1 and 1.15.9; the order is that of decision/regulate.py, circles are those that decision/derive.py
refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lockgate.policy.catalog import EXCEPTION, Catalog
from lockgate.policy.checks import Report
from lockgate.policy.documents import Written
from lockgate.policy.groups import said_in
from lockgate.policy.linter.implied import implies
from lockgate.policy.objects.rules import EITHER, EXCEPT_IF_EITHER, MailFlowRule, groups_of

_Rule = Written[MailFlowRule]

ENDS = ("reject_message", "quarantine", "delete_message", "redirect_message_to")
"""Actions after which no later rule is looked at."""

_LEAVE_ALONE = frozenset((
    *ENDS, "route_message_outbound_connector", "route_message_outbound_require_tls", "blind_copy_to",
    "generate_incident_report", "generate_notification",
))  # fmt: skip
"""Actions that change nothing of what a later rule sees."""

_LOOKED_AT = 20
"""So many earlier rules that end the rules are compared with each later one."""

_NOT_COMPARED = frozenset((EITHER, EXCEPT_IF_EITHER, "activation_date", "expiry_date"))
"""Keys of rules of which is not asked whether they match all that a later one matches."""


class _Ender(NamedTuple):
    """A rule that ends the rules: its conditions and exceptions by key, and how many changes came before it."""

    written: _Rule
    conditions: frozenset[str]
    changed: int


def lint_order(ordered: Iterable[_Rule], catalog: Catalog, report: Report) -> None:
    """Rules that are never reached; `ordered` are the rules of one organisation that act, in their order."""
    enders: list[_Ender] = []
    changed = 0
    for written in ordered:
        said = frozenset(said_in(written.value))
        first = next((ender for ender in enders if _reaches_all(ender, written.value, said, changed)), None)
        if first is not None:
            _shadowed(written, first.written, report)
        elif not _ends(written.value):
            changed += any(key in catalog.actions and key not in _LEAVE_ALONE for key in said)
        elif not said & _NOT_COMPARED and len(enders) < _LOOKED_AT:  # what it edits, no later rule sees
            conditions = frozenset(key for key in said if key.removeprefix(EXCEPTION) in catalog.conditions)
            enders.append(_Ender(written, conditions, changed))


def _shadowed(written: _Rule, first: _Rule, report: Report) -> None:
    rule, earlier = written.value, first.value
    report.doubtful(
        written,
        ("name", "priority", "organisation"),
        f"rule '{rule.name}' is never reached: '{earlier.name}' comes first, matches all that it matches, and ends the "
        "rules",
        why="what it should do is never done, and nothing tells of it",
        mend=f"put it before '{earlier.name}' (`lockgate rule move`), narrow that one, or remove one of the two",
    )


def _ends(rule: MailFlowRule) -> bool:
    return rule.stop_rule_processing or any(getattr(rule, key, None) is not None for key in ENDS)


def _reaches_all(ender: _Ender, later: MailFlowRule, said: frozenset[str], changed: int) -> bool:
    """Whether whatever the later rule matches was matched by the earlier one.

    Both look at the same message only if nothing between them changes it; a rule without conditions matches anyhow.
    """
    if not ender.conditions:
        return True
    earlier = ender.written.value
    if ender.changed != changed or not ender.conditions <= said or not _alike(earlier, later):
        return False
    return all(_implied(key, earlier, later) for key in ender.conditions)


def _alike(earlier: MailFlowRule, later: MailFlowRule) -> bool:
    """Whether the conditions of both look at the same addresses, and what can never be told means the same."""
    keys = ("sender_address_location", "recipient_address_type", "rule_error_action")
    return all(getattr(earlier, key) == getattr(later, key) for key in keys)


def _implied(key: str, earlier: MailFlowRule, later: MailFlowRule) -> bool:
    """Whether a hit of the later rule's condition is one of the earlier's; of exceptions, the other way round."""
    mine, theirs = getattr(earlier, key), getattr(later, key)
    name = key.removeprefix(EXCEPTION)
    return implies(name, theirs, mine) if name == key else implies(name, mine, theirs)


# --- redirects --------------------------------------------------------------------------------------------------------


class _Way(NamedTuple):
    """Where a rule redirects the mail for an address, and what else it asks for: conditions and exceptions by key."""

    written: _Rule
    address: str
    targets: frozenset[str]
    asks: frozenset[tuple[str, str]]


def lint_redirects(rules: Iterable[_Rule], catalog: Catalog, report: Report) -> None:
    """Redirects to whom it is for anyhow, and those that lead back; `rules` are those that act."""
    found = [way for written in rules for way in _ways(written, catalog)]
    for way in found:
        if way.targets == {way.address}:
            _vain(way.written, way.address, report)
    told: set[str] = set()
    for asks in dict.fromkeys(way.asks for way in found):
        ways: dict[str, tuple[_Rule, frozenset[str]]] = {}
        for way in found:
            if way.asks <= asks:  # whatever matches the one matches the other
                ways.setdefault(way.address, (way.written, way.targets))
        for start in ways:
            circle = _circle(start, ways)
            if len(circle) > 1 and told.isdisjoint(circle):
                told |= set(circle)
                _circles(circle, ways, report)


def _ways(written: _Rule, catalog: Catalog) -> Iterator[_Way]:
    """By address in sent_to, which may stand in a group that is enough."""
    rule = written.value
    redirect = getattr(rule, "redirect_message_to", None)
    if redirect is None:
        return
    targets = frozenset(text.casefold() for text in redirect.root)
    groups = [group for key, _, group in groups_of(rule) if key == EITHER and not any(True for _ in groups_of(group))]
    whole = [] if any(True for _ in groups_of(rule)) else [(rule,)]
    apart = [(rule, group) for group in groups] if getattr(rule, EXCEPT_IF_EITHER) is None else []
    for holders in (*whole, *apart):
        asked = [(key, getattr(one, key)) for one in holders for key in said_in(one) if _is_test(key, catalog)]
        people = [value.root for key, value in asked if key == "sent_to"]
        asks = frozenset((key, value.model_dump_json()) for key, value in asked if key != "sent_to")
        for text in people[0] if len(people) == 1 else ():
            yield _Way(written, text.casefold(), targets, asks)


def _is_test(key: str, catalog: Catalog) -> bool:
    return key.removeprefix(EXCEPTION) in catalog.conditions


def _vain(written: _Rule, text: str, report: Report) -> None:
    report.doubtful(
        written,
        ("redirect_message_to", "sent_to"),
        f"rule '{written.value.name}' redirects the mail of {text} to {text}: nothing is changed",
        why="the mail goes where it would go anyhow",
        mend="another address, or leave the address out of sent_to",
    )


def _circle(start: str, ways: dict[str, tuple[_Rule, frozenset[str]]]) -> list[str]:
    """The addresses from `start` on whose mail goes to one other only, if they lead back to it; [] if they do not."""
    seen: list[str] = []
    here = start
    while here in ways and here not in seen:
        targets = ways[here][1]
        if len(targets) != 1:
            return []  # another one keeps a copy
        seen.append(here)
        (here,) = targets
    return seen if here == start else []


def _circles(circle: list[str], ways: dict[str, tuple[_Rule, frozenset[str]]], report: Report) -> None:
    path = " -> ".join([*circle, circle[0]])
    for address in circle:
        written = ways[address][0]
        report.doubtful(
            written,
            ("redirect_message_to", "sent_to"),
            f"rule '{written.value.name}' redirects in a circle: {path}",
            why="a message to all of them is refused (5.7.128), for nobody keeps it; mail to one goes to the next",
            mend="let one of them keep a copy: blind_copy_to in the place of redirect_message_to",
        )
