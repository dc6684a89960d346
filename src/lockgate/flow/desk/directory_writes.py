"""What all commands that change single recipients share: one at a time, checked, followed up, in the audit.

Who is named by others stays named: when a recipient gets another primary address or loses an alias, the groups,
managers, forwardings and restrictions that named it by the old address name it by its primary one. When a recipient is
removed, it is taken out of the groups of its organisation and is no manager any more; restrictions and forwardings
that name it stay as they are (an emptied restriction would let everybody in), and the answer says so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from lockgate.flow.asking.ask import Answer
from lockgate.flow.desk.rights import Caller
from lockgate.flow.desk.section import Misuse, Nothing, the_organisation
from lockgate.flow.memberships import MOST_MEMBERS, in_cells, objections
from lockgate.flow.recipient_filters import fits, found_by, refitted
from lockgate.flow.recipients import WrongRow, name_of, row_of
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Forwarding, Restriction
from lockgate.seams import Audit, Recipients

SHOWN = 1000
"""Members of a group in an answer that is about more than its members; `member_count` has how many there are."""
_NAMED = 100
"""Groups of one kind named in an answer; groups and members named in the audit."""
MOST_AT_ONCE = 300_000
"""Members of the groups in one change of the store."""
_FORWARDING_DETAILS = ("deliver_to_mailbox_and_forward", "forwarding_by_user")


_Follower = tuple[RecipientRow, RecipientRow]
"""A recipient that names a changed one, as it is and as it will be."""


class Altered(NamedTuple):
    """A recipient as it shall be, and what else the answer and the audit tell of the change."""

    row: RecipientRow
    details: Mapping[str, Any] = MappingProxyType({})


class DirectoryWrites(msgspec.Struct, frozen=True):
    """The directory as commands change it; `organisations` names those of the policy in force.

    `changed` is called after each change, so that a merge may begin in the background. `turn` makes commands wait for
    one another, so that two of them never undo each other.
    """

    audit: Audit
    store: Recipients
    organisations: Callable[[], Sequence[str]]
    changed: Callable[[], None] = lambda: None
    turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    def organisation(self, named: str) -> str:
        """The organisation that is meant. Raises Misuse."""
        return the_organisation(named, tuple(self.organisations()))

    async def there(self, address: str, organisation: str) -> tuple[str, RecipientRow]:
        """The organisation and its recipient with this address. Raises Misuse, Nothing, Unavailable."""
        parsed = parsed_address(address)
        organisation = self.organisation(organisation)
        row = await self.row(organisation, parsed)
        if row is None:
            raise Nothing(f"nobody has the address {parsed.text}")
        return organisation, row

    async def row(self, organisation: str, address: Address) -> RecipientRow | None:
        """The recipient with this address. Raises Unavailable."""
        return await asyncio.to_thread(self.store.row, organisation, address.key)

    async def groups_of(self, row: RecipientRow) -> list[str]:
        """The primary addresses of the groups of which this recipient is a direct member. Raises Unavailable."""
        keys = frozenset(row.keys)
        naming = await asyncio.to_thread(self.store.naming, row.organisation, row.keys)
        return sorted(one.primary.text for one in naming if _is_member(keys, one))

    async def put(
        self, caller: Caller, did: str, organisation: str, row: RecipientRow, *, what_if: bool,
        details: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:  # fmt: skip
        """Add a recipient. Raises Misuse, Unavailable."""
        async with self.turn:
            return await self._write(caller, did, organisation, None, row, what_if=what_if, details=details)

    async def alter(
        self, caller: Caller, did: str, organisation: str, address: str,
        how: Callable[[RecipientRow], Altered], *, what_if: bool,
    ) -> Answer:  # fmt: skip
        """Change the recipient with this address as `how`, which may block, says. Raises Misuse, Nothing, Unavailable.
        """
        async with self.turn:
            organisation, before = await self.there(address, organisation)
            after, details = await asyncio.to_thread(how, before)
            return await self._write(caller, did, organisation, before, after, what_if=what_if, details=details)

    async def remove(
        self, caller: Caller, did: str, organisation: str, address: str, *, force: bool, what_if: bool,
        only: Callable[[RecipientRow], None] = lambda row: None,
    ) -> Answer:  # fmt: skip
        """Remove the recipient with this primary address, if `only` does not object. As `alter`."""
        async with self.turn:
            organisation, before = await self.there(address, organisation)
            only(before)
            if before.primary.key != parsed_address(address).key:
                raise Misuse(f"this is an alias of {before.primary}; remove {before.primary}, or set its aliases")
            if not force:
                rest = itertools.islice(self.store.rows(organisation), 2)
                if len(await asyncio.to_thread(list, rest)) < 2:
                    why = "this is the last recipient; an empty directory would refuse all mail"
                    raise Misuse(f"{why}. Say --force if so")
            return await self._write(caller, did, organisation, before, None, what_if=what_if)

    # --- within ----------------------------------------------------------------------------------------------------

    async def _write(
        self, caller: Caller, did: str, organisation: str, before: RecipientRow | None, after: RecipientRow | None, *,
        what_if: bool, details: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:  # fmt: skip
        warnings: list[str] = []
        gone = frozenset(before.keys if before else ()) - frozenset(after.keys if after else ())
        if after is not None:
            await self._free(organisation, before, after)
            if after.recipient_filter and (before is None or before.recipient_filter != after.recipient_filter):
                after = await asyncio.to_thread(self._with_members, after)
            after = await self._known_senders(_renamed(after, gone, after.primary), before, warnings)
        old, new = ([before] if before else []), ([after] if after else [])
        told = {
            "organisation": organisation,
            "before": before.told(SHOWN) if before is not None else None,
            "after": after.told(SHOWN) if after is not None else None,
            "what_if": what_if,
            **details,
        }
        if before == after:
            return Answer(result={**told, "warnings": warnings})
        followers = await self._following(before, after, gone, warnings)
        followers = await asyncio.to_thread(self._refitted, organisation, before, after, followers, warnings)
        told |= {"warnings": warnings, **_places(before, after, followers)}
        if what_if:
            return Answer(result=told)
        revision = await asyncio.to_thread(self._change, organisation, old, new, followers)
        also = [now.primary.text for _, now in followers]
        self.audit.wrote(
            caller.name, did, before=before.told(_NAMED) if before else None,
            after=after.told(_NAMED) if after else None, organisation=organisation, revision=revision,
            **{name: value for name, value in details.items() if value},
            **({"followed": also[:_NAMED], "followed_count": len(also)} if also else {}),
        )  # fmt: skip
        self.changed()
        return Answer(result={**told, "revision": revision})

    def _with_members(self, group: RecipientRow) -> RecipientRow:
        """A group with the members that its filter finds. Raises Misuse."""
        (members,) = found_by([group], self.store.rows(group.organisation))
        return checked(msgspec.structs.replace(group, members=members))

    def _refitted(
        self, organisation: str, before: RecipientRow | None, after: RecipientRow | None,
        followers: Sequence[_Follower], warnings: list[str],
    ) -> list[_Follower]:  # fmt: skip
        """The followers, and the groups whose filter finds the changed recipient now, or found it before."""
        mine = {row.primary.key for row in (before, after) if row is not None}
        found = {was.primary.key: (was, now) for was, now in followers}
        changed = [row for row in (before, after) if row is not None]
        for key, conditions in self.store.filters(organisation).items():
            if key in mine or not any(fits(row, conditions) for row in changed):
                continue
            group = self.store.row(organisation, key)
            was, now = found.get(key, (group, group))
            if was is None or now is None:
                continue
            members = refitted(now, before, after)
            if len(members) > MOST_MEMBERS:
                warnings.append(f"{was.primary} has {MOST_MEMBERS} members already and takes in no more")
            elif members != was.members:
                found[key] = (was, msgspec.structs.replace(now, members=members))
        return list(found.values())

    def _change(
        self, organisation: str, old: Sequence[RecipientRow], new: Sequence[RecipientRow],
        followers: Sequence[_Follower],
    ) -> int:  # fmt: skip
        """Put it in force: at once, or where very many members follow, group by group and the recipient itself last."""
        batch: list[_Follower] = []
        members = 0
        for follower in followers:
            if batch and members + len(follower[1].members) > MOST_AT_ONCE:
                self.store.change(organisation, *_sides(batch))
                batch, members = [], 0
            batch.append(follower)
            members += len(follower[1].members)
        was, now = _sides(batch)
        return self.store.change(organisation, [*old, *was], [*new, *now])

    async def _free(self, organisation: str, before: RecipientRow | None, after: RecipientRow) -> None:
        """Raises Misuse if an address belongs to another recipient."""
        mine = before.primary.key if before is not None else ""
        had = before.keys if before is not None else ()
        for address in after.addresses:
            other = await self.row(organisation, address) if address.key not in had else None
            if other is not None and other.primary.key != mine:
                raise Misuse(f"{address} belongs to {other.primary} already; an address belongs to one recipient")

    async def _known_senders(
        self, row: RecipientRow, before: RecipientRow | None, warnings: list[str]
    ) -> RecipientRow:
        """The recipient with primary addresses in its restriction; a warning for each new one that nobody has."""
        restriction = row.restriction
        if restriction is None or (before is not None and before.restriction == restriction):
            return row

        def primary(key: str) -> str:
            if key in row.keys:
                return row.primary.key
            found = self.store.row(row.organisation, key)
            if found is None:
                warnings.append(f"who may send to {row.primary} names {key}, which is no recipient here")
            return found.primary.key if found is not None else key

        def primaries(keys: Iterable[str]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(primary(key) for key in keys))

        accept = await asyncio.to_thread(primaries, restriction.accept_from)
        reject = await asyncio.to_thread(primaries, restriction.reject_from)
        restricted = msgspec.structs.replace(restriction, accept_from=accept, reject_from=reject)
        return msgspec.structs.replace(row, restriction=restricted)

    async def _following(
        self, before: RecipientRow | None, after: RecipientRow | None, gone: frozenset[str], warnings: list[str]
    ) -> list[_Follower]:
        """The other recipients that name this one by an address it loses, as they are and as they will be."""
        if before is None or not gone:
            return []
        naming = await asyncio.to_thread(self.store.naming, before.organisation, gone)
        others = [row for row in naming if row.primary.key != before.primary.key]
        if after is not None:
            return [(row, _renamed(row, gone, after.primary)) for row in others]
        followers = [(row, now) for row in others if (now := _without(row, gone)) != row]
        warnings += _left_behind(before, gone, others)
        return followers


def _sides(followers: Sequence[_Follower]) -> tuple[list[RecipientRow], list[RecipientRow]]:
    return [was for was, _ in followers], [now for _, now in followers]


def parsed_address(text: str) -> Address:
    """The address in a request. Raises Misuse."""
    try:
        return parse_address(text, utf8=True)
    except AddressError as trouble:
        raise Misuse(f"'{text[:80]}': {trouble}") from None


def new_row(address: str, values: Mapping[str, str], organisation: str) -> RecipientRow:
    """A recipient of these values. Raises Misuse."""
    given = _named(values)
    return _checked(_row({**given, "address": address}, organisation), given)


def altered(before: RecipientRow, values: Mapping[str, str]) -> RecipientRow:
    """The recipient with these values besides those it has; empty ones take away. Raises Misuse."""
    given = _named(values)
    kept = in_cells(msgspec.structs.replace(before, members=()).told())
    if given.get("forwarding_smtp_address") and "forwarding_by_user" not in given:
        kept.pop("forwarding_by_user", None)  # a new forwarding is the administrator's, unless it is said otherwise
    merged = {**kept, **given}
    row = _row({name: value for name, value in merged.items() if value}, before.organisation)
    if "members" not in given:
        row = msgspec.structs.replace(row, members=before.members)  # never through text: they may be very many
    return _checked(row, given)


def checked(row: RecipientRow) -> RecipientRow:
    """The recipient, if its kind can have what it has. Raises Misuse."""
    if wrong := objections(row):
        raise _misuse(wrong)
    return row


def _checked(row: RecipientRow, given: Mapping[str, str]) -> RecipientRow:
    checked(row)
    if row.forwarding is None and any(given.get(name) for name in _FORWARDING_DETAILS):
        raise Misuse(f"{row.primary} does not forward; say where to, for example --forward-to ann@fabrikam.com")
    return row


def _named(values: Mapping[str, str]) -> dict[str, str]:
    try:
        return {name_of(name): value for name, value in values.items()}
    except KeyError as trouble:
        raise Misuse(str(trouble.args[0])) from None


def _row(values: Mapping[str, Any], organisation: str) -> RecipientRow:
    try:
        return row_of(values, organisation)
    except WrongRow as trouble:
        raise _misuse(trouble.reasons) from None


def _misuse(reasons: Sequence[tuple[str, str]]) -> Misuse:
    return Misuse("; ".join(f"{column}: {message}" for column, message in reasons))


def _places(
    before: RecipientRow | None, after: RecipientRow | None, followers: Sequence[_Follower]
) -> dict[str, Any]:
    """The groups into which a recipient comes, which it leaves, and in which it is named by another address."""
    keys = frozenset((*(before.keys if before else ()), *(after.keys if after else ())))
    places: dict[str, list[str]] = {"entered": [], "left": [], "renamed_in": []}
    for was, now in followers:
        here, there = _is_member(keys, was), _is_member(keys, now)
        if was.members != now.members:
            places["renamed_in" if here and there else "entered" if there else "left"].append(now.primary.text)
    return {
        **{name: groups[:_NAMED] for name, groups in places.items()},
        **{f"{name}_count": len(groups) for name, groups in places.items()},
    }


def _is_member(keys: frozenset[str], group: RecipientRow) -> bool:
    return any(member.key in keys for member in group.members)


def _renamed(row: RecipientRow, gone: frozenset[str], to: Address) -> RecipientRow:
    """The recipient naming `to` wherever it named one of these addresses."""
    if not gone:
        return row

    def addresses(listed: tuple[Address, ...]) -> tuple[Address, ...]:
        named = {one.key: one for one in (to if one.key in gone else one for one in listed)}
        return tuple(named.values())

    forwarding, restriction = row.forwarding, row.restriction
    if forwarding is not None and forwarding.to.key in gone:
        forwarding = Forwarding(to, forwarding.keeps_copy, forwarding.by_user)
    if restriction is not None:
        accept, reject = (
            tuple(dict.fromkeys(to.key if key in gone else key for key in keys))
            for keys in (restriction.accept_from, restriction.reject_from)
        )
        restriction = Restriction(restriction.authenticated_only, restriction.members_only, accept, reject)
    return msgspec.structs.replace(
        row, members=addresses(row.members), managed_by=addresses(row.managed_by), forwarding=forwarding,
        restriction=restriction,
    )  # fmt: skip


def _without(row: RecipientRow, gone: frozenset[str]) -> RecipientRow:
    """The recipient without these among its members and managers."""
    members, managers = (
        tuple(one for one in listed if one.key not in gone) for listed in (row.members, row.managed_by)
    )
    return msgspec.structs.replace(row, members=members, managed_by=managers)


def _left_behind(before: RecipientRow, gone: frozenset[str], others: Sequence[RecipientRow]) -> list[str]:
    """What still names a recipient that is removed."""
    found: list[str] = []
    for row in others:
        restriction, forwarding = row.restriction, row.forwarding
        listed = (*restriction.accept_from, *restriction.reject_from) if restriction is not None else ()
        if any(key in gone for key in listed):
            found.append(f"who may send to {row.primary} still names {before.primary}")
        if forwarding is not None and forwarding.to.key in gone:
            found.append(f"{row.primary} still forwards to {before.primary}")
    if len(found) > _NAMED:
        return [*found[:_NAMED], f"and {len(found) - _NAMED} more"]
    return found
