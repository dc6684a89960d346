"""Watches the own-server connectors for signs of a server taken over, and stops relay (specification 1.3).

Runs in the desk's process, beside what takes the workers' counts; the workers learn of a block from its file.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from lockgate.flow.desk.blocks import with_block
from lockgate.flow.suspicion import Evidence, Lately, Thresholds, in_words, is_taken_over, weigh, whole
from lockgate.mail.blocks import Block, BlockList
from lockgate.mail.devices import BUCKET, Traffic
from lockgate.policy.policy import Policy
from lockgate.seams import Audit, Blocks, Clock, Journal, Keeping
from lockgate.storage.audits import AuditBook, AuditQuestion
from lockgate.storage.devices import HISTORY, DeviceBook

WHO = "lockgate"
"""Who blocks, where no person does."""

BLOCKED, SUSPICIOUS = "connector blocked", "suspicious connector activity"
"""What the alerts are called."""

_LOOK_BACK = 86400.0
_PATTERN = 30 * 86400.0
_MOST_RETURNED = 5000
_ENOUGH = 5

Found = dict[tuple[str, str], dict[str, Any]]


def block_id() -> str:
    """The id of a new block."""
    return f"b{secrets.token_hex(4)}"


class ConnectorWatch:
    """Wired once by the desk's process. `acts` is block, alert or off."""

    def __init__(
        self, book: DeviceBook, blocks: Blocks, keeping: Keeping, audits: AuditBook, audit: Audit, clock: Clock,
        journal: Journal, policy: Callable[[], Policy], limits: Thresholds, acts: str,
    ) -> None:  # fmt: skip
        self._book, self._blocks, self._keeping = book, blocks, keeping
        self._audits, self._audit = audits, audit
        self._clock, self._journal = clock, journal
        self._policy, self._limits, self._acts = policy, limits, acts
        self._suspicious: Found = {}

    def wrong(self) -> Found:
        """What is wrong now, for alerts: blocked connectors, and signs that do not suffice."""
        found: Found = {}
        try:
            for block in self._blocks.listed().blocks:
                found[BLOCKED, f"{block.organisation}/{block.connector}"] = {
                    "organisation": block.organisation, "connector": block.connector, "because": block.because,
                    "by": block.by, "block": block.id, "do": f"lockgate connector blocked show {block.id}",
                }  # fmt: skip
        except OSError as trouble:
            found["blocked connectors unreadable", ""] = {"because": str(trouble)}
        return {**found, **self._suspicious}

    async def look(self) -> None:
        """One look at every connector that carried something lately. Raises what the books raise."""
        if self._acts == "off":
            return
        now = self._clock.now()
        suspicious: Found = {}
        blocks = await asyncio.to_thread(self._blocks.listed)
        for organisation, connector in await asyncio.to_thread(self._book.connectors, self._begin(now)):
            if blocks.of(organisation, connector) is not None or not self._is_there(organisation, connector):
                continue
            evidence = await self._evidence(blocks, organisation, connector, now)
            if not evidence:
                continue
            if self._acts == "block" and is_taken_over(evidence, self._limits):
                await self._block(organisation, connector, evidence, now)
            elif any(sign != "changed" for sign in evidence):
                suspicious[SUSPICIOUS, f"{organisation}/{connector}"] = {
                    "organisation": organisation, "connector": connector, "because": in_words(evidence),
                    "do": f"lockgate trace find --connector {connector}",
                }  # fmt: skip
        self._suspicious = suspicious

    def _begin(self, now: float) -> float:
        return now - self._limits.window - BUCKET

    def _is_there(self, organisation: str, connector: str) -> bool:
        mine = self._policy().organisations.get(organisation)
        named = mine.inbound.get(connector) if mine is not None else None
        return named is not None and named.on_premises and named.enabled

    async def _evidence(self, blocks: BlockList, organisation: str, connector: str, now: float) -> Evidence:
        begin = self._begin(now)
        everything = await asyncio.to_thread(self._book.traffic, organisation, connector, now - HISTORY)
        # A bucket that began before the last block was lifted holds what was evidence for it.
        since = max(begin, blocks.lifted_at(organisation, connector) - 1)
        lately = whole([one for one in everything if one.at > since])
        if lately is None:
            return {}
        history = [one for one in everything if one.at <= begin and not _was_evidence(blocks, one, self._limits.window)]
        returned = 0
        if lately.outside >= self._limits.least:
            returned = await self._returned(organisation, connector, since)
        changed = await asyncio.to_thread(self._changed, organisation, connector, now)
        return weigh(Lately(lately, returned, changed), history, self._limits)

    async def _returned(self, organisation: str, connector: str, since: float) -> int:
        filters = {"organisation": organisation, "inbound_connector": connector, "status": "Failed",
                   "since": repr(since)}  # fmt: skip
        return len(await self._keeping.trace_find(filters, _MOST_RETURNED))

    def _changed(self, organisation: str, connector: str, now: float) -> str:
        """How the connector was made or changed outside the usual pattern within the last day; "": it was not."""
        made = AuditQuestion(what="inbound_connector", object=connector, since=now - _LOOK_BACK, limit=20)
        for row in self._audits.find(made):
            details = row["details"]
            if details.get("object") != connector or details.get("organisation", organisation) != organisation:
                continue
            earlier = self._audits.find(
                AuditQuestion(what="connector ", since=row["at"] - _PATTERN, until=row["at"], limit=200)
            )
            earlier = [one for one in earlier if one["what"].startswith(("inbound_connector ", "outbound_connector "))]
            if because := unusual(row, earlier):
                return because
        return ""

    async def _block(self, organisation: str, connector: str, evidence: Evidence, now: float) -> None:
        block = Block(block_id(), organisation, connector, now, in_words(evidence), WHO, suspected=True,
                      evidence=evidence)  # fmt: skip
        after = await asyncio.to_thread(self._blocks.change, lambda before: with_block(before, block))
        if block not in after.blocks:
            return  # a person was quicker
        self._audit.wrote(
            WHO, "connector block", after=msgspec.to_builtins(block), object=connector, organisation=organisation,
            reason=block.because,
        )  # fmt: skip
        self._journal.alarm(
            BLOCKED, organisation=organisation, connector=connector, block=block.id, because=block.because
        )


def unusual(row: dict[str, Any], earlier: Sequence[dict[str, Any]]) -> str:
    """Why a change is outside the pattern of the earlier ones: who never did it, or at an hour when nobody does.

    Too few earlier changes make no pattern.
    """
    if len(earlier) < _ENOUGH:
        return ""
    who, when = str(row["who"]), dt.datetime.fromtimestamp(row["at"], dt.UTC)
    done = f"the connector was {str(row['what']).partition(' ')[2]} at {when:%Y-%m-%d %H:%MZ} by {who}"
    if all(one["who"] != who for one in earlier):
        return f"{done}, who changed no connector in the 30 days before"
    hours = {dt.datetime.fromtimestamp(one["at"], dt.UTC).hour for one in earlier}
    if len(earlier) >= 2 * _ENOUGH and all(min(abs(when.hour - one), 24 - abs(when.hour - one)) > 1 for one in hours):
        return f"{done}, an hour at which nobody changed a connector in the 30 days before"
    return ""


def _was_evidence(blocks: BlockList, one: Traffic, window: float) -> bool:
    """Whether it led to a block that was lifted without a word that the server always sends so."""
    return any(
        not lifted.usual
        and lifted.block.suspected
        and (lifted.block.organisation, lifted.block.connector) == (one.organisation, one.connector)
        and lifted.block.since - window - BUCKET <= one.at <= lifted.at
        for lifted in blocks.lifted
    )
