"""Blocked connectors at the desk (specification 1.3): blocked by a person, listed with the evidence, unblocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.devices import BlockedList, BlockedShow, ConnectorBlock, ConnectorUnblock
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.mail.blocks import Block, BlockList, Lifted
from lockgate.policy.policy import Policy
from lockgate.policy.problems import nearest
from lockgate.seams import Audit, Blocks, Clock, Unavailable

_LONGEST = 500
_WAITING = (
    "mail that was accepted over it before still waits or leaves: look at it with `lockgate trace find --connector"
    " NAME` and, if it should not leave, hold it with `lockgate queue hold`"
)


class BlockDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about blocked connectors. `new_id` makes the id of a block."""

    blocks: Blocks
    audit: Audit
    clock: Clock
    policy: Callable[[], Policy]
    new_id: Callable[[], str]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            ConnectorBlock: Handler(Right.DOMAINS_AND_CONNECTORS, self.stop_relay),
            BlockedList: Handler(Right.POLICY_VIEW, self.list),
            BlockedShow: Handler(Right.POLICY_VIEW, self.show),
            ConnectorUnblock: Handler(Right.DOMAINS_AND_CONNECTORS, self.lift),
        }

    async def stop_relay(self, request: ConnectorBlock, caller: Caller) -> Answer:
        """Stop relay over a connector."""
        organisation, name = self._connector(request.name, request.organisation)
        because = _reason(request.reason)
        if (there := (await self._listed()).of(organisation, name)) is not None:
            raise Misuse(f"{name} is blocked already ({there.id}, by {there.by}: {there.because})")
        block = Block(self.new_id(), organisation, name, self.clock.now(), because, caller.name)
        told = {**_row(block), "what_if": request.what_if, "waiting": _WAITING.replace("NAME", name)}
        if not request.what_if:
            there = (await self._change(lambda before: with_block(before, block))).of(organisation, name)
            self.audit.wrote(
                caller.name, "connector block", after=_row(there or block), object=name, organisation=organisation,
                reason=because,
            )  # fmt: skip
        return Answer(result=told)

    async def list(self, request: BlockedList, caller: Caller) -> Answer:
        """What is blocked, and with `lifted` what was."""
        named = self._meant(request.organisation)
        found = await self._listed()
        rows = [_row(block) for block in found.blocks]
        if request.lifted:
            rows += [_lifted_row(one) for one in reversed(found.lifted)]
        return Answer(result=[row for row in rows if not named or row["organisation"] == named])

    async def show(self, request: BlockedShow, caller: Caller) -> Answer:
        """One block with its evidence; a lifted one by its id."""
        found, named = await self._listed(), self._meant(request.organisation)
        for block in found.blocks:
            if request.name in (block.connector, block.id) and named in ("", block.organisation):
                waiting = _WAITING.replace("NAME", block.connector)
                return Answer(result={**_row(block), "evidence": block.evidence, "waiting": waiting})
        for one in found.lifted:
            if request.name == one.block.id and named in ("", one.block.organisation):
                return Answer(result={**_lifted_row(one), "evidence": one.block.evidence})
        raise Nothing(f"{request.name[:80]} is not blocked")

    async def lift(self, request: ConnectorUnblock, caller: Caller) -> Answer:
        """Lift a block."""
        found, named = await self._listed(), self._meant(request.organisation)
        mine = [block for block in found.blocks
                if request.name in (block.connector, block.id) and named in ("", block.organisation)]  # fmt: skip
        if not mine:
            raise Nothing(f"{request.name[:80]} is not blocked")
        if len(mine) > 1:
            raise Misuse(f"several organisations have a blocked connector '{request.name[:80]}'; say --organisation")
        because = _reason(request.reason)
        lifted = Lifted(mine[0], self.clock.now(), caller.name, because, request.usual)
        if not request.what_if:
            await self._change(lambda before: lifted_from(before, lifted))
            self.audit.wrote(
                caller.name, "connector unblock", before=_row(mine[0]), object=mine[0].connector,
                organisation=mine[0].organisation, reason=because, usual=request.usual,
            )  # fmt: skip
        return Answer(result={**_lifted_row(lifted), "what_if": request.what_if})

    def _connector(self, name: str, organisation: str) -> tuple[str, str]:
        """Organisation and name of the own-server inbound connector that is meant."""
        policy, named = self.policy(), self._meant(organisation)
        found: list[tuple[str, str]] = []
        others: list[tuple[str, str]] = []
        known: list[str] = []
        for owner, mine in policy.organisations.items():
            for connector in mine.inbound.values() if named in ("", owner) else ():
                known += [connector.name] if connector.on_premises else []
                if connector.name.casefold() == name.casefold():
                    (found if connector.on_premises else others).append((owner, connector.name))
        if others and not found:
            raise Misuse(f"{name[:80]} is a partner connector, which gives no right that could be taken: disable it")
        if not found:
            raise Nothing(f"there is no own-server inbound connector '{name[:80]}'{nearest(name, known)}")
        if len(found) > 1:
            raise Misuse(f"several organisations have a connector '{name[:80]}'; say --organisation")
        return found[0]

    def _meant(self, named: str) -> str:
        return the_organisation(named, tuple(self.policy().organisations)) if named else ""

    async def _listed(self) -> BlockList:
        try:
            return await asyncio.to_thread(self.blocks.listed)
        except OSError as trouble:
            raise Unavailable(str(trouble)) from None

    async def _change(self, edit: Callable[[BlockList], BlockList]) -> BlockList:
        try:
            return await asyncio.to_thread(self.blocks.change, edit)
        except OSError as trouble:
            raise Unavailable(str(trouble)) from None


def with_block(before: BlockList, block: Block) -> BlockList:
    """The list with one block more; a connector that is blocked already keeps its block."""
    if before.of(block.organisation, block.connector) is not None:
        return before
    return BlockList((*before.blocks, block), before.lifted)


def lifted_from(before: BlockList, lifted: Lifted) -> BlockList:
    """The list without this block, which is among the lifted ones then."""
    if all(block.id != lifted.block.id for block in before.blocks):
        return before
    return BlockList(
        tuple(block for block in before.blocks if block.id != lifted.block.id), (*before.lifted, lifted)
    )


def _reason(text: str) -> str:
    said = " ".join(text.split())
    if not said:
        raise Misuse("say why: --reason")
    if len(said) > _LONGEST:
        raise Misuse(f"a reason has at most {_LONGEST} characters")
    return said


def _row(block: Block) -> dict[str, Any]:
    return {
        "id": block.id, "organisation": block.organisation, "connector": block.connector, "since": block.since,
        "because": block.because, "by": block.by, "suspected": block.suspected, "state": "blocked",
    }  # fmt: skip


def _lifted_row(one: Lifted) -> dict[str, Any]:
    return {
        **_row(one.block), "state": "lifted", "lifted_at": one.at, "lifted_by": one.by,
        "lifted_because": one.because, "usual": one.usual,
    }  # fmt: skip
