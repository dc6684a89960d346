"""Yesterday's mail judged by another policy: who would fare otherwise, before it happens (DESIGN 1.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lockgate.decision.judge import judge
from lockgate.flow.retelling import differences, recorded_of
from lockgate.flow.settle import Ask
from lockgate.flow.simulate import converse
from lockgate.mail.record import Recorder, UnreadableStory
from lockgate.policy.policy import Policy
from lockgate.seams import Keeping

MOST_MESSAGES = 10_000
_EXAMPLES = 3


async def replayed(
    keeping: Keeping,
    recorder: Recorder,
    policy: Policy,
    ask: Ask,
    rows: Iterable[Mapping[str, Any]],
    limit: int,
    organisation: str = "",
) -> dict[str, Any]:
    """Judge the messages and refusals of these trace rows by `policy`.

    What the record does not answer is asked of `ask`. The result has messages and recipients judged, `changed` (how
    many recipients would fare otherwise), `unreadable`, and `groups` of changes: before, now, count and examples.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    told = {"messages": 0, "recipients": 0, "changed": 0, "unreadable": 0, "own_reports": 0}
    for message in list(dict.fromkeys(str(row["id"]) for row in rows))[:limit]:
        found = await keeping.trace_show(message)
        recorded = [one for one in recorded_of(found, organisation) if one.data] if found is not None else []
        told["messages"] += bool(recorded)
        for one in recorded:
            try:
                story = recorder.read_story(one.data)
            except UnreadableStory:
                told["unreadable"] += 1
                continue
            if story.facts.connection.own_report:
                told["own_reports"] += 1  # nobody judges them
                continue
            changed = differences(story.ruling, converse(policy, story.facts, ask, judge))
            told["recipients"] += max(1, len(story.facts.recipients))
            told["changed"] += len(changed)
            for change in changed:
                _group(groups, message, change)
    ordered = sorted(groups.values(), key=lambda group: -group["count"])
    return {**told, "groups": ordered}


def _group(groups: dict[tuple[str, str], dict[str, Any]], message: str, change: Mapping[str, str]) -> None:
    before, now = (_without_target(change[name], change["recipient"]) for name in ("before", "now"))
    fresh = {"before": before, "now": now, "count": 0, "examples": []}
    group = groups.setdefault((_alike(before), _alike(now)), fresh)
    group["count"] += 1
    if len(group["examples"]) < _EXAMPLES:
        group["examples"].append({"id": message, "recipient": change["recipient"]})


def _alike(sentence: str) -> str:
    """What two replies have in common that differ in a name or an address only: their codes."""
    kind, colon, reply = sentence.partition(": ")
    return f"{kind} {' '.join(reply.split(' ', 2)[:2])}" if colon and kind in ("refused", "put off") else sentence


def _without_target(sentence: str, recipient: str) -> str:
    """A decision without the recipient's own address, so that what is alike falls together."""
    return sentence.removesuffix(f", to {recipient.partition(', ')[0]}") if recipient else sentence
