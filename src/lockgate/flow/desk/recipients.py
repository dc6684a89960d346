"""Recipients at the desk: import and export lists; show, add, change and remove single ones."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.recipients import (
    RecipientAdd,
    RecipientExport,
    RecipientFind,
    RecipientImport,
    RecipientLoad,
    RecipientPiece,
    RecipientProgress,
    RecipientRemove,
    RecipientSet,
    RecipientShow,
    RecipientUpload,
)
from lockgate.flow.desk.directory_writes import SHOWN, Altered, DirectoryWrites, altered, new_row, parsed_address
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.loading import NotLoaded, Rejected, Wishes
from lockgate.flow.recipients import Wrong as WrongLine
from lockgate.mail.directory import RecipientRow, senders, sending_on
from lockgate.mail.findings import Unknown
from lockgate.seams import Directory, Unavailable

PAGE = 2000
"""Recipients in one answer of an export."""
PAGE_OF_MEMBERS = 50_000
MOST_EXPORTS = 8


class Imports(Protocol):
    """Files of recipients on their way in. `by` is the caller; another's ticket is nobody's (Misuse)."""

    def whole(self, text: str, wishes: Wishes, by: str) -> tuple[dict[str, Any], list[WrongLine]]:
        """Load a text; what was done, and every rejected line. Blocks. Raises NotLoaded, Invalid, Unavailable."""

    def open(self, wishes: Wishes, by: str) -> str:
        """A ticket for a file that comes in pieces. Raises Unavailable."""

    def append(self, ticket: str, text: str, by: str) -> int:
        """The next piece; characters so far. Raises Misuse, Unavailable."""

    def start(self, ticket: str, by: str) -> None:
        """The file is whole. Raises Misuse."""

    def progress(self, ticket: str, after: int, by: str) -> dict[str, Any]:
        """How far it is; `result` once it is over. Raises Misuse, NotLoaded, Invalid, Unavailable."""


class RecipientDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about recipients."""

    directory: Directory
    writes: DirectoryWrites
    imports: Imports
    exports: dict[str, Iterator[RecipientRow]] = msgspec.field(default_factory=dict)

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            RecipientImport: Handler(Right.RECIPIENTS, self.import_),
            RecipientUpload: Handler(Right.RECIPIENTS, self.upload),
            RecipientPiece: Handler(Right.RECIPIENTS, self.piece),
            RecipientLoad: Handler(Right.RECIPIENTS, self.load),
            RecipientProgress: Handler(Right.RECIPIENTS, self.progress),
            RecipientFind: Handler(Right.RECIPIENTS_VIEW, self.find),
            RecipientShow: Handler(Right.RECIPIENTS_VIEW, self.show),
            RecipientAdd: Handler(Right.RECIPIENTS, self.add),
            RecipientSet: Handler(Right.RECIPIENTS, self.set_),
            RecipientRemove: Handler(Right.RECIPIENTS, self.remove),
            RecipientExport: Handler(Right.RECIPIENTS_VIEW, self.export),
        }

    # --- files -----------------------------------------------------------------------------------------------------

    async def import_(self, request: RecipientImport, caller: Caller) -> Answer:
        """Put the recipients of a text in force."""
        wishes = self._wishes(request)
        try:
            told, wrong = await asyncio.to_thread(self.imports.whole, request.text, wishes, caller.name)
        except NotLoaded as trouble:
            raise Misuse(str(trouble)) from None
        return Answer(result={**told, "wrong": [msgspec.structs.asdict(one) for one in wrong]})

    async def upload(self, request: RecipientUpload, caller: Caller) -> Answer:
        """A ticket for a file."""
        return Answer(result={"ticket": self.imports.open(self._wishes(request), caller.name)})

    async def piece(self, request: RecipientPiece, caller: Caller) -> Answer:
        """Take a piece of it."""
        size = await asyncio.to_thread(self.imports.append, request.ticket, request.text, caller.name)
        return Answer(result={"characters": size})

    async def load(self, request: RecipientLoad, caller: Caller) -> Answer:
        """Begin to read it."""
        self.imports.start(request.ticket, caller.name)
        return Answer(result={"ticket": request.ticket})

    async def progress(self, request: RecipientProgress, caller: Caller) -> Answer:
        """Say how far it is."""
        try:
            told = await asyncio.to_thread(self.imports.progress, request.ticket, request.after, caller.name)
        except Rejected as trouble:
            raise Nothing(str(trouble)) from None
        except NotLoaded as trouble:
            raise Misuse(str(trouble)) from None
        return Answer(result=told)

    def _wishes(self, request: RecipientImport | RecipientUpload) -> Wishes:
        organisation = self.writes.organisation(request.organisation)
        return Wishes(
            organisation, request.form, request.name, request.what_if, request.force, request.all_or_nothing,
            request.keep_missing,
        )  # fmt: skip

    async def export(self, request: RecipientExport, caller: Caller) -> Answer:
        """The next page of all recipients, as they were when the first one was asked for."""
        ticket = request.ticket
        if not ticket:
            organisation = self.writes.organisation(request.organisation)
            ticket = f"{caller.name}/{secrets.token_hex(12)}"
            while len(self.exports) >= MOST_EXPORTS:
                self.exports.pop(next(iter(self.exports)))
            self.exports[ticket] = self.writes.store.rows(organisation)
        rows = self.exports.get(ticket) if ticket.startswith(f"{caller.name}/") else None
        if rows is None:
            raise Misuse("this export was given up because others were begun; begin again")
        page, whole = await asyncio.to_thread(_page, rows)
        if whole:
            self.exports.pop(ticket, None)
        return Answer(result={"recipients": page, "ticket": "" if whole else ticket})

    # --- one recipient ---------------------------------------------------------------------------------------------

    async def find(self, request: RecipientFind, caller: Caller) -> Answer:
        """Who has this address, as the edge would find it."""
        parsed = parsed_address(request.address)
        organisation = self.writes.organisation(request.organisation)
        found = self.directory.who_is(organisation, parsed.key)
        if isinstance(found, Unknown):
            raise Unavailable(found.why)
        who = found.who
        if who is None:
            raise Nothing(f"nobody has the address {parsed.text} (directory revision {found.revision})")
        return Answer(
            result={
                "organisation": who.organisation,
                "kind": who.kind.value,
                "address": who.primary.text,
                "external_address": who.external.text if who.external else "",
                **sending_on(who.forwarding),
                **senders(who.restriction),
                "attributes": who.attributes,
                "revision": found.revision,
            }
        )

    async def show(self, request: RecipientShow, caller: Caller) -> Answer:
        """Everything about one recipient, and the groups of which it is a direct member."""
        organisation, row = await self.writes.there(request.address, request.organisation)
        groups = await self.writes.groups_of(row)
        return Answer(result={"organisation": organisation, **row.told(SHOWN), "member_of": groups})

    async def add(self, request: RecipientAdd, caller: Caller) -> Answer:
        """A new recipient."""
        organisation = self.writes.organisation(request.organisation)
        row = new_row(request.address, request.values, organisation)
        return await self.writes.put(caller, "recipient add", organisation, row, what_if=request.what_if)

    async def set_(self, request: RecipientSet, caller: Caller) -> Answer:
        """Other values for a recipient."""
        return await self.writes.alter(
            caller, "recipient set", request.organisation, request.address,
            lambda before: Altered(altered(before, request.values)), what_if=request.what_if,
        )  # fmt: skip

    async def remove(self, request: RecipientRemove, caller: Caller) -> Answer:
        """One recipient less."""
        return await self.writes.remove(
            caller, "recipient remove", request.organisation, request.address,
            force=request.force, what_if=request.what_if,
        )  # fmt: skip


def _page(rows: Iterator[RecipientRow]) -> tuple[list[dict[str, Any]], bool]:
    """The next recipients, and whether these are the last; groups with many members make a page of their own."""
    page: list[dict[str, Any]] = []
    members = 0
    for row in rows:
        page.append(row.told())
        members += len(row.members)
        if len(page) == PAGE or members >= PAGE_OF_MEMBERS:
            return page, False
    return page, True
