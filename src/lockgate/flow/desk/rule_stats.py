"""Mail flow rules at work, at the desk: how often each was hit, by which messages, and what it costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.rules import RuleStats
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Nothing, check_organisation
from lockgate.flow.validated import when
from lockgate.mail.rule_hits import RuleHits, RuleMode, joined
from lockgate.policy.documents import Written
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.policy import Policy
from lockgate.policy.rules import CompiledRule

Key = tuple[str, str]
"""Organisation and name of a rule."""

GONE = "no more"
"""The state of a rule that was removed or has another name now."""


class RuleStatsDesk(msgspec.Struct, frozen=True):
    """Answers `rule stats`. `counted` takes what the workers have counted by now (raising Unavailable)."""

    counted: Callable[[], Awaitable[Sequence[RuleHits]]]
    policy: Callable[[], Policy]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {RuleStats: Handler(Right.POLICY_VIEW, self.stats)}

    async def stats(self, request: RuleStats, caller: Caller) -> Answer:
        """Every rule in force in its order, then those that are no more and were hit once."""
        counted, policy = await self.counted(), self.policy()
        check_organisation(request.organisation, [*policy.organisations, *(one.organisation for one in counted)])
        rows = stats_of(counted, policy, request.organisation)
        if request.name:
            rows = [row for row in rows if row["name"] == request.name]
            if not rows:
                raise Nothing(f"there is no mail flow rule '{request.name[:80]}', and none of that name was ever hit")
        return Answer(result=rows)


def stats_of(counted: Iterable[RuleHits], policy: Policy, organisation: str = "") -> list[dict[str, Any]]:
    """One row a rule, as docs/replay.md describes it."""
    found: dict[Key, dict[RuleMode, RuleHits]] = {}
    for one in counted:
        found.setdefault((one.organisation, one.rule), {})[one.mode] = one
    there = {
        (name, rule.name): rule
        for name, mine in policy.organisations.items()
        for rule in sorted(mine.rules.all, key=lambda one: one.priority)
    }
    keys = [*there, *sorted(key for key in found if key not in there)]
    return [_row(key, there.get(key), found.get(key, {})) for key in keys if organisation in ("", key[0])]


def _row(key: Key, rule: CompiledRule | None, counted: Mapping[RuleMode, RuleHits]) -> dict[str, Any]:
    organisation, name = key
    nothing = RuleHits(organisation, name, RuleMode.ENFORCED)
    acted, told = counted.get(RuleMode.ENFORCED, nothing), counted.get(RuleMode.AUDIT, nothing)
    timed, last = acted.timed + told.timed, max(acted.last, told.last)
    firsts = [one.first for one in (acted, told) if one.first]
    return {
        "organisation": organisation,
        "name": name,
        "state": GONE if rule is None else "enabled" if rule.enabled else "disabled",
        "mode": "" if rule is None else RuleMode.AUDIT if rule.audit else RuleMode.ENFORCED,
        "hits": acted.messages + told.messages,
        "enforced": {"messages": acted.messages, "recipients": acted.recipients},
        "audit": {"messages": told.messages, "recipients": told.recipients},
        "unknown": acted.unknown + told.unknown,
        "first_hit": when(min(firsts)) if firsts else "",
        "last_hit": when(last) if last else "",
        "microseconds": round((acted.nanoseconds + told.nanoseconds) / timed / 1000, 2) if timed else None,
        "timed": timed,
        "samples": [
            {"id": message, "at": when(at)} for at, message in reversed(joined(acted.samples, told.samples))
        ],
    }


def notes_of(written: Written[Any], counted: Mapping[Key, tuple[int, float]]) -> dict[str, Any]:
    """What `rule list` and `rule show` say of hits, beside what the documents say; nothing of other objects.

    `counted` has messages hit and the time of the last hit.
    """
    rule = written.value
    if not isinstance(rule, MailFlowRule):
        return {}
    hits, last = counted.get((rule.organisation, rule.name), (0, 0.0))
    return {"hits": hits, "last_hit": when(last) if last else ""}
