"""What a policy changes about mail that was judged before: counted in groups, by rule and by sender, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

EXAMPLES = 3
"""Messages named as an example of each thing that is told."""

MOST_GROUPS = 500
"""Kinds of change told apart; what is beyond is counted as one."""

MOST_SENDERS = 5_000
"""Domains of senders told apart."""

TOLD_SENDERS = 100
"""Domains of senders that are told, those with most changes."""

OTHERS = "others"


class Example(msgspec.Struct, frozen=True):
    """One recipient of one message ("": everybody)."""

    id: str
    recipient: str


class Group(msgspec.Struct):
    """Recipients that fared alike before and would fare alike now; of doubts `before` is why."""

    before: str
    now: str
    count: int = 0
    examples: list[Example] = []

    def add(self, example: Example) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class RuleChange(msgspec.Struct):
    """What changes about one rule: recipients it newly hits, hits no longer, of whom it cannot be told whether it does,
    and those who fare otherwise with the rule having a part in it.
    """

    organisation: str
    rule: str
    newly: int = 0
    no_longer: int = 0
    unknown: int = 0
    changed: int = 0
    newly_examples: list[Example] = []
    no_longer_examples: list[Example] = []


class SenderChange(msgspec.Struct):
    """What changes about mail from one domain ("<>": the null sender)."""

    domain: str
    changed: int = 0
    unknown: int = 0
    examples: list[Example] = []


class Compared(msgspec.Struct):
    """Everything that was found; can be kept and gone on with."""

    messages: int = 0
    recipients: int = 0
    changed: int = 0
    unknown: int = 0
    unreadable: int = 0
    own_reports: int = 0
    groups: dict[str, Group] = {}
    doubts: dict[str, Group] = {}
    rules: dict[str, RuleChange] = {}
    senders: dict[str, SenderChange] = {}

    def change(self, before: str, now: str, key: str, domain: str, example: Example) -> None:
        """One recipient that would fare otherwise; `key` is the same for changes that are alike."""
        self.changed += 1
        group(self.groups, key, before, now).add(example)
        sender = self.sender(domain)
        sender.changed += 1
        note(sender.examples, example)

    def doubt(self, before: str, why: str, domain: str, example: Example) -> None:
        """One recipient of whom the record cannot say how it would fare."""
        self.unknown += 1
        group(self.doubts, why, before, why).add(example)
        self.sender(domain).unknown += 1

    def rule(self, organisation: str, name: str) -> RuleChange:
        """What is counted of a rule."""
        key = f"{organisation}/{name}"
        one = self.rules.get(key)
        if one is None:
            one = self.rules[key] = RuleChange(organisation, name)
        return one

    def sender(self, domain: str) -> SenderChange:
        """What is counted of a domain."""
        one = self.senders.get(domain)
        if one is None:
            key = domain if len(self.senders) < MOST_SENDERS else OTHERS
            one = self.senders.setdefault(key, SenderChange(key))
        return one

    def told(self) -> dict[str, Any]:
        """All of it as docs/replay.md describes it, the largest first."""
        plain: Mapping[str, Any] = msgspec.to_builtins(self)
        rules = sorted(plain["rules"].values(), key=lambda one: (-one["changed"], -one["newly"] - one["no_longer"]))
        senders = sorted(plain["senders"].values(), key=lambda one: (-one["changed"], -one["unknown"]))
        doubts = [
            {"why": one["now"], "count": one["count"], "examples": one["examples"]}
            for one in _largest(plain["doubts"].values())
        ]
        return {
            **plain,
            "groups": _largest(plain["groups"].values()),
            "doubts": doubts,
            "rules": rules,
            "senders": senders[:TOLD_SENDERS],
        }


def group(groups: dict[str, Group], key: str, before: str, now: str) -> Group:
    """The group with this key; beyond the bound one for all others."""
    there = groups.get(key)
    if there is None:
        if len(groups) >= MOST_GROUPS:
            return groups.setdefault(OTHERS, Group("many different things", "many different things"))
        there = groups[key] = Group(before, now)
    return there


def note(examples: list[Example], example: Example) -> None:
    """Keep it if there are few yet."""
    if len(examples) < EXAMPLES:
        examples.append(example)


def _largest(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(groups, key=lambda one: -one["count"])
