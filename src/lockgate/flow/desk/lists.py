"""Named lists at the desk: what is on them shown, searched, added, removed, imported and exported.

No entry is part of the policy, so no write here makes a revision of it; each is in the audit.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.lists import (
    ListAdd,
    ListExport,
    ListFind,
    ListImport,
    ListRemove,
    ListShow,
    ListsList,
)
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.flow.list_files import FORMS, read_list
from lockgate.flow.revising import Ground, Revising
from lockgate.mail.lists import ListEntry, ListKind, ListName
from lockgate.policy.catalog import standard
from lockgate.policy.listed import find_value, read_entry
from lockgate.policy.named_lists import lists_of
from lockgate.policy.objects.named_lists import NamedList
from lockgate.policy.problems import Invalid, Problem, nearest
from lockgate.seams import Audit, ListChange, ListKeeper

PAGE = 20_000
"""Entries in one answer of an export."""
MOST_EXPORTS = 8
NAMED = 100
"""Entries of one change named in the audit, and in the answer."""
MOST_BY_HAND = 10_000
"""Entries of one command; more of them come in a file."""


class _Meant(NamedTuple):
    """A list as it is declared, and the name of its entries."""

    declared: NamedList
    name: ListName


class ListDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about named lists."""

    revising: Revising
    audit: Audit
    keeper: ListKeeper
    exports: dict[str, Iterator[ListEntry]] = msgspec.field(default_factory=dict)

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            ListsList: Handler(Right.LISTS_VIEW, self.list),
            ListShow: Handler(Right.LISTS_VIEW, self.show),
            ListFind: Handler(Right.LISTS_VIEW, self.find),
            ListExport: Handler(Right.LISTS_VIEW, self.export),
            ListAdd: Handler(Right.LISTS, self.add),
            ListRemove: Handler(Right.LISTS, self.remove),
            ListImport: Handler(Right.LISTS, self.import_),
        }

    # --- looking ---------------------------------------------------------------------------------------------------

    async def list(self, request: ListsList, caller: Caller) -> Answer:
        """All lists, by organisation and name."""
        ground = await self.revising.ground()
        declared = [
            one.value
            for one in ground.understood.documents.lists
            if request.organisation in ("", one.value.organisation)
        ]
        ordered = sorted(declared, key=lambda one: (one.organisation, one.name.casefold()))
        return Answer(result=[await asyncio.to_thread(self._row, one, ground) for one in ordered])

    async def show(self, request: ListShow, caller: Caller) -> Answer:
        """One list."""
        ground = await self.revising.ground()
        meant = _meant(ground, request.name, request.organisation)
        return Answer(result=await asyncio.to_thread(self._row, meant.declared, ground))

    async def find(self, request: ListFind, caller: Caller) -> Answer:
        """The entry that covers what is asked for."""
        meant = await self._named(request.name, request.organisation)
        wanted = _entry(meant, request.entry)
        view = await asyncio.to_thread(self.keeper.current, meant.name)
        # Of words this very phrase is meant, not one within it.
        words = meant.name.kind is ListKind.WORDS
        found = await asyncio.to_thread(
            lambda: view.find(wanted.key) if words else find_value(meant.name.kind, wanted.key, view)
        )
        if found is None:
            raise Nothing(f"'{wanted.text[:80]}' is not on the list {meant.declared.name} (revision {view.revision})")
        return Answer(
            result={"list": meant.declared.name, "entry": found.text, "asked": wanted.text, "revision": view.revision}
        )

    async def export(self, request: ListExport, caller: Caller) -> Answer:
        """The next page of all entries, as they were when the first one was asked for."""
        ticket = request.ticket
        if not ticket:
            meant = await self._named(request.name, request.organisation)
            view = await asyncio.to_thread(self.keeper.current, meant.name)
            ticket = f"{caller.name}/{secrets.token_hex(12)}"
            while len(self.exports) >= MOST_EXPORTS:
                self.exports.pop(next(iter(self.exports)))
            self.exports[ticket] = view.entries()
        entries = self.exports.get(ticket) if ticket.startswith(f"{caller.name}/") else None
        if entries is None:
            raise Misuse("this export was given up because others were begun; begin again")
        page = await asyncio.to_thread(lambda: [entry.text for entry in itertools.islice(entries, PAGE)])
        if len(page) < PAGE:
            self.exports.pop(ticket, None)
        return Answer(result={"entries": page, "ticket": "" if len(page) < PAGE else ticket})

    # --- changing --------------------------------------------------------------------------------------------------

    async def add(self, request: ListAdd, caller: Caller) -> Answer:
        """Entries more."""
        meant = await self._named(request.name, request.organisation)
        entries = _entries(meant, request.entries)
        return await self._written(
            caller, "list add", meant, [entry.text for entry in entries], request.what_if,
            lambda: self.keeper.change(meant.name, entries, (), caller.name, what_if=request.what_if),
        )  # fmt: skip

    async def remove(self, request: ListRemove, caller: Caller) -> Answer:
        """Entries less."""
        if request.everything == bool(request.entries):
            raise Misuse("say which entries are to be removed, or that all of them are")
        meant = await self._named(request.name, request.organisation)
        if request.everything:
            return await self._written(
                caller, "list remove", meant, [], request.what_if,
                lambda: self.keeper.clear(meant.name, caller.name, what_if=request.what_if),
            )  # fmt: skip
        entries = _entries(meant, request.entries)
        return await self._written(
            caller, "list remove", meant, [entry.text for entry in entries], request.what_if,
            lambda: self.keeper.change(meant.name, (), entries, caller.name, what_if=request.what_if),
        )  # fmt: skip

    async def import_(self, request: ListImport, caller: Caller) -> Answer:
        """The entries of a file, all or none."""
        if request.form not in FORMS:
            raise Misuse(f"a file of entries is one of {', '.join(FORMS)}, not '{request.form[:40]}'")
        meant = await self._named(request.name, request.organisation)

        def load() -> ListChange:
            entries = read_list(request.text, request.form, meant.name.kind, request.file)
            first = next(entries, None)
            if first is None:
                what = "; to empty the list say `lockgate list remove NAME --all`" if request.replace else ""
                raise Misuse(f"{request.file} holds no entries, and nothing was changed{what}")
            return self.keeper.load(
                meant.name, itertools.chain((first,), entries), caller.name,
                replace=request.replace, what_if=request.what_if,
            )  # fmt: skip

        named = {"file": request.file, "replace": request.replace}
        return await self._written(caller, "list import", meant, [], request.what_if, load, named)

    # --- within ----------------------------------------------------------------------------------------------------

    async def _written(
        self, caller: Caller, did: str, meant: _Meant, entries: Sequence[str], what_if: bool,
        change: Callable[[], ListChange], more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:  # fmt: skip
        """Do it, note it, and tell it."""
        done = await asyncio.to_thread(change)
        counts = {name: getattr(done, name) for name in ("added", "there", "removed")}
        if not what_if and (done.added or done.removed):
            self.audit.wrote(
                caller.name, did, before={"entries": done.before}, after={"entries": done.after},
                organisation=meant.name.organisation, list=meant.declared.name, revision=done.revision,
                **counts, **more,
                **({"entries": entries[:NAMED]} if entries else {}),
            )  # fmt: skip
        return Answer(
            result={
                "list": meant.declared.name,
                "organisation": meant.name.organisation,
                "kind": meant.name.kind.value,
                "revision": done.revision,
                "before": done.before,
                "entries": done.after,
                **counts,
                "missing": list(done.missing[:NAMED]),
                "missing_count": len(done.missing),
                "what_if": what_if,
            }
        )

    async def _named(self, name: str, organisation: str) -> _Meant:
        return _meant(await self.revising.ground(), name, organisation)

    def _row(self, declared: NamedList, ground: Ground) -> dict[str, Any]:
        """One list as every face shows it."""
        view = self.keeper.current(_name_of(declared))
        catalog = standard()
        users = [
            rule.value.name
            for rule in ground.understood.documents.rules
            if rule.value.organisation == declared.organisation and declared.name in lists_of(rule.value, catalog)
        ]
        return {
            "name": declared.name,
            "organisation": declared.organisation,
            "kind": declared.kind.value,
            "entries": view.count,
            "revision": view.revision,
            "last_change": view.changed,
            "by": view.by,
            "used_by": users,
            "comments": declared.comments,
            "note": "" if view.count else "it has no entries yet, so nothing is on it",
        }


def _name_of(declared: NamedList) -> ListName:
    return ListName(declared.organisation, declared.kind, declared.name)


def _meant(ground: Ground, name: str, organisation: str) -> _Meant:
    """The list of this name. Raises Misuse, Nothing."""
    documents = ground.understood.documents
    whose = the_organisation(organisation, tuple(one.value.name for one in documents.organisations))
    mine = [one.value for one in documents.lists if one.value.organisation == whose]
    for declared in mine:
        if declared.name.casefold() == name.casefold():
            return _Meant(declared, _name_of(declared))
    near = nearest(name, [one.name for one in mine]) or "; `lockgate list declare` makes one"
    raise Nothing(f"there is no list '{name[:80]}'{near}")


def _entries(meant: _Meant, texts: tuple[str, ...]) -> list[ListEntry]:
    """Raises Misuse, Invalid."""
    if not texts:
        raise Misuse("say which entries are meant")
    if len(texts) > MOST_BY_HAND:
        raise Misuse(f"more than {MOST_BY_HAND} entries come in a file: `lockgate list import`")
    found: list[ListEntry] = []
    problems: list[Problem] = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(read_entry(meant.name.kind, text))
        except ValueError as trouble:
            problems.append(Problem("entry", number, "", str(trouble)))
    if problems:
        raise Invalid(tuple(problems))
    return found


def _entry(meant: _Meant, text: str) -> ListEntry:
    try:
        return read_entry(meant.name.kind, text)
    except ValueError as trouble:
        raise Misuse(str(trouble)) from None
