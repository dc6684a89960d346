"""Recipients at the desk: import and export lists; show, add, change and remove single ones."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.flow.loading import NotLoaded, Rejected, Wishes
from lockgate.flow.recipients import Wrong as WrongLine
from lockgate.flow.recipients import WrongRow, name_of, row_of
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Unknown
from lockgate.seams import Audit, Directory, Recipients, Unavailable

PAGE = 2000
"""Recipients in one answer of an export."""
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
    """Answers what is asked about recipients; `organisations` names those of the policy in force.

    `changed` is called after each change, so that a merge may begin in the background.
    """

    directory: Directory
    audit: Audit
    store: Recipients
    imports: Imports
    organisations: Callable[[], Sequence[str]]
    changed: Callable[[], None] = lambda: None
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
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
        return Wishes(
            organisation, request.form, request.name, request.what_if, request.force, request.all_or_nothing,
            request.keep_missing,
        )  # fmt: skip

    async def export(self, request: RecipientExport, caller: Caller) -> Answer:
        """The next page of all recipients, as they were when the first one was asked for."""
        ticket = request.ticket
        if not ticket:
            organisation = the_organisation(request.organisation, tuple(self.organisations()))
            ticket = f"{caller.name}/{secrets.token_hex(12)}"
            while len(self.exports) >= MOST_EXPORTS:
                self.exports.pop(next(iter(self.exports)))
            self.exports[ticket] = self.store.rows(organisation)
        rows = self.exports.get(ticket) if ticket.startswith(f"{caller.name}/") else None
        if rows is None:
            raise Misuse("this export was given up because others were begun; begin again")
        page = await asyncio.to_thread(lambda: [row.told() for row in itertools.islice(rows, PAGE)])
        if len(page) < PAGE:
            self.exports.pop(ticket, None)
        return Answer(result={"recipients": page, "ticket": ticket if len(page) == PAGE else ""})

    # --- one recipient ---------------------------------------------------------------------------------------------

    async def find(self, request: RecipientFind, caller: Caller) -> Answer:
        """Who has this address, as the edge would find it."""
        parsed = _parsed(request.address)
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
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
                "attributes": who.attributes,
                "revision": found.revision,
            }
        )

    async def show(self, request: RecipientShow, caller: Caller) -> Answer:
        """Everything about one recipient."""
        organisation, row = await self._there(request.address, request.organisation)
        return Answer(result={"organisation": organisation, **row.told()})

    async def add(self, request: RecipientAdd, caller: Caller) -> Answer:
        """A new recipient."""
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
        row = _row({**_named(request.values), "address": request.address}, organisation)
        return await self._write(caller, "recipient add", organisation, None, row, what_if=request.what_if)

    async def set_(self, request: RecipientSet, caller: Caller) -> Answer:
        """Other values for a recipient."""
        organisation, before = await self._there(request.address, request.organisation)
        told = before.told()
        values = {**told.pop("attributes"), **told, "aliases": " ".join(told["aliases"]), **_named(request.values)}
        row = _row({name: value for name, value in values.items() if value}, organisation)
        return await self._write(caller, "recipient set", organisation, before, row, what_if=request.what_if)

    async def remove(self, request: RecipientRemove, caller: Caller) -> Answer:
        """One recipient less."""
        organisation, before = await self._there(request.address, request.organisation)
        if before.primary.key != _parsed(request.address).key:
            raise Misuse(f"this is an alias of {before.primary}; remove {before.primary}, or set its aliases")
        if not request.force:
            rest = itertools.islice(self.store.rows(organisation), 2)
            if len(await asyncio.to_thread(list, rest)) < 2:
                raise Misuse("this is the last recipient; an empty directory would refuse all mail. Say --force if so")
        return await self._write(caller, "recipient remove", organisation, before, None, what_if=request.what_if)

    async def _write(
        self,
        caller: Caller,
        did: str,
        organisation: str,
        before: RecipientRow | None,
        after: RecipientRow | None,
        *,
        what_if: bool,
    ) -> Answer:
        if after is not None:
            await self._free(organisation, before, after)
        told = {
            "organisation": organisation,
            "before": before.told() if before is not None else None,
            "after": after.told() if after is not None else None,
            "what_if": what_if,
        }
        if what_if or before == after:
            return Answer(result=told)
        old = [before] if before is not None else []
        new = [after] if after is not None else []
        revision = await asyncio.to_thread(self.store.change, organisation, old, new)
        self.audit.wrote(
            caller.name, did, before=told["before"], after=told["after"], organisation=organisation, revision=revision
        )
        self.changed()
        return Answer(result={**told, "revision": revision})

    async def _free(self, organisation: str, before: RecipientRow | None, after: RecipientRow) -> None:
        """Raises Misuse if an address belongs to another recipient."""
        mine = before.primary.key if before is not None else ""
        for address in after.addresses:
            other = await asyncio.to_thread(self.store.row, organisation, address.key)
            if other is not None and other.primary.key != mine:
                raise Misuse(f"{address} belongs to {other.primary} already; an address belongs to one recipient")

    async def _there(self, address: str, organisation: str) -> tuple[str, RecipientRow]:
        parsed = _parsed(address)
        organisation = the_organisation(organisation, tuple(self.organisations()))
        row = await asyncio.to_thread(self.store.row, organisation, parsed.key)
        if row is None:
            raise Nothing(f"nobody has the address {parsed.text}")
        return organisation, row


def _parsed(text: str) -> Address:
    try:
        return parse_address(text, utf8=True)
    except AddressError as trouble:
        raise Misuse(f"'{text[:80]}': {trouble}") from None


def _named(values: Mapping[str, str]) -> dict[str, str]:
    try:
        return {name_of(name): value for name, value in values.items()}
    except KeyError as trouble:
        raise Misuse(str(trouble.args[0])) from None


def _row(values: Mapping[str, Any], organisation: str) -> RecipientRow:
    try:
        return row_of(values, organisation)
    except WrongRow as trouble:
        raise Misuse("; ".join(f"{column}: {message}" for column, message in trouble.reasons)) from None


