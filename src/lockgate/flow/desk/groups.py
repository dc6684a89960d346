"""Distribution groups at the desk: list, show, add, change and remove them; take members in and out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.groups import (
    GroupAdd,
    GroupEdit,
    GroupList,
    GroupMembers,
    GroupRemove,
    GroupSet,
    GroupShow,
)
from lockgate.flow.cells import Reasons, addresses_in
from lockgate.flow.desk.directory_writes import (
    SHOWN,
    Altered,
    DirectoryWrites,
    altered,
    checked,
    new_row,
    parsed_address,
)
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse
from lockgate.flow.memberships import MOST_MEMBERS
from lockgate.flow.recipient_filters import as_text
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import RecipientKind

PAGE = 5000
"""Members in one answer."""
_MOST = 100_000
_NAMED = 100
"""Addresses named one by one in an answer and in the audit."""
_MOST_NESTED = 1000
"""Groups that are looked through for one that contains itself."""


class GroupDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about distribution groups."""

    writes: DirectoryWrites

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            GroupList: Handler(Right.RECIPIENTS_VIEW, self.list_),
            GroupShow: Handler(Right.RECIPIENTS_VIEW, self.show),
            GroupMembers: Handler(Right.RECIPIENTS_VIEW, self.members),
            GroupAdd: Handler(Right.RECIPIENTS, self.add),
            GroupSet: Handler(Right.RECIPIENTS, self.set_),
            GroupRemove: Handler(Right.RECIPIENTS, self.remove),
            GroupEdit: Handler(Right.RECIPIENTS, self.edit),
        }

    # --- seeing ----------------------------------------------------------------------------------------------------

    async def list_(self, request: GroupList, caller: Caller) -> Answer:
        """All groups, or those of one member, by their addresses."""
        if not 1 <= request.limit <= _MOST:
            raise Misuse(f"the limit is a number from 1 to {_MOST}")
        if request.member:
            return Answer(result=await self._of_member(request))
        organisation = self.writes.organisation(request.organisation)

        def read() -> list[dict[str, Any]]:
            return [row.told(0) for row in self.writes.store.groups(organisation)]

        return Answer(result=_listed(await asyncio.to_thread(read), request.limit))

    async def _of_member(self, request: GroupList) -> list[dict[str, Any]]:
        member = parsed_address(request.member)
        organisation = self.writes.organisation(request.organisation)
        row = await self.writes.row(organisation, member)
        keys = frozenset(row.keys if row is not None else (member.key,))
        naming = await asyncio.to_thread(self.writes.store.naming, organisation, keys)
        groups = [one.told(0) for one in naming if any(listed.key in keys for listed in one.members)]
        return _listed(groups, request.limit)

    async def show(self, request: GroupShow, caller: Caller) -> Answer:
        """Everything about one group."""
        organisation, row = await self._there(request.address, request.organisation)
        groups = await self.writes.groups_of(row)
        loop = await asyncio.to_thread(self._loop, row)
        return Answer(result={
            "organisation": organisation, **row.told(SHOWN), "member_of": groups, "contains_itself": loop,
        })  # fmt: skip

    async def members(self, request: GroupMembers, caller: Caller) -> Answer:
        """The next members, and who each of them is."""
        organisation, row = await self._there(request.address, request.organisation)
        after = max(0, request.after)
        listed = row.members[after : after + PAGE]
        told = await asyncio.to_thread(self._tell, organisation, listed)
        more = after + PAGE < len(row.members)
        return Answer(result={"members": told, "member_count": len(row.members), "after": after + PAGE if more else 0})

    # --- changing --------------------------------------------------------------------------------------------------

    async def add(self, request: GroupAdd, caller: Caller) -> Answer:
        """A new group."""
        organisation = self.writes.organisation(request.organisation)
        row = new_row(request.address, _of_a_group(request.values), organisation)
        details: dict[str, Any] = {}
        if request.members:
            listed, details = await asyncio.to_thread(self._with, row, request.members)
            row = checked(msgspec.structs.replace(_listing(row), members=listed))
        return await self.writes.put(
            caller, "group add", organisation, row, what_if=request.what_if, details=details
        )

    async def set_(self, request: GroupSet, caller: Caller) -> Answer:
        """Other values for a group."""
        return await self.writes.alter(
            caller, "group set", request.organisation, request.address,
            lambda before: Altered(altered(_group(before), request.values)), what_if=request.what_if,
        )  # fmt: skip

    async def remove(self, request: GroupRemove, caller: Caller) -> Answer:
        """One group less."""
        return await self.writes.remove(
            caller, "group remove", request.organisation, request.address, force=request.force,
            what_if=request.what_if, only=_only_groups,
        )  # fmt: skip

    async def edit(self, request: GroupEdit, caller: Caller) -> Answer:
        """Other members for a group."""
        if not (request.add or request.remove or request.all_out):
            raise Misuse("say whom to take in or out")
        out = _addresses(request.remove)

        def how(before: RecipientRow) -> Altered:
            row = _listing(_group(before))
            row, told_out = (msgspec.structs.replace(row, members=()), {}) if request.all_out else self._less(row, out)
            listed, told_in = self._with(row, request.add)
            after = checked(msgspec.structs.replace(row, members=listed))
            left = {"removed_count": len({*before.members} - {*listed})}
            return Altered(after, {**told_in, **told_out, **left})

        return await self.writes.alter(
            caller, "group member", request.organisation, request.address, how, what_if=request.what_if
        )

    # --- within ----------------------------------------------------------------------------------------------------

    async def _there(self, address: str, organisation: str) -> tuple[str, RecipientRow]:
        organisation, row = await self.writes.there(address, organisation)
        return organisation, _group(row)

    def _tell(self, organisation: str, listed: Iterable[Address]) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        for member in listed:
            row = self.writes.store.row(organisation, member.key)
            who = {"kind": "", "display_name": ""}
            if row is not None:
                who = {"kind": row.kind.value, "display_name": row.attributes.get("display_name", "")}
            told.append({"address": (row.primary if row is not None else member).text, **who})
        return told

    def _with(self, row: RecipientRow, add: Sequence[str]) -> tuple[tuple[Address, ...], dict[str, Any]]:
        """The members with these besides, by their primary addresses, and what there is to tell. Blocks."""
        there = {member.key: member for member in row.members}
        added: list[str] = []
        already: list[str] = []
        elsewhere: list[str] = []
        for address in _addresses(add):
            found = self.writes.store.row(row.organisation, address.key)
            member = found.primary if found is not None else address
            if any(key in there for key in (found.keys if found is not None else (address.key,))):
                already.append(member.text)
                continue
            if found is None and address.key not in row.keys:
                elsewhere.append(member.text)
            there[member.key] = member
            added.append(member.text)
        told = {
            "added": added[:_NAMED], "added_count": len(added), "already": already[:_NAMED],
            "not_recipients": elsewhere[:_NAMED], "not_recipients_count": len(elsewhere),
        }  # fmt: skip
        return tuple(there.values()), told

    def _less(self, row: RecipientRow, out: Sequence[Address]) -> tuple[RecipientRow, dict[str, Any]]:
        """The group without these members, by whichever address, and what there is to tell. Blocks. Raises Misuse."""
        there = {member.key: member for member in row.members}
        removed: list[str] = []
        nobody: list[str] = []
        for address in out:
            found = self.writes.store.row(row.organisation, address.key) if address.key not in there else None
            keys = (address.key, *(found.keys if found is not None else ()))
            gone = [there.pop(key) for key in keys if key in there]
            if gone:
                removed += [one.text for one in gone]
            else:
                nobody.append(address.text)
        told = {"removed": removed[:_NAMED], "not_members": nobody[:_NAMED]}
        return msgspec.structs.replace(row, members=tuple(there.values())), told

    def _loop(self, group: RecipientRow) -> list[str]:
        """The way on which a group contains itself, its own address first and last; empty if it does not. Blocks."""
        own = group.primary.key
        ways: list[tuple[RecipientRow, list[str]]] = [(group, [group.primary.text])]
        seen = {own}
        while ways and len(seen) < _MOST_NESTED:
            row, way = ways.pop(0)
            for member in row.members:
                found = self.writes.store.row(row.organisation, member.key)
                if found is None or found.kind is not RecipientKind.GROUP:
                    continue
                if found.primary.key == own:
                    return [*way, group.primary.text]
                if found.primary.key not in seen:
                    seen |= {found.primary.key}
                    ways.append((found, [*way, found.primary.text]))
        return []


def _listed(groups: Iterable[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    rows = sorted(groups, key=lambda told: str(told["address"]).casefold())
    return [
        {name: value for name, value in told.items() if name != "members"} for told in itertools.islice(rows, limit)
    ]


def _of_a_group(values: Mapping[str, str]) -> dict[str, str]:
    return {**values, "kind": RecipientKind.GROUP.value}


def _group(row: RecipientRow) -> RecipientRow:
    _only_groups(row)
    return row


def _listing(row: RecipientRow) -> RecipientRow:
    """The group, if its members are listed. Raises Misuse."""
    if row.recipient_filter:
        found = as_text(row.recipient_filter)
        raise Misuse(f"the members of {row.primary} are found by its filter ({found}); `recipient_filter=` ends that")
    return row


def _only_groups(row: RecipientRow) -> None:
    """Raises Misuse for what is no group."""
    if row.kind is not RecipientKind.GROUP:
        raise Misuse(f"{row.primary} is no distribution group but a {row.kind.value.replace('_', ' ')}")


def _addresses(listed: Sequence[str]) -> tuple[Address, ...]:
    """The addresses of a list. Raises Misuse with those that are none."""
    wrong: Reasons = []
    found = addresses_in(listed, "", MOST_MEMBERS, wrong)
    if wrong:
        raise Misuse("; ".join(message for _, message in wrong[:5]))
    return found
