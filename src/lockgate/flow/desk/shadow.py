"""The shadow at the desk: a draft begun beside the live policy, looked at, ended, or put in force."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.shadow import ShadowPromote, ShadowShow, ShadowStart, ShadowStop
from lockgate.flow.desk.policies import sane
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.revising import MOST_REASON, Revising, Wish, told_of
from lockgate.flow.shadow import Draft, ShadowTally
from lockgate.seams import Audit, Clock, Overtaken


class Shelf(Protocol):
    """Where the draft is kept while it is in the shadow (storage/shadow_shelf.py). Blocks; raises Unavailable."""

    def draft(self) -> Draft | None:
        """What is in the shadow now."""

    def put(self, draft: Draft) -> None:
        """Keep it, durably; whoever judges takes it up by itself."""

    def clear(self) -> None:
        """Nothing is in the shadow any more."""

    def tally(self) -> ShadowTally | None:
        """What was found so far; None if nothing was judged yet."""


class ShadowDesk(msgspec.Struct, frozen=True):
    """Answers `shadow`; only `promote` has an effect on mail, by the same way as `apply`."""

    revising: Revising
    shelf: Shelf
    audit: Audit
    clock: Clock
    turns: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """One beginning or end after the other."""

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            ShadowStart: Handler(Right.ORGANISATION, self.start),
            ShadowShow: Handler(Right.RECIPIENTS_VIEW, self.show),
            ShadowStop: Handler(Right.ORGANISATION, self.stop),
            ShadowPromote: Handler(Right.ORGANISATION, self.promote),
        }

    async def start(self, request: ShadowStart, caller: Caller) -> Answer:
        """Check the draft as `apply` would, and keep it."""
        if not 0 < request.share <= 1:
            raise Misuse("a share is more than nothing and at most everything: 10%, 0.1, 100%")
        async with self.turns:
            return await self._start(request, caller)

    async def _start(self, request: ShadowStart, caller: Caller) -> Answer:
        there = await asyncio.to_thread(self.shelf.draft)
        if there is not None:
            raise Nothing(f"{there.by} has a draft in the shadow already; end it first: lockgate shadow stop")
        proposal = await self.revising.propose(sane(request.files))
        told = await asyncio.to_thread(told_of, proposal)
        draft = Draft(
            dict(request.files), request.share, caller.name, self.clock.now(), request.note[:MOST_REASON],
            proposal.ground.number, proposal.understood.policy.digest,
        )  # fmt: skip
        if not request.what_if:
            await asyncio.to_thread(self.shelf.put, draft)
            self.audit.wrote(caller.name, "shadow start", after={"digest": draft.digest}, share=draft.share,
                             reason=draft.note)  # fmt: skip
        return Answer(result={**told, **_named(draft), "what_if": request.what_if})

    async def show(self, request: ShadowShow, caller: Caller) -> Answer:
        """What was found."""
        draft = await self._draft()
        tally = await asyncio.to_thread(self.shelf.tally) or ShadowTally(draft.at)
        if tally.begun != draft.at:
            tally = ShadowTally(draft.at)
        in_force = (await self.revising.ground()).number
        counted = {name: getattr(tally, name) for name in ("at", "passed", "dropped", "trouble")}
        return Answer(result={**_named(draft), "in_force": in_force, **counted, **tally.compared.told()})

    async def stop(self, request: ShadowStop, caller: Caller) -> Answer:
        """End it."""
        async with self.turns:
            draft = await self._draft()
            if not request.what_if:
                await self._end(draft, caller, "shadow stop")
        return Answer(result={**_named(draft), "what_if": request.what_if})

    async def promote(self, request: ShadowPromote, caller: Caller) -> Answer:
        """Put it in force as a new revision."""
        async with self.turns:
            return await self._promote(request, caller)

    async def _promote(self, request: ShadowPromote, caller: Caller) -> Answer:
        draft = await self._draft()
        expect = draft.base if request.expect is None else request.expect
        reason = request.reason or draft.note or "the draft that was judged in the shadow"
        wish = Wish(caller.name, "shadow promote", reason, expect, request.what_if, request.discard_edits)
        try:
            told = await self.revising.publish(draft.documents, wish)
        except Overtaken as trouble:
            if request.expect is not None or (await self.revising.ground()).number == draft.base:
                raise
            raise Overtaken(
                f"{trouble}. The draft was begun beside revision {draft.base} and may lack what was changed since; "
                "look at `lockgate diff`, and say --expect with the number in force to put it in force all the same"
            ) from None
        if not request.what_if:
            await self._end(draft, caller, "shadow end")
        return Answer(result=told)

    async def _draft(self) -> Draft:
        draft = await asyncio.to_thread(self.shelf.draft)
        if draft is None:
            raise Nothing("no draft is in the shadow; begin with: lockgate shadow start --policy DIR")
        return draft

    async def _end(self, draft: Draft, caller: Caller, done: str) -> None:
        await asyncio.to_thread(self.shelf.clear)
        self.audit.wrote(caller.name, done, before={"digest": draft.digest}, share=draft.share)


def _named(draft: Draft) -> dict[str, Any]:
    return {
        "digest": draft.digest, "share": draft.share, "note": draft.note, "by": draft.by, "since": draft.at,
        "base": draft.base,
    }  # fmt: skip
