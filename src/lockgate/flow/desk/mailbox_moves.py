"""Moving mailboxes between the two sides of a hybrid at the desk (specification 2.6, T-HYB-9).

A move says where the mailbox is: the recipient keeps its addresses, memberships, forwarding, restriction and
attributes. What was delivered stays where it lies; what waits or is held goes where she lives from now on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from lockgate.decision.route import ranked
from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.mailboxes import MailboxMove
from lockgate.flow.desk.directory_writes import Altered, DirectoryWrites, parsed_address
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import RecipientKind
from lockgate.policy.policy import Policy
from lockgate.seams import Audit, Keeping, Unavailable

MOST = 200
"""Mailboxes in one request; whoever has more asks again."""

LAG = 1.2
"""Seconds after which every worker sees a change of the directory (seams.Recipients promises one)."""

SIDES = ("here", "there")
_KINDS = {"here": RecipientKind.MAILBOX, "there": RecipientKind.MAIL_USER}

Look = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""What lies in the mailbox of an address of an organisation on this machine; None for nothing. Raises Unavailable."""


class MoveDesk(msgspec.Struct, frozen=True):
    """Answers a wish to move mailboxes. `look` is None where none lie on this machine; `lag` in seconds as LAG."""

    audit: Audit
    writes: DirectoryWrites
    keeping: Keeping
    policy: Callable[[], Policy]
    look: Look | None = None
    lag: float = LAG

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {MailboxMove: Handler(Right.RECIPIENTS, self.move)}

    async def move(self, request: MailboxMove, caller: Caller) -> Answer:
        """Move these mailboxes, each for itself: one that cannot be moved does not stop the others."""
        organisation = self._sensible(request)
        rows: list[dict[str, Any]] = []
        keys: list[str] = []
        for address, external in request.addresses.items():
            row, mine = await self._one(request, caller, organisation, address, external)
            rows.append(row)
            keys += mine
        waiting = await self._waiting(request, caller, organisation, keys)
        told = {"organisation": organisation, "to": request.to, "what_if": request.what_if, "waiting": waiting}
        return Answer(result={**told, "mailboxes": rows, "warnings": self._warnings(request, organisation, rows)})

    def _sensible(self, request: MailboxMove) -> str:
        """The organisation, if the request makes sense at all. Raises Misuse."""
        if request.to not in SIDES:
            raise Misuse(f"a mailbox moves here or there, not '{request.to[:40]}'")
        if not 1 <= len(request.addresses) <= MOST:
            raise Misuse(f"between 1 and {MOST} mailboxes can be moved at once")
        if request.to == "here" and any(request.addresses.values()):
            raise Misuse("a mailbox here has no external address; leave it out")
        organisation = self.writes.organisation(request.organisation)
        policy = self.policy()
        mine = policy.organisations.get(organisation)
        if request.to == "here" and not policy.keeps_mailboxes and (mine is None or mine.store is None):
            raise Misuse(
                "no mailboxes are kept here: give the organisation a [[mailbox_store]], or the operator's file "
                "[mailboxes]"
            )
        return organisation

    async def _one(
        self, request: MailboxMove, caller: Caller, organisation: str, address: str, external: str
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What is said of one of them, and the addresses by which mail for it is found."""
        before: list[RecipientRow] = []

        def moved(row: RecipientRow) -> Altered:
            before.append(row)
            return Altered(_moved(row, request.to, parsed_address(external) if external else None))

        try:
            answer = await self.writes.alter(
                caller, "mailbox move", organisation, address, moved, what_if=request.what_if
            )
        except (Misuse, Nothing, Unavailable) as trouble:
            return {"address": address, "error": str(trouble)}, ()
        (row,) = before
        told = answer.result
        changed = told["before"] != told["after"]
        said = {
            "address": row.primary.text, "changed": changed, "before": told["before"], "after": told["after"],
            "warnings": told.get("warnings", []), "left_behind": await self._left_behind(request, row),
        }  # fmt: skip
        # Mail for whoever leads to her, another mail user say, waits under the address it is carried to.
        return said, (*row.keys, *([row.external.key] if row.external is not None else []))

    async def _left_behind(self, request: MailboxMove, row: RecipientRow) -> dict[str, Any]:
        """The folder whose mail stays on this machine, and how many messages lie in it."""
        if request.to == "here" or self.look is None:
            return {}
        try:
            found = await self.look(row.organisation, row.primary.text)
        except Unavailable:
            return {}
        return {"path": found.get("path", ""), "messages": found["messages"]} if found is not None else {}

    async def _waiting(self, request: MailboxMove, caller: Caller, organisation: str, keys: list[str]) -> int:
        """Have what waits for these addresses routed anew; of how many messages (with what-if: would be)."""
        if not keys:
            return 0
        if request.what_if:
            return len({task["task"] for key in keys for task in await self.keeping.queue_list({"recipient": key})})
        # Until every worker knows where she lives, mail is still routed the old way, and would be missed here.
        await asyncio.sleep(self.lag)
        filters = {"organisation": organisation, "recipient": "\n".join(keys)}
        count = await self.keeping.queue_edit("reroute", filters, caller.name)
        if count:
            self.audit.wrote(
                caller.name, "queue reroute", before=None, after={"to": request.to}, count=count,
                for_recipients=keys[:MOST], organisation=organisation,
            )  # fmt: skip
        return count

    def _warnings(self, request: MailboxMove, organisation: str, rows: list[dict[str, Any]]) -> list[str]:
        """Domains whose mail would not find the other side."""
        policy = self.policy()
        mine = policy.organisations.get(organisation)
        if request.to == "here" or mine is None:
            return []
        targets = [row["after"]["external_address"] or row["address"] for row in rows if row.get("after")]
        domains = dict.fromkeys(parsed_address(target).domain for target in targets)
        return [
            f"no outbound connector is for {domain}: this mail goes by MX, which may lead back to this server"
            for domain in domains
            if policy.accepted(domain) is not None and next(ranked(policy, mine, domain, central=True), None) is None
        ]


def _moved(row: RecipientRow, to: str, external: Address | None) -> RecipientRow:
    """The recipient with its mailbox on that side. Raises Misuse."""
    if row.kind not in _KINDS.values():
        kind = row.kind.value.replace("_", " ")
        raise Misuse(f"{row.primary} is a {kind}; only mailboxes and mail users move")
    if to == "there" and row.kind is RecipientKind.MAIL_USER and external is None:
        external = row.external  # it is there already
    return msgspec.structs.replace(row, kind=_KINDS[to], external=external)
