"""Who belongs to a group, groups within groups included: asked for each message, so what was found is remembered."""

from __future__ import annotations

from lockgate.mail.findings import Belongs, BelongsTo, Known, Members, RecipientKind, Unknown
from lockgate.seams import Directory

MOST_REMEMBERED = 200
"""Groups of which the members are remembered."""

MOST_GROUPS = 1000
"""Groups within one group that are looked at."""

_Members = frozenset[str]


class Groups:
    """Answers out of the directory; a group's members are gathered once for each revision of it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[tuple[str, str], tuple[int, _Members]] = {}

    def belongs(self, question: BelongsTo) -> Belongs | Unknown:
        """Whether it does. Unknown if the directory cannot be read, or the group has too many groups within it."""
        organisation, group = question.organisation, question.group
        head = self._directory.who_is(organisation, group)
        if isinstance(head, Unknown):
            return head
        if head.who is None or head.who.kind is not RecipientKind.GROUP:
            return Belongs(member=False, gone=True, revision=head.revision)
        members = self._members(organisation, head.who.primary.key, head.revision)
        if isinstance(members, Unknown):
            return members
        address = question.address
        who = self._directory.who_is(organisation, address)
        if isinstance(who, Known) and who.who is not None:
            address = who.who.primary.key
        return Belongs(member=address in members, revision=head.revision)

    def _members(self, organisation: str, group: str, revision: int) -> _Members | Unknown:
        known = self._known.get((organisation, group))
        if known is not None and known[0] == revision:
            return known[1]
        found = self._gathered(organisation, group)
        if isinstance(found, Unknown):
            return found
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[organisation, group] = (revision, found)
        return found

    def _gathered(self, organisation: str, group: str) -> _Members | Unknown:
        found: set[str] = set()
        groups = [group]
        seen = {group}
        for one in groups:
            members = self._directory.members_of(organisation, one)
            if not isinstance(members, Members):
                return members
            for who in members.known:
                found.add(who.primary.key)
                if who.kind is RecipientKind.GROUP and who.primary.key not in seen:
                    seen.add(who.primary.key)
                    groups.append(who.primary.key)
            found.update(address.key for address in members.others)
            if len(groups) > MOST_GROUPS:
                return Unknown(f"{group} has more than {MOST_GROUPS} groups within it")
        return frozenset(found)
