"""Rules that others undo: never reached because an earlier one ends the rules, or redirecting in a circle.

Specification 1.15.1 and 1.15.9; the order is that of decision/regulate.py, circles are those that decision/derive.py
refuses.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from lockgate.policy.catalog import EXCEPTION, Catalog
from lockgate.policy.checks import Report
from lockgate.policy.documents import Written
from lockgate.policy.linter.implied import implies
from lockgate.policy.objects.rules import MailFlowRule, groups_of

_Rule = Written[MailFlowRule]

ENDS = ("reject_message", "quarantine", "delete_message", "redirect_message_to")
"""Actions after which no later rule is looked at."""

_FOR_SURE = ("reject_message", "quarantine", "delete_message")
"""Those that always end the rules; a redirect to whom an earlier rule added does not."""

_LEAVE_ALONE = frozenset(
    (*ENDS, "route_message_outbound_connector", "route_message_outbound_require_tls", "blind_copy_to")
)
"""Actions that change nothing of what a later rule sees."""

_LOOKED_AT = 50
"""So many earlier rules that end the rules are compared with each later one."""


def lint_order(ordered: Iterable[_Rule], catalog: Catalog, report: Report) -> None:
    """Rules that are never reached; `ordered` are the rules of one organisation that act, in their order."""
    enders: list[_Rule] = []
    changed = 0
    since: list[int] = []
    for written in ordered:
        first = next(
            (
                ender
                for ender, then in zip(enders, since, strict=True)
                if _reaches_all(ender.value, written.value, catalog, untouched=then == changed)
            ),
            None,
        )
        if first is not None:
            _shadowed(written, first, report)
        elif not _ends(written.value):
            changed += _edits(written.value, catalog)
        elif not _dated(written.value) and len(enders) < _LOOKED_AT:  # what it edits, no later rule sees
            enders.append(written)
            since.append(changed)


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
    return rule.stop_rule_processing or any(getattr(rule, key, None) is not None for key in _FOR_SURE)


def _dated(rule: MailFlowRule) -> bool:
    return rule.activation_date is not None or rule.expiry_date is not None


def _edits(rule: MailFlowRule, catalog: Catalog) -> bool:
    """Whether it may change what a later rule sees of the message."""
    return any(getattr(rule, key) is not None for key in catalog.actions if key not in _LEAVE_ALONE)


def _reaches_all(earlier: MailFlowRule, later: MailFlowRule, catalog: Catalog, *, untouched: bool) -> bool:
    """Whether whatever the later rule matches was matched by the earlier one.

    Both look at the same message only while it is `untouched` between them; a rule without conditions matches anyhow.
    """
    if any(True for _ in groups_of(earlier)):
        return False
    when = [name for name in catalog.conditions if getattr(earlier, name) is not None]
    unless = [name for name in catalog.conditions if getattr(earlier, EXCEPTION + name) is not None]
    if not when and not unless:
        return True
    return untouched and _alike(earlier, later) and all(
        _implied(name, later, earlier, "") for name in when
    ) and all(_implied(name, earlier, later, EXCEPTION) for name in unless)


def _alike(earlier: MailFlowRule, later: MailFlowRule) -> bool:
    """Whether the conditions of both look at the same addresses."""
    keys = ("sender_address_location", "recipient_address_type")
    return all(getattr(earlier, key) == getattr(later, key) for key in keys)


def _implied(name: str, one: BaseModel, other: BaseModel, prefix: str) -> bool:
    """Whether both have it, and a hit of the one is a hit of the other."""
    first, second = getattr(one, prefix + name), getattr(other, prefix + name)
    return first is not None and second is not None and implies(name, first, second)


# --- redirects --------------------------------------------------------------------------------------------------------


def lint_redirects(rules: Iterable[_Rule], report: Report) -> None:
    """Redirects to whom it is for anyhow, and those that lead back; `rules` are those that act."""
    ways: dict[str, tuple[_Rule, frozenset[str]]] = {}
    for written in rules:
        redirect, people = (getattr(written.value, key, None) for key in ("redirect_message_to", "sent_to"))
        if redirect is None or people is None:
            continue
        targets = frozenset(text.casefold() for text in redirect.root)
        for text in people.root:
            if targets == {text.casefold()}:
                _vain(written, text, report)
            ways.setdefault(text.casefold(), (written, targets))
    told: set[str] = set()
    for start in ways:
        circle = _circle(start, ways)
        if len(circle) > 1 and told.isdisjoint(circle):
            told |= set(circle)
            _circles(circle, ways, report)


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
