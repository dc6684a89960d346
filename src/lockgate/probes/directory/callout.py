"""Would the next hop take this recipient? Asked once, remembered within bounds; silence is never a no."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from lockgate.mail.findings import Said, Unknown
from lockgate.mail.hop import NextHop
from lockgate.mail.reply import Reply
from lockgate.seams import Asked, Clock, Journal, Unreachable, Verifier


class Memory(msgspec.Struct, frozen=True):
    """How long answers are remembered, in seconds, and how many, of one worker.

    A yes is taken as it is for `fresh`, and for `stale` when the next hop does not answer; a no for `refused`. What
    was found out about a host that takes everybody holds for `takes_all`. `most_yes` and `most_no` are bounds of
    their own, so that guessed addresses never push out real ones. `patience` bounds one question, `most_waiting` the
    questions that wait at the same time.
    """

    fresh: float = 24 * 3600.0
    stale: float = 7 * 24 * 3600.0
    refused: float = 300.0
    takes_all: float = 3600.0
    most_yes: int = 100_000
    most_no: int = 20_000
    patience: float = 18.0
    most_waiting: int = 200


class _Kept(NamedTuple):
    at: float
    said: Said


_Key = tuple[str, str, str]
_AnyKey = TypeVar("_AnyKey")
_AnyValue = TypeVar("_AnyValue")


class NextHopCallout:
    """seams.Callout. `guess` makes a local part that nobody has, for finding out who takes everybody."""

    def __init__(
        self, verifier: Verifier, clock: Clock, journal: Journal, guess: Callable[[], str], memory: Memory | None = None
    ) -> None:
        self._verifier = verifier
        self._clock = clock
        self._journal = journal
        self._guess = guess
        self._memory = memory or Memory()
        self._yes: OrderedDict[_Key, _Kept] = OrderedDict()
        self._no: OrderedDict[_Key, _Kept] = OrderedDict()
        self._all: OrderedDict[tuple[str, str], tuple[float, bool]] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[Said | Unknown]] = {}

    async def ask(self, hop: NextHop, organisation: str, address: str) -> Said | Unknown:
        """See Callout."""
        key = (organisation, hop.lane, address)
        remembered = self._remembered(key)
        if remembered is not None:
            return remembered
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= self._memory.most_waiting:
                return self._instead(key, "too many questions wait for an answer at this moment")
            task = asyncio.get_running_loop().create_task(self._find_out(key, hop, address))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asking.pop(key, None))
        # Several may wait for one answer, and one of them may go away.
        return await asyncio.shield(task)

    def _remembered(self, key: _Key) -> Said | None:
        now = self._clock.monotonic()
        kept = self._yes.get(key)
        if kept is not None and now - kept.at < self._memory.fresh:
            self._yes.move_to_end(key)
            return msgspec.structs.replace(kept.said, remembered=True)
        refused = self._no.get(key)
        if refused is not None and now - refused.at < self._memory.refused:
            return msgspec.structs.replace(refused.said, remembered=True)
        return None

    def _instead(self, key: _Key, why: str) -> Said | Unknown:
        """An old yes where there is no new answer."""
        kept = self._yes.get(key)
        if kept is not None and self._clock.monotonic() - kept.at < self._memory.stale:
            return msgspec.structs.replace(kept.said, remembered=True)
        return Unknown(why)

    async def _find_out(self, key: _Key, hop: NextHop, address: str) -> Said | Unknown:
        try:
            async with asyncio.timeout(self._memory.patience):
                return await self._asked(key, hop, address)
        except Unreachable as trouble:
            return self._instead(key, str(trouble.reply))
        except TimeoutError:
            return self._instead(key, f"no answer within {self._memory.patience:g} seconds")
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="asking the next hop", lane=hop.lane, trouble=trouble)
            return self._instead(key, "something unforeseen happened while it was asked")

    async def _asked(self, key: _Key, hop: NextHop, address: str) -> Said | Unknown:
        asked = await self._verifier.verify(hop, address)
        reply = _about_recipient(asked)
        if reply is None:
            said = asked.rcpt or asked.mail
            return self._instead(key, f"{asked.host} said {said}")
        now = self._clock.monotonic()
        if reply.permanent:
            no = Said(accepts=False, reply=str(reply), host=asked.host)
            self._yes.pop(key, None)
            _keep(self._no, key, _Kept(now, no), self._memory.most_no)
            return no
        takes_all = await self._takes_all(hop, address.rpartition("@")[2])
        yes = Said(accepts=True, reply=str(reply), host=asked.host, takes_all=takes_all)
        if not takes_all:
            # Who takes everybody would fill the memory with guesses.
            self._no.pop(key, None)
            _keep(self._yes, key, _Kept(now, yes), self._memory.most_yes)
        return yes

    async def _takes_all(self, hop: NextHop, domain: str) -> bool:
        """Whether it also takes somebody who does not exist; asked now and then. No answer counts as no."""
        key, now = (hop.lane, domain), self._clock.monotonic()
        known = self._all.get(key)
        if known is not None and now - known[0] < self._memory.takes_all:
            return known[1]
        try:
            asked = await self._verifier.verify(hop, f"{self._guess()}@{domain}")
        except Unreachable:
            return False
        reply = _about_recipient(asked)
        takes_all = reply is not None and reply.accepts
        if takes_all and not (known and known[1]):
            self._journal.note(
                "next hop takes everybody", lane=hop.lane, domain=domain, relay=asked.host, reply=str(reply)
            )
        if reply is not None:
            _keep(self._all, key, (now, takes_all), self._memory.most_no)
        return takes_all


def _about_recipient(asked: Asked) -> Reply | None:
    """The final answer about the recipient; None where there is none: a no to MAIL is about us, 4xx is about now."""
    reply = asked.rcpt
    if not asked.mail.accepts or reply is None:
        return None
    return reply if reply.accepts or reply.permanent else None


def _keep(memory: OrderedDict[_AnyKey, _AnyValue], key: _AnyKey, value: _AnyValue, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
