"""Compiled mail flow rules, and what conditions and actions are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import AnyRecipient, Question
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.ruling import Effects, Hit, RuleHit, Standing
from lockgate.policy.clues import ClueIndex, Look
from lockgate.policy.found import UNBOUND, Bounds, RuleIndex, Sender, in_order
from lockgate.policy.text import Patience


class Case(NamedTuple):
    """What a condition may look at: the facts, what the stages concluded of this recipient so far, what earlier
    rules did to the header of its copy, and its address as it was sent. `handed_back` tells that header fields in our
    name may be ours, because an own server hands the message back; without it nobody sees them.
    """

    facts: Facts
    standing: Standing
    edits: tuple[HeaderEdit, ...] = ()
    original: Address | None = None
    handed_back: bool = False


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


class TextSearch(Protocol):
    """Looks through the text of a message."""

    @property
    def is_slow(self) -> bool:
        """Whether a text can be made so that this takes long."""

    def look(self, texts: tuple[str, ...], patience: Patience, /) -> tuple[str, bool]:
        """The first needle that is there, as it was written, "" for none; and whether one might have been with more
        time.
        """


Change = Callable[[Effects], Effects]
"""What an action does, as data for the stages that carry it out."""

Find = Callable[[Case], "Change | Seen"]
"""What an action does that has to know more of the case: the change, or what is unknown (never a hit or a miss)."""


_NAMELESS = RuleHit("")


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to run: all of `when` must hit and none of `unless`.

    `bounds` are the recipients and senders for which it can match at all, and what has to be in the message.
    `defer_on_unknown` is rule_error_action = defer; it acts from `begins` to `ends` (seconds since the epoch, infinite
    without a bound; `timed` tells that there is one). `then` are its actions; with `audit` it carries out `even_so`
    alone, and is told of the others. `finds` are actions that have to know more of the case. `hit` is what is told
    where it applies. `subject` names the rule in explanations; `simple` tells that it has one condition and no
    exception, `by_domain` that whether it applies and what it does follows from the recipient's domain alone.
    """

    name: str
    priority: int
    enabled: bool
    when: tuple[RecipientTest, ...] = ()
    unless: tuple[RecipientTest, ...] = ()
    then: tuple[Change, ...] = ()
    stop: bool = False
    bounds: Bounds = UNBOUND
    defer_on_unknown: bool = False
    by_domain: bool = False
    audit: bool = False
    begins: float = -math.inf
    ends: float = math.inf
    even_so: tuple[Change, ...] = ()
    finds: tuple[Find, ...] = ()
    hit: RuleHit = _NAMELESS
    subject: str = field(init=False, repr=False, compare=False)
    simple: bool = field(init=False, repr=False, compare=False)
    timed: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", f"rule {self.name}")
        object.__setattr__(self, "timed", self.begins > -math.inf or self.ends < math.inf)
        object.__setattr__(self, "simple", len(self.when) == 1 and not (self.unless or self.timed))


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


def _by_clue(bounds: Bounds) -> bool:
    """Whether what a message says leaves less of a rule than whom it is to or from: addresses leave less, domains more.
    """
    return bool(bounds.clues) and bounds.recipients is None and bounds.senders is None


def _nobody(case: Case) -> tuple[Sender, ...]:
    """Where no rule asks who the sender is."""
    return ()


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """The rules of one organisation in priority order, found by whom they could match (found.py) and by what a message
    says (clues.py).

    `asks` are the questions that only the message itself can answer, `searches` what is looked for in its text by the
    digest of the needles (mail/findings.py, `InText`), `among` what is looked for in the addresses of all recipients.
    `notes` are the texts of notifications by the name of the rule that has one. `senders` gives whom a message is from,
    in its header and its envelope, `looks` what is there of what rules are found by.
    `courses` remembers how long chains of rules go of which each follows from the recipient's domain alone. It is a
    memory of pure results, so forgetting it changes nothing.
    """

    all: tuple[CompiledRule, ...] = ()
    asks: tuple[Question, ...] = ()
    searches: Mapping[str, TextSearch] = field(default_factory=dict)
    among: Mapping[AnyRecipient, Search] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    senders: Callable[[Case], Iterable[Sender]] = _nobody
    looks: Mapping[str, Look[Case]] = field(default_factory=dict)
    courses: dict[tuple[object, ...], Course] = field(init=False, repr=False, compare=False, default_factory=dict)
    _index: RuleIndex[CompiledRule] = field(init=False, repr=False, compare=False)
    _plain: RuleIndex[CompiledRule] = field(init=False, repr=False, compare=False)
    _clued: ClueIndex[CompiledRule, Case] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        enabled = [rule for rule in self.all if rule.enabled]
        clued = [rule for rule in enabled if _by_clue(rule.bounds)]
        plain = [rule for rule in enabled if not _by_clue(rule.bounds)]
        object.__setattr__(self, "_index", RuleIndex(enabled))
        object.__setattr__(self, "_plain", RuleIndex(plain))
        object.__setattr__(self, "_clued", ClueIndex(clued, self.looks) if clued else None)

    @property
    def by_domain(self) -> bool:
        """Whether it follows from the recipient's domain alone which rules could match."""
        return self._index.by_domain

    def could_match(self, case: Case, recipient: Address) -> tuple[CompiledRule, ...]:
        """The enabled rules that could match this recipient of the case, in priority order."""
        return self._index.could_match(recipient, self.senders(case) if self._index.by_sender else ())

    def likely(self, case: Case, recipient: Address) -> tuple[CompiledRule, ...]:
        """Those of them that could match a message that says what it says now; the others certainly do not."""
        if self._clued is None:
            return self.could_match(case, recipient)
        plain = self._plain.could_match(recipient, self.senders(case) if self._plain.by_sender else ())
        groups = self._clued.found(case, recipient)
        return in_order((plain, *groups)) if groups else plain

    def likely_behind(
        self, rule: CompiledRule, fields: Collection[str], case: Case, recipient: Address
    ) -> tuple[CompiledRule, ...]:
        """Those behind a rule that changed these header fields (lower case) that may be likely now for that; the case
        is as it is now.
        """
        groups = () if self._clued is None else self._clued.found_in_fields(fields, case, recipient)
        return tuple([one for one in in_order(groups) if one.priority > rule.priority]) if groups else ()

    def remember(self, key: tuple[object, ...], course: Course) -> None:
        """Keep a course; the memory stays small whatever domains are written to."""
        if len(self.courses) >= _REMEMBERED:
            self.courses.clear()
        self.courses[key] = course
