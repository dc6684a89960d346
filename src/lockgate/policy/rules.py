"""Compiled mail flow rules, and what conditions and actions are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import AnyRecipient, Question
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.ruling import Effects, Hit, RuleHit, Standing
from lockgate.policy.tries import DomainMap


class Case(NamedTuple):
    """What a condition may look at: the facts, what the stages concluded of this recipient so far, what earlier
    rules did to the header of its copy, and its address as it was sent.
    """

    facts: Facts
    standing: Standing
    edits: tuple[HeaderEdit, ...] = ()
    original: Address | None = None


class Seen(NamedTuple):
    """What a condition saw: whether it hit, and why, as the rest of a sentence; `asks` is what it has to know first.

    `for_good` tells that what is unknown stays unknown, however often it is asked: no outage, but a limit.
    """

    hit: Hit
    because: str
    asks: tuple[Question, ...] = ()
    for_good: bool = False


def yes(because: str) -> Seen:
    """It hit."""
    return Seen(Hit.YES, because)


def no(because: str) -> Seen:
    """It did not hit."""
    return Seen(Hit.NO, because)


def unknown(because: str, *asks: Question) -> Seen:
    """It cannot be told; neither a hit nor a miss, and its negation is unknown too. `asks` would tell."""
    return Seen(Hit.UNKNOWN, because, asks)


def unanswerable(because: str) -> Seen:
    """It can never be told of this message; the rule's rule_error_action says what follows."""
    return Seen(Hit.UNKNOWN, because, for_good=True)


RecipientTest = Callable[[Case, Address], Seen]
"""Looks at the case for one recipient (its address after resolving)."""

Search = Callable[..., tuple[str, str] | None]
"""Looks through texts: the first needle that is there, as it was written, and the text that has it."""

Change = Callable[[Effects], Effects]
"""What an action does, as data for the stages that carry it out."""

Find = Callable[[Case], "Change | Seen"]
"""What an action does that has to know more of the case: the change, or what is unknown (never a hit or a miss)."""


_NAMELESS = RuleHit("")


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to run: all of `when` must hit and none of `unless`.

    `domains` are the only recipient domains (with all below them) for which it can match; None is no bound.
    `defer_on_unknown` is rule_error_action = defer; it acts from `begins` to `ends` (seconds since the epoch, 0: no
    bound). `then` are its actions; with `audit` it carries out `even_so` alone, and is told of the others. `finds` are
    actions that have to know more of the case. `hit` is what is told where it applies. `subject` names the rule in
    explanations; `simple` tells that it has one condition and no exception, `by_domain` that whether it applies and
    what it does follows from the recipient's domain alone.
    """

    name: str
    priority: int
    enabled: bool
    when: tuple[RecipientTest, ...] = ()
    unless: tuple[RecipientTest, ...] = ()
    then: tuple[Change, ...] = ()
    stop: bool = False
    domains: tuple[str, ...] | None = None
    defer_on_unknown: bool = False
    by_domain: bool = False
    audit: bool = False
    begins: float = 0.0
    ends: float = 0.0
    even_so: tuple[Change, ...] = ()
    finds: tuple[Find, ...] = ()
    hit: RuleHit = _NAMELESS
    subject: str = field(init=False, repr=False, compare=False)
    simple: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", f"rule {self.name}")
        object.__setattr__(self, "simple", len(self.when) == 1 and not (self.unless or self.begins or self.ends))


class Applied(NamedTuple):
    """A rule that was looked at: all of its step in the explanation but the recipient."""

    subject: str
    hit: Hit
    because: str
    effect: str
    rule: RuleHit


Course = tuple[Effects, tuple[Applied, ...]]
"""What became of the effects in the course of the rules, and the rules that are told of."""

_REMEMBERED = 16
"""Courses kept for one organisation; when there are more, it is begun anew."""


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """The rules of one organisation in priority order, found by recipient domain.

    `asks` are the questions that only the message itself can answer, `searches` what is looked for in its text by the
    digest of the needles (mail/findings.py, `InText`), `among` what is looked for in the addresses of all recipients.
    `notes` are the texts of notifications by the name of the rule that has one.
    `courses` remembers how long chains of rules go of which each follows from the recipient's domain alone. It is a
    memory of pure results, so forgetting it changes nothing.
    """

    all: tuple[CompiledRule, ...] = ()
    asks: tuple[Question, ...] = ()
    searches: Mapping[str, Search] = field(default_factory=dict)
    among: Mapping[AnyRecipient, Search] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    courses: dict[tuple[object, ...], Course] = field(init=False, repr=False, compare=False, default_factory=dict)
    _anywhere: tuple[CompiledRule, ...] = field(init=False, repr=False, compare=False)
    _by_domain: DomainMap[tuple[CompiledRule, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        active = [rule for rule in self.all if rule.enabled]
        found: dict[str, list[CompiledRule]] = {}
        for rule in active:
            for domain in dict.fromkeys(rule.domains or ()):
                found.setdefault(f"*.{domain}", []).append(rule)
        object.__setattr__(self, "_anywhere", tuple(rule for rule in active if rule.domains is None))
        object.__setattr__(self, "_by_domain", DomainMap((key, tuple(rules)) for key, rules in found.items()))

    def could_match(self, recipient_domain: str) -> tuple[CompiledRule, ...]:
        """The enabled rules that could match a recipient of this domain (A-label), in priority order.

        The cost grows with the rules returned, not with the rules there are.
        """
        groups = self._by_domain.every(recipient_domain)
        if not groups:
            return self._anywhere
        if len(groups) == 1 and not self._anywhere:
            return groups[0]
        merged = {id(rule): rule for group in (self._anywhere, *groups) for rule in group}
        return tuple(sorted(merged.values(), key=_place))

    def remember(self, key: tuple[object, ...], course: Course) -> None:
        """Keep a course; the memory stays small whatever domains are written to."""
        if len(self.courses) >= _REMEMBERED:
            self.courses.clear()
        self.courses[key] = course


def _place(rule: CompiledRule) -> int:
    return rule.priority
