"""Why, at the desk: a message explained, and a supposed message judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.explain import Explain, WhatIf
from lockgate.flow.blocking import with_blocks
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Forbidden, Handler, Misuse, Nothing, check_organisation
from lockgate.flow.desk.times import moment_before
from lockgate.flow.leading_back import WaysBack
from lockgate.flow.listed import in_texts, with_lists
from lockgate.flow.retelling import At, PolicyGone, Recorded, Retelling, differences, part, recorded_of
from lockgate.flow.settle import Ask as Answering
from lockgate.flow.settle import local_answers
from lockgate.flow.simulate import converse
from lockgate.flow.suppose import Unsupposable, read_suppositions
from lockgate.flow.supposing import Presented, Scene, supposed_facts
from lockgate.mail.address import kept_spelling
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Answer as Finding
from lockgate.mail.findings import Findings, ListInText, Question, Unknown, WhoSent
from lockgate.mail.record import Recorder, Story, UnreadableStory
from lockgate.policy.policy import Policy
from lockgate.seams import Blocks, Clock, Directory, Keeping, Lists

_LOOKED_AT = 1000
"""Trace rows in which messages with one Message-ID are looked for."""


class Revisions(msgspec.Struct, frozen=True):
    """Compiled policies: the one in force, an earlier one (raises PolicyGone), and a draft (raises Invalid)."""

    in_force: Callable[[], Awaitable[Policy]]
    at: At
    draft: Callable[[Mapping[str, str]], Awaitable[Policy]]


async def policy_meant(
    revisions: Revisions, documents: Mapping[str, str] | None, revision: int
) -> tuple[Policy, str]:
    """The policy to judge by, and what it is called. Raises Misuse, Nothing, Invalid."""
    if documents is not None and revision:
        raise Misuse("a draft and an earlier revision cannot both be meant")
    if documents is not None:
        policy = await revisions.draft(documents)
        return policy, f"a draft (digest {policy.digest[:12]})"
    if not revision:
        policy = await revisions.in_force()
        return policy, f"revision {policy.revision}, which is in force"
    try:
        return await revisions.at(revision), f"revision {revision}"
    except PolicyGone as trouble:
        raise Nothing(str(trouble)) from None


class ExplainDesk(msgspec.Struct, frozen=True):
    """Answers why. Nothing here changes anything: no row, no counter, no message."""

    keeping: Keeping
    revisions: Revisions
    directory: Directory
    clock: Clock
    presented: Presented
    installation: str
    recorder: Recorder = msgspec.field(default_factory=Recorder)
    ways_back: WaysBack | None = None
    blocks: Blocks | None = None
    lists: Lists | None = None

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            Explain: Handler(Right.RECIPIENTS_VIEW, self.explain),
            WhatIf: Handler(Right.POLICY_VIEW, self.what_if),
        }

    async def explain(self, request: Explain, caller: Caller) -> Answer:
        """What is recorded, judged again with every step; a part for each organisation, or for each refusal."""
        found, recorded = await self._recorded(request.id, request.organisation)
        retelling = Retelling(self.revisions.at, self.recorder, kept_spelling(request.recipient).casefold())
        parts = [await retelling.tell(one) for one in recorded]
        if request.recipient and not any(one["recipients"] for one in parts):
            raise Nothing(f"{request.recipient[:80]} is no recipient of {request.id[:80]}")
        kind, connection = "refusals" if "refusals" in found else "message", str(found.get("connection") or "")
        told = {"id": found.get("id", request.id), "connection": connection, "kind": kind, "parts": parts}
        if kind == "message" and connection:
            told["refused_besides"] = await self._refused_besides(connection, request.organisation)
        return Answer(result=told)

    async def what_if(self, request: WhatIf, caller: Caller) -> Answer:
        """A supposed message judged by the policy in force, an earlier one or a draft."""
        if request.like and Right.RECIPIENTS_VIEW not in caller.rights:
            raise Forbidden(f"your account lacks the right {Right.RECIPIENTS_VIEW} to see recorded messages")
        policy, named = await policy_meant(self.revisions, request.documents, request.revision)
        check_organisation(request.organisation, policy.organisations)
        story = await self._like(request) if request.like else None
        try:
            supposed = read_suppositions(request.suppose)
            scene = Scene(policy, self._moment(request.at), self.installation, self.presented)
            facts = supposed_facts(request, story.facts if story is not None else None, scene)
        except Unsupposable as trouble:
            raise Misuse(str(trouble)) from None
        facts = facts.learn(dict(request.contents))
        asked = self._ask() if request.texts is None else self._with_texts(request.texts, cut=request.cut)
        course = converse(policy, supposed.forget(facts), supposed.over(_without_senders(asked)))
        told = _only(part(policy, course), request.organisation)
        told["judged"] |= {"steps": "supposed", "policy": named}
        result: dict[str, Any] = {"id": request.like or "what-if", "kind": "what-if", "parts": [told]}
        if story is not None:
            told["differs"] = differences(story.ruling, course)
        return Answer(result=result)

    # --- what these share

    def _ask(self) -> Answering:
        """What this machine knows itself."""
        local = local_answers(self.directory)
        local = local if self.ways_back is None else self.ways_back.over(local)
        local = local if self.lists is None else with_lists(self.lists, local)
        return local if self.blocks is None else with_blocks(self.blocks, local)

    def _with_texts(self, texts: Sequence[str], *, cut: bool) -> Answering:
        """The same, and what of lists is in these texts of the message."""
        otherwise = self._ask()

        def ask(questions: tuple[Question, ...]) -> dict[Question, Finding]:
            mine = [question for question in questions if isinstance(question, ListInText)]
            found = in_texts(self.lists, mine, texts, cut=cut) if mine else {}
            return found | otherwise(tuple([one for one in questions if one not in found]))

        return ask

    async def _recorded(self, message: str, organisation: str) -> tuple[Mapping[str, Any], list[Recorded]]:
        found = await self.keeping.trace_show(message) or await self._by_another_id(message)
        if found is None:
            raise Nothing(f"no message and no refusal has the id {message[:80]}")
        recorded = [one for one in recorded_of(found, organisation) if one.data]
        if not recorded:
            whose = f" of {organisation[:80]}" if organisation else ""
            raise Nothing(f"nothing{whose} is recorded about {message[:80]} that could be judged again")
        return found, recorded

    async def _by_another_id(self, message: str) -> Mapping[str, Any] | None:
        """The one message of this Message-ID, or of this connection. Raises Nothing if there are several."""
        rows = await self.keeping.trace_find({"id": message}, _LOOKED_AT)
        ids = list(dict.fromkeys(str(row["id"]) for row in rows))
        if len(ids) > 1:
            raise Nothing(f"{len(ids)} messages have the id {message[:80]}; say which: {', '.join(ids[:5])}")
        return await self.keeping.trace_show(ids[0]) if ids else None

    async def _refused_besides(self, connection: str, organisation: str) -> list[dict[str, str]]:
        """What was refused on the connection by which a message came: recipients that are no part of the message."""
        found = await self.keeping.trace_show(connection)
        rows = [one["row"] for one in (found or {}).get("refusals", ())]
        return [
            {"recipient": row["recipient_address"], "reply": row["reply"]}
            for row in reversed(rows)
            if not organisation or row["organisation"] == organisation
        ]

    async def _like(self, request: WhatIf) -> Story:
        """The recorded facts of a message as one story, whatever organisations its recipients belong to."""
        _, recorded = await self._recorded(request.like, request.organisation)
        try:
            stories = [self.recorder.read_story(one.data) for one in recorded]
        except UnreadableStory as trouble:
            raise Nothing(str(trouble)) from None
        first = stories[0]
        if first.facts.connection.own_report:
            raise Misuse(f"{request.like[:80]} is a report of our own, which nobody judges; name another message")
        known = {v.recipient for story in stories for v in story.ruling.recipients}
        recipients = tuple(
            dict.fromkeys(r for one in stories for r in one.facts.recipients if r.derived_from not in known)
        )
        answers = {q: a for story in stories for q, a in story.facts.findings.items()}
        verdicts = tuple(v for story in stories for v in story.ruling.recipients)
        facts: Facts = msgspec.structs.replace(first.facts, recipients=recipients, findings=Findings(answers))
        return Story(first.judge_version, facts, msgspec.structs.replace(first.ruling, recipients=verdicts))

    def _moment(self, text: str) -> float:
        now = self.clock.now()
        return moment_before(text, now) if text else now


def _only(told: dict[str, Any], organisation: str) -> dict[str, Any]:
    """The part without the recipients of other organisations."""
    if not organisation:
        return told
    rows = [row for row in told["recipients"] if row["organisation"] == organisation]
    return {**told, "recipients": rows}


def _without_senders(otherwise: Answering) -> Answering:
    """Who sent a message that nobody has sent cannot be asked of anybody: it says so, and what to do."""
    unasked = Unknown("of a supposed message nobody is asked; suppose the answer: dmarc = pass, or dmarc = fail reject")

    def ask(questions: tuple[Question, ...]) -> dict[Question, Finding]:
        senders = dict.fromkeys([one for one in questions if isinstance(one, WhoSent)], unasked)
        return senders | otherwise(tuple([one for one in questions if one not in senders]))

    return ask
