"""What differs between two sets of objects: added, removed, and changed property by property."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from lockgate.policy.documents import Documents, Written, name_key
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.ordering import rules_in_order

Identity = tuple[str, str, str]
"""Table, organisation ("" for what belongs to none) and name in lower case."""

NEVER_THE_SAME = frozenset({"organisation"})


class What(enum.StrEnum):
    """What happened to an object."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Property(NamedTuple):
    """One property: its values before and after, JSON-ready; None where the object was not or is not there."""

    name: str
    before: Any
    after: Any


class Difference(NamedTuple):
    """One object that is not what it was. `before` and `after` are None where it was not or is not there."""

    what: What
    table: str
    organisation: str
    name: str
    file: str
    properties: tuple[Property, ...]
    before: BaseModel | None
    after: BaseModel | None

    def value(self, key: str) -> Any:
        """The value of a property afterwards, or before if the object is gone."""
        return getattr(self.after if self.after is not None else self.before, key)

    def changes(self, *keys: str) -> bool:
        """Whether one of these properties differs."""
        return any(one.name in keys for one in self.properties)


def name_of(table: str, value: BaseModel) -> str:
    """What people call an object."""
    return "operator" if table == "operator" else str(getattr(value, name_key(table)))


def identity_of(written: Written[Any]) -> Identity:
    """By what an object is found again in another revision."""
    organisation = str(getattr(written.value, "organisation", ""))
    return written.table, organisation, name_of(written.table, written.value).casefold()


def by_identity(documents: Documents) -> dict[Identity, Written[Any]]:
    """Every object, the operator's table included."""
    found = {identity_of(written): written for written in documents.everything()}
    if documents.operator is not None:
        found[identity_of(documents.operator)] = documents.operator
    return found


def differences(before: Documents, after: Documents) -> tuple[Difference, ...]:
    """Every difference in what the objects say; files, comments, order of writing and spelling do not count."""
    old, new = by_identity(before), by_identity(after)
    places = _moved(before, after)
    found: list[Difference] = []
    for identity, written in new.items():
        earlier = old.get(identity)
        if earlier is None:
            found.append(_difference(What.ADDED, written, None, written.value, _told(written.value)))
            continue
        properties = [*_changed(earlier.value, written.value), *places.get(identity, ())]
        if properties:
            found.append(_difference(What.CHANGED, written, earlier.value, written.value, properties))
    for identity, written in old.items():
        if identity not in new:
            gone = [Property(one.name, one.after, None) for one in _told(written.value)]
            found.append(_difference(What.REMOVED, written, written.value, None, gone))
    return tuple(found)


def _difference(
    what: What, written: Written[Any], before: BaseModel | None, after: BaseModel | None, told: Iterable[Property]
) -> Difference:
    table, value = written.table, written.value
    organisation = str(getattr(value, "organisation", ""))
    return Difference(
        what, table, organisation, name_of(table, value), written.file, tuple(told), before, after
    )


def plain(value: BaseModel, *, all_of_it: bool = False) -> dict[str, Any]:
    """An object as JSON would hold it; without `all_of_it` only what was written, not the defaults."""
    return value.model_dump(mode="json", exclude_unset=not all_of_it)


def _told(value: BaseModel) -> list[Property]:
    return [Property(key, None, one) for key, one in plain(value).items() if key not in NEVER_THE_SAME]


def _changed(before: BaseModel, after: BaseModel) -> list[Property]:
    if before == after:
        return []
    old, new = plain(before, all_of_it=True), plain(after, all_of_it=True)
    return [Property(key, old.get(key), one) for key, one in new.items() if one != old.get(key)]


def _moved(before: Documents, after: Documents) -> Mapping[Identity, tuple[Property, ...]]:
    """Rules that stand in another order than before, told as the property `order` (1 is first)."""
    old, new = _orders(before.rules), _orders(after.rules)
    kept = set(old) & set(new)
    result: dict[Identity, tuple[Property, ...]] = {}
    for organisation in {identity[1] for identity in kept}:
        mine = [identity for identity in kept if identity[1] == organisation]
        if sorted(mine, key=old.__getitem__) != sorted(mine, key=new.__getitem__):
            for identity in mine:
                if old[identity] != new[identity]:
                    result[identity] = (Property("order", old[identity], new[identity]),)
    return result


def _orders(rules: list[Written[MailFlowRule]]) -> dict[Identity, int]:
    grouped: dict[str, list[Written[MailFlowRule]]] = {}
    for rule in rules:
        grouped.setdefault(rule.value.organisation, []).append(rule)
    return {
        identity_of(rule): place
        for group in grouped.values()
        for place, (_, rule) in enumerate(rules_in_order(group), 1)
    }
