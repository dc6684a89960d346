"""Counts which mail flow rules were hit by live mail, and times a few of them; whoever is counted knows nothing of it.

Told of a message once its fate is known. What-if, replay and the shadow judge elsewhere and come by here never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.recipient import RecipientId
from lockgate.mail.rule_hits import RuleMode
from lockgate.mail.ruling import Defer, Hit, Hold, Ruling, Severity, Verdict
from lockgate.policy.policy import Policy
from lockgate.policy.rules import Case, CompiledRule, CompiledRules
from lockgate.seams import Journal

STAGE = "regulate"
_PREFIX = "rule "
_ON_AUDIT = "only told,"

PAUSE = 1.0
"""Seconds between two timings in one worker."""

BUDGET = 0.002
"""Seconds that one timing may take; rules that come too late are timed the next time."""

Subjects = Mapping[str, CompiledRule]
"""The rules of one organisation by what their steps are about."""


class Tally(Protocol):
    """Counts in memory, for one worker; nothing waits or raises (storage/rule_batches.py)."""

    def hit(self, organisation: str, rule: str, mode: RuleMode, at: float, message: str, recipients: int) -> None:
        """One message was hit for so many recipients; without an id the message was counted before."""

    def unknown(self, organisation: str, rule: str, mode: RuleMode, recipients: int) -> None:
        """For so many recipients it could not be told."""

    def took(self, organisation: str, rule: str, mode: RuleMode, nanoseconds: int) -> None:
        """One evaluation for one recipient was timed."""


class Told(NamedTuple):
    """One rule that is told of in a verdict, and what it did, in words.

    `acted`: it may have changed something, which a rule on audit does not. `counts`: the rule wants to be in statistics
    (specification 1.15.9: set_audit_severity).
    """

    rule: str
    hit: Hit
    effect: str = ""
    acted: bool = True
    counts: bool = True


def told_of_rules(verdict: Verdict, known: Container[str] = ()) -> Iterator[Told]:
    """The rules that were applied to a recipient, and those of which it could not be told; the one reader of steps.

    `known` are subjects of rules ("rule NAME"): where only the doubt is told, as by older versions, they say which rule
    is meant.
    """
    for step in verdict.steps:
        if step.stage != STAGE or step.hit is Hit.NO:
            continue
        if step.rule is not None:
            said, counts = step.rule, step.rule.severity is not Severity.DO_NOT_AUDIT
            yield Told(said.rule, step.hit, step.effect, said.mode == "enforce", counts)
        elif step.subject.startswith(_PREFIX):  # recorded by a version that told it in words alone
            yield Told(step.subject[len(_PREFIX) :], step.hit, step.effect, not step.effect.startswith(_ON_AUDIT))
        elif step.because.startswith(_PREFIX) and not _names_doubts(verdict):
            # "rule NAME: why": a name may have a colon, so the known ones decide.
            ends = [n for n, letter in enumerate(step.because) if letter == ":"]
            name = next((step.because[:end] for end in ends if step.because[:end] in known), "")
            if name or ends:
                yield Told((name or step.because[: ends[0]])[len(_PREFIX) :], step.hit)


def _names_doubts(verdict: Verdict) -> bool:
    return any(step.rule is not None and step.hit is Hit.UNKNOWN for step in verdict.steps)


def is_final(verdict: Verdict) -> bool:
    """Whether this recipient is not judged again by itself."""
    match verdict.disposition:
        case None | Defer() | Hold(pending=True):
            return False
    return True


def mode_of(rule: CompiledRule | None) -> RuleMode:
    """How hits of this rule are counted."""
    return RuleMode.AUDIT if rule is not None and rule.audit else RuleMode.ENFORCED


class RuleWatch:
    """Wired once by each worker. `now` gives seconds since the epoch, `ticks` nanoseconds of a clock for durations."""

    def __init__(
        self,
        tally: Tally,
        now: Callable[[], float],
        journal: Journal,
        ticks: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._tally = tally
        self._now = now
        self._journal = journal
        self._ticks = ticks
        self._subjects: dict[str, tuple[CompiledRules, Subjects]] = {}
        self._sample: tuple[CompiledRules, Facts, Verdict] | None = None
        self._turn = 0

    def judged(self, policy: Policy, facts: Facts, ruling: Ruling, *, over: bool = True) -> None:
        """The message was accepted or refused; if it is not `over`, the sender will come again. Never raises."""
        try:
            verdicts = ruling.recipients
            self._count(policy, facts, [v for v in verdicts if is_final(v)] if over else (), frozenset())
            self._doubts(policy, verdicts)
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="counting hits of rules", trouble=trouble)

    def again(
        self, policy: Policy, facts: Facts, ruling: Ruling, before: Ruling, ids: Container[RecipientId]
    ) -> None:
        """Recipients that were put off have been judged again; those counted before are not counted twice."""
        try:
            old = {verdict.recipient: verdict for verdict in before.recipients}
            fresh = [
                v for v in ruling.recipients
                if is_final(v) and ((v.recipient in ids and not is_final(old.get(v.recipient, v)))
                                    or v.recipient not in old)
            ]  # fmt: skip
            counted = frozenset(
                (v.standing.organisation, told.rule)
                for v in old.values() if is_final(v) for told in told_of_rules(v) if told.hit is Hit.YES
            )  # fmt: skip
            self._count(policy, facts, fresh, counted)
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="counting hits of rules", trouble=trouble)

    def _count(
        self, policy: Policy, facts: Facts, verdicts: Iterable[Verdict], counted: Container[tuple[str, str]]
    ) -> None:
        hits: dict[tuple[str, str], int] = {}
        for verdict in verdicts:
            for told in told_of_rules(verdict):
                if told.hit is Hit.YES and told.counts:
                    key = (verdict.standing.organisation, told.rule)
                    hits[key] = hits.get(key, 0) + 1
            if self._sample is None:
                self._keep_sample(policy, facts, verdict)
        message, now = facts.message.id if facts.message is not None else "", self._now()
        for (organisation, rule), recipients in hits.items():
            mode = self._mode(policy, organisation, rule)
            known = "" if (organisation, rule) in counted else message
            self._tally.hit(organisation, rule, mode, now, known, recipients)

    def _doubts(self, policy: Policy, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if not any(step.hit is Hit.UNKNOWN and step.stage == STAGE for step in verdict.steps):
                continue
            organisation = verdict.standing.organisation
            known = self._known(policy, organisation)
            for rule in dict.fromkeys(t.rule for t in told_of_rules(verdict, known) if t.hit is Hit.UNKNOWN):
                self._tally.unknown(organisation, rule, mode_of(known.get(_PREFIX + rule)), 1)

    def _mode(self, policy: Policy, organisation: str, rule: str) -> RuleMode:
        return mode_of(self._known(policy, organisation).get(_PREFIX + rule))

    def _known(self, policy: Policy, organisation: str) -> Subjects:
        mine = policy.organisations.get(organisation)
        if mine is None:
            return {}
        there = self._subjects.get(organisation)
        if there is None or there[0] is not mine.rules:
            there = self._subjects[organisation] = (mine.rules, {rule.subject: rule for rule in mine.rules.all})
        return there[1]

    # --- time

    def _keep_sample(self, policy: Policy, facts: Facts, verdict: Verdict) -> None:
        mine = policy.organisations.get(verdict.standing.organisation)
        if mine is not None and mine.rules.all and facts.message is not None and not verdict.effects.ruled:
            self._sample = (mine.rules, facts, verdict)

    def time(self) -> None:
        """Run the rules of one message of late once more, alone and by the clock. Takes BUDGET at most; never raises.

        One long test may exceed it, as it did when the message was judged.
        """
        sample, self._sample = self._sample, None
        if sample is None:
            return
        try:
            self._time(*sample)
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="timing rules", trouble=trouble)

    def _time(self, rules: CompiledRules, facts: Facts, verdict: Verdict) -> None:
        recipient = verdict.identity or verdict.target
        case = Case(facts, verdict.standing, original=verdict.recipient.original)
        possible = rules.could_match(case, recipient)
        began = self._ticks()
        for number in range(len(possible)):
            rule = possible[(self._turn + number) % len(possible)]
            if self._ticks() - began > BUDGET * 1e9:
                self._turn = (self._turn + number) % len(possible)
                return
            _run(rule, case, recipient)  # so that none pays for what all of them read
            start = self._ticks()
            _run(rule, case, recipient)
            took = self._ticks() - start
            self._tally.took(verdict.standing.organisation, rule.name, mode_of(rule), took)


def _run(rule: CompiledRule, case: Case, recipient: Address) -> None:
    """Test as far as the judge does: the first condition that is not met, or exception that is, ends it."""
    for test in rule.when:
        if test(case, recipient).hit is Hit.NO:
            return
    for test in rule.unless:
        if test(case, recipient).hit is Hit.YES:
            return
