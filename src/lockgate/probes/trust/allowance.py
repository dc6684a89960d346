"""What one message may cost in questions to DNS: so many, and so long (DESIGN 2, RFC 7208 11.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from lockgate.seams import DnsAnswer, DnsState, DnsTemporary, MxHost, Resolver

SECONDS = 18.0
"""For all look-ups of one message: less than the 20 seconds that whoever asks waits, so that what was found out by
then is told."""

QUESTIONS = 250
"""Look-ups of one message. The limits of SPF, DKIM, DMARC and ARC together allow more, honest mail needs a tenth."""

P = ParamSpec("P")
T = TypeVar("T")


class Allowance:
    """Implements seams.Resolver for one message, over the one that all share; what is over it is temporary.

    Made inside the running loop: its time begins at once.
    """

    def __init__(self, resolver: Resolver, seconds: float = SECONDS, questions: int = QUESTIONS) -> None:
        self._resolver = resolver
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._most = questions
        self.asked = 0

    async def look_up(self, name: str, kind: str) -> DnsAnswer:
        """The whole answer. Never raises."""
        try:
            return await self._in_time(self._resolver.look_up, name, kind)
        except DnsTemporary as trouble:
            return DnsAnswer(DnsState.TEMPORARY, why=str(trouble))

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """Mail exchangers, best first. Raises DnsNone, DnsTemporary."""
        return await self._in_time(self._resolver.mx, domain)

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """Textual addresses. Raises DnsNone, DnsTemporary."""
        return await self._in_time(self._resolver.addresses, name, family)

    async def txt(self, name: str) -> tuple[str, ...]:
        """TXT records. Raises DnsNone, DnsTemporary."""
        return await self._in_time(self._resolver.txt, name)

    async def names(self, address: str) -> tuple[str, ...]:
        """The names an address leads to. Raises DnsNone, DnsTemporary, ValueError."""
        return await self._in_time(self._resolver.names, address)

    async def _in_time(self, look_up: Callable[P, Awaitable[T]], *asked: P.args, **more: P.kwargs) -> T:
        self.asked += 1
        if self.asked > self._most:
            raise DnsTemporary(f"{_shown(asked)}: one message may not cause more than {self._most} look-ups")
        try:
            async with asyncio.timeout_at(self._deadline):
                return await look_up(*asked, **more)
        except TimeoutError:
            why = f"the {self._seconds:.1f} seconds for the look-ups of one message are over"
            raise DnsTemporary(f"{_shown(asked)}: {why}") from None


def _shown(asked: tuple[object, ...]) -> str:
    return str(asked[0])[:100]
