"""What can be asked about single policy objects: connectors, domains, lists, rules and the rest."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.ask import Ask


class Assignment(msgspec.Struct, frozen=True):
    """One property as a person writes it. `how` is "=" (put), "+" (add to a list), "-" (take from a list).

    Several "=" for one property make a list; an empty text for a list empties it.
    """

    key: str
    how: str
    text: str


class ObjectList(Ask, frozen=True, tag="object_list"):
    """All objects of these tables, of one organisation or of all."""

    tables: tuple[str, ...]
    organisation: str = ""


class ObjectShow(Ask, frozen=True, tag="object_show"):
    """One object with every property, written or by default."""

    tables: tuple[str, ...]
    name: str = ""
    organisation: str = ""


class ObjectWrite(Ask, frozen=True, tag="object_write"):
    """Change one object and publish a revision. `action` is add, set, put (add or set) or remove.

    `tables` are those where the name is looked for; adding needs exactly one. `unset` properties have their defaults
    again. `with_objects` lets an organisation go together with everything it has.
    """

    action: str
    tables: tuple[str, ...]
    name: str = ""
    organisation: str = ""
    assignments: tuple[Assignment, ...] = ()
    unset: tuple[str, ...] = ()
    with_objects: bool = False
    reason: str = ""
    expect: int | None = None
    what_if: bool = False


class DomainVerify(Ask, frozen=True, tag="domain_verify"):
    """Look up the TXT record of an accepted domain and, if the proof is there, write that it was seen."""

    name: str
    organisation: str = ""
    reason: str = ""
    expect: int | None = None
    what_if: bool = False
