"""Asks who sent a message and what it is made of: answers that need the message itself and not only its facts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from lockgate.flow.contents import answers, is_slow
from lockgate.flow.inquire import BUDGET
from lockgate.flow.settle import Inquire
from lockgate.mail.authentication import ArcVerdict, Authenticated, DkimVerdict, DmarcVerdict, SpfVerdict
from lockgate.mail.facts import Facts
from lockgate.mail.findings import NOT_CERTAIN, Answer, InText, ListInText, Question, Unknown, WhatParts, WhoSent
from lockgate.policy.policy import Policy
from lockgate.seams import Authenticator, BodyWriter, Clock, Lists

_WITHIN = (WhatParts, InText, ListInText)
_OF_CONTENT = (WhoSent, *_WITHIN)
"""What only the message itself can answer."""

Octets = Callable[[], Awaitable[bytes]]
"""Gives the message as it came, without the trace fields that we put before it. Raises OSError, ValueError."""

LARGE = 1024 * 1024
"""Octets from which on a message is large: few of them are in memory at once, and they are read beside the loop."""

_LONG = 128 * 1024
"""Octets from which on a text is looked through beside the loop: that takes some 20 milliseconds then for the words of
lists, and for those of rules where the text has them all within others.
"""

_SLOW = 8 * 1024
"""Octets from which on expressions for which slow texts can be made are looked for beside the loop."""

PATIENCE = 4 * 3600.0
"""Seconds after which DNS that gives no answer counts as "none" for a message that waits (DESIGN 2)."""


class Authentication(msgspec.Struct, frozen=True):
    """Wired once by each worker; `few_large` lets so many large messages at a time into memory.

    With a `clock`, a message that has waited for DNS for 4 hours waits no longer: what is still silent proves nothing
    and condemns nobody. `lists` are those whose words rules look for in texts.
    """

    authenticator: Authenticator
    few_large: asyncio.Semaphore
    clock: Clock | None = None
    lists: Lists | None = None

    def arriving(self, body: BodyWriter, prefix: int, otherwise: Inquire | None = None) -> Inquire:
        """The same as `of` for a message on its way in; `prefix` octets of its body are ours."""

        async def octets() -> bytes:
            whole = body.octets() if body.size <= LARGE else await asyncio.to_thread(body.octets)
            return whole[prefix:]

        return self.of(octets, body.size, otherwise)

    def of(self, octets: Octets, size: int, otherwise: Inquire | None = None) -> Inquire:
        """Finds out who sent this message, once for all organisations that take the same host for its source; what else
        is asked, `otherwise` answers.
        """
        found: dict[tuple[str, str], Answer] = {}

        async def inquire(
            policy: Policy, facts: Facts, questions: tuple[Question, ...]
        ) -> dict[Question, Answer]:
            mine = tuple([question for question in questions if isinstance(question, WhoSent)])
            within = tuple([question for question in questions if isinstance(question, _WITHIN)])
            rest = tuple([question for question in questions if not isinstance(question, _OF_CONTENT)])
            told: dict[Question, Answer] = {}
            for question in mine:
                source = question.source, question.helo
                if source not in found:
                    found[source] = await self._answer(facts, octets, size, *source)
                told[question] = found[source]
            if within:
                told |= await self._contents(policy, octets, size, within)
            if rest:
                unasked: Answer = Unknown("it is not asked at this point")
                told |= dict.fromkeys(rest, unasked)
                if otherwise is not None:
                    told |= await otherwise(policy, facts, rest)
            return told

        return inquire

    async def _contents(
        self, policy: Policy, octets: Octets, size: int, questions: tuple[Question, ...]
    ) -> dict[Question, Answer]:
        """What the message is made of, and what its text says; a large one is looked through beside the loop."""
        large = size > LARGE
        beside = large or (size > _LONG and any(isinstance(question, InText | ListInText) for question in questions))
        beside = beside or (size > _SLOW and is_slow(policy, questions))
        place = self.few_large if large else contextlib.nullcontext()
        try:
            async with asyncio.timeout(BUDGET), place:
                whole = await octets()
                if beside:
                    return await asyncio.to_thread(answers, policy, whole, questions, self.lists)
                return answers(policy, whole, questions, self.lists)
        except TimeoutError:
            why = "it could not be looked through within the time there is"
        except (ValueError, OSError) as trouble:
            why = str(trouble)
        return dict.fromkeys(questions, Unknown(why))

    async def _answer(self, facts: Facts, octets: Octets, size: int, source: str, helo: str) -> Answer:
        envelope = facts.envelope
        sender = envelope.sender_text if envelope is not None else ""
        place = self.few_large if size > LARGE else contextlib.nullcontext()
        peer, name = facts.connection.peer, facts.connection.helo
        if source:
            peer, name = "" if source == NOT_CERTAIN else source, helo
        try:
            async with asyncio.timeout(BUDGET), place:
                whole = await octets()
                found = await self.authenticator.authenticate(peer, name, sender, whole)
        except TimeoutError:
            return Unknown("no answer within the time there is")
        except (ValueError, OSError) as trouble:
            return Unknown(str(trouble))
        if self.clock is not None and self.clock.now() - facts.at >= PATIENCE:
            return without_trouble(found)
        return found


def without_trouble(found: Authenticated) -> Authenticated:
    """The same with "none" in the place of every temporary error, marked so."""

    def marked(problem: str) -> str:
        return f"no answer for 4 hours, so it counts as none: {problem}"

    spf, dmarc, arc = found.spf, found.dmarc, found.arc
    replace = msgspec.structs.replace
    if spf.verdict is SpfVerdict.TEMPERROR:
        spf = replace(spf, verdict=SpfVerdict.NONE, problem=marked(spf.problem))
    if dmarc.verdict is DmarcVerdict.TEMPERROR:
        dmarc = replace(dmarc, verdict=DmarcVerdict.NONE, problem=marked(dmarc.problem))
    if arc.verdict is ArcVerdict.TEMPERROR:
        arc = replace(arc, verdict=ArcVerdict.NONE, problem=marked(arc.problem))
    dkim = tuple([
        replace(one, verdict=DkimVerdict.NONE, problem=marked(one.problem))
        if one.verdict is DkimVerdict.TEMPERROR else one
        for one in found.dkim
    ])  # fmt: skip
    return Authenticated(spf, dkim, dmarc, arc)
