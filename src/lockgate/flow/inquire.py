"""Asks others what this machine does not know: the next hop about recipients, by the way their mail would go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from lockgate.decision.route import route
from lockgate.decision.stage import Depth
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, CallForward, Question, Unknown
from lockgate.mail.hop import NextHop
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Deliver, Route, Ruling, Standing, Verdict
from lockgate.policy.policy import Policy
from lockgate.seams import Callout

BUDGET = 20.0
"""Seconds for everything that is asked at one point of the conversation (DESIGN 2)."""


class Inquiries(msgspec.Struct, frozen=True):
    """flow.settle.Inquire; `plan` turns a route into the next hop of now, or says why there is none."""

    plan: Callable[[Policy, Route], NextHop | str]
    callout: Callout

    async def __call__(
        self, policy: Policy, facts: Facts, questions: tuple[Question, ...]
    ) -> dict[Question, Answer]:
        """An answer to each question, all asked at once; what is not answered in time is Unknown."""
        answers: dict[Question, Answer] = {
            question: Unknown("no answer within the time there is") for question in questions
        }

        async def ask(question: Question) -> None:
            answers[question] = await self._answer(policy, facts, question)

        try:
            async with asyncio.timeout(BUDGET):
                await asyncio.gather(*(ask(question) for question in questions))
        except TimeoutError:
            pass  # those without an answer are unknown already
        return answers

    async def _answer(self, policy: Policy, facts: Facts, question: Question) -> Answer:
        if not isinstance(question, CallForward):
            return Unknown("nobody but the directory knows that")
        try:
            address = parse_address(question.address, utf8=True)
        except AddressError as trouble:
            return Unknown(f"the address cannot be asked about: {trouble}")
        way = way_to(policy, facts, question.organisation, RecipientId(address))
        if isinstance(way, str):
            return Unknown(way)
        if way.waits:
            return Unknown(way.waits)
        hop = self.plan(policy, way)
        if isinstance(hop, str):
            return Unknown(hop)
        return await self.callout.ask(hop, question.organisation, address.text)


def way_to(policy: Policy, facts: Facts, organisation: str, recipient: RecipientId) -> Route | str:
    """The route that mail for this recipient takes if no rule sends it elsewhere, or why there is none."""
    accepted = policy.accepted(recipient.original.domain)
    standing = Standing(organisation, accepted_domain=accepted.domain_name if accepted is not None else "")
    verdict = route(policy, facts, Ruling(Point.RCPT), Verdict(recipient, recipient.original, standing), Depth.LIVE)
    match verdict.disposition:
        case Deliver(way):
            return way
        case _:
            return verdict.steps[-1].because if verdict.steps else "there is no way to its domain"
