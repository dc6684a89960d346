"""Mail flow rules, compiled: tests of a case, and an index so that cost grows with the rules that could match."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.ruling import Effects, Hit, Standing


class Case(NamedTuple):
    """What a condition may look at."""

    facts: Facts
    standing: Standing


class Seen(NamedTuple):
    """Whether a condition holds, and why, as the rest of a sentence."""

    hit: Hit
    because: str


def yes(because: str) -> Seen:
    """It holds."""
    return Seen(Hit.YES, because)


def no(because: str) -> Seen:
    """It does not hold."""
    return Seen(Hit.NO, because)


def unknown(because: str) -> Seen:
    """It could not be found out."""
    return Seen(Hit.UNKNOWN, because)


RecipientTest = Callable[[Case, Address], Seen]
"""Tests a case for one recipient (its primary address)."""

Change = Callable[[Effects], Effects]
"""What an action adds to the effects."""


class CompiledRule(NamedTuple):
    """One rule. All of `when` and none of `unless` must hold; then all of `then` is done, and `stop` ends the rest.

    `domains` are those below (or at) which a recipient must be for the rule to match at all; None: any recipient.
    """

    name: str
    priority: int
    enabled: bool
    when: tuple[RecipientTest, ...]
    unless: tuple[RecipientTest, ...]
    then: tuple[Change, ...]
    stop: bool
    domains: tuple[str, ...] | None = None


class CompiledRules:
    """The rules of one organisation in order of priority; `all` holds the disabled ones too."""

    __slots__ = ("_anywhere", "_by_domain", "all")

    def __init__(self, rules: Iterable[CompiledRule] = ()) -> None:
        self.all = tuple(sorted(rules, key=lambda rule: (rule.priority, rule.name)))
        anywhere: list[tuple[int, CompiledRule]] = []
        by_domain: dict[str, list[tuple[int, CompiledRule]]] = {}
        for number, rule in enumerate(self.all):
            if not rule.enabled:
                continue
            if rule.domains is None:
                anywhere.append((number, rule))
            for domain in dict.fromkeys(rule.domains or ()):
                by_domain.setdefault(domain, []).append((number, rule))
        self._anywhere = tuple(anywhere)
        self._by_domain = by_domain

    def could_match(self, recipient_domain: str) -> tuple[CompiledRule, ...]:
        """The enabled rules that could match a recipient of this domain, in order of priority."""
        found: list[tuple[int, CompiledRule]] = []
        if self._by_domain:
            by_domain, start = self._by_domain, 0
            while True:
                found.extend(by_domain.get(recipient_domain[start:], ()))
                start = recipient_domain.find(".", start) + 1
                if not start:
                    break
        if not found:
            return tuple([rule for _, rule in self._anywhere])
        numbered = dict(found)
        numbered.update(self._anywhere)
        return tuple([numbered[number] for number in sorted(numbered)])
