"""Asks who sent a message: the one question whose answer needs the message itself and not only its facts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from lockgate.flow.inquire import BUDGET
from lockgate.flow.settle import Inquire
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Answer, Question, Unknown, WhoSent
from lockgate.policy.policy import Policy
from lockgate.seams import Authenticator, BodyWriter

Octets = Callable[[], Awaitable[bytes]]
"""Gives the message as it came, without the trace fields that we put before it. Raises OSError, ValueError."""

LARGE = 1024 * 1024
"""Octets from which on a message is large: few of them are in memory at once, and they are read beside the loop."""


class Authentication(msgspec.Struct, frozen=True):
    """Wired once by each worker; `few_large` lets so many large messages at a time into memory."""

    authenticator: Authenticator
    few_large: asyncio.Semaphore

    def arriving(self, body: BodyWriter, prefix: int, otherwise: Inquire | None = None) -> Inquire:
        """The same as `of` for a message on its way in; `prefix` octets of its body are ours."""

        async def octets() -> bytes:
            whole = body.octets() if body.size <= LARGE else await asyncio.to_thread(body.octets)
            return whole[prefix:]

        return self.of(octets, body.size, otherwise)

    def of(self, octets: Octets, size: int, otherwise: Inquire | None = None) -> Inquire:
        """Finds out who sent this message, once for all organisations; what else is asked, `otherwise` answers."""
        found: list[Answer] = []

        async def inquire(
            policy: Policy, facts: Facts, questions: tuple[Question, ...]
        ) -> dict[Question, Answer]:
            mine = tuple([question for question in questions if isinstance(question, WhoSent)])
            rest = tuple([question for question in questions if not isinstance(question, WhoSent)])
            if mine and not found:
                found.append(await self._answer(facts, octets, size))
            answers: dict[Question, Answer] = dict.fromkeys(mine, found[0]) if mine else {}
            if rest:
                unasked: Answer = Unknown("it is not asked at this point")
                answers |= dict.fromkeys(rest, unasked)
                if otherwise is not None:
                    answers |= await otherwise(policy, facts, rest)
            return answers

        return inquire

    async def _answer(self, facts: Facts, octets: Octets, size: int) -> Answer:
        envelope = facts.envelope
        sender = envelope.sender_text if envelope is not None else ""
        place = self.few_large if size > LARGE else contextlib.nullcontext()
        connection = facts.connection
        try:
            async with asyncio.timeout(BUDGET), place:
                whole = await octets()
                return await self.authenticator.authenticate(connection.peer, connection.helo, sender, whole)
        except TimeoutError:
            return Unknown("no answer within the time there is")
        except (ValueError, OSError) as trouble:
            return Unknown(str(trouble))
