"""Does a hit of one condition mean a hit of another of its kind? Only what is certain from the values counts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from lockgate.policy.kinds import is_left_out
from lockgate.policy.networks import Network, parse_networks

_ALTERNATIVES = ("_words", "_patterns", "_member_of", "_header", "_list")
"""How the names of conditions end whose values are alternatives, so that more values hit more."""

_MORE_ALTERNATIVES = frozenset({"from", "sent_to", "manager_for_evaluated_user"})


def implies(name: str, one: Any, other: Any) -> bool:
    """Whether whatever the condition `one` of this kind hits is hit by `other` too."""
    if is_left_out(one):
        return False  # it never hits
    if one == other:
        return True
    if name in ("recipient_domain_is", "sender_domain_is"):
        return all_below(one.root, other.root)
    if name == "sender_ip_ranges":
        outer = list(_networks(other.root))
        return all(any(inside(inner, one) for one in outer) for inner in _networks(one.root))
    if name.endswith("_over"):
        return bool(one.root >= other.root)
    if name.endswith(_ALTERNATIVES) or name in _MORE_ALTERNATIVES:
        folds = not name.endswith("_patterns")  # \d is not \D
        return _within(_plain(one), _plain(other), folds=folds)
    return False


def below(domain: str, other: str) -> bool:
    """Whether the domain is the other one or lies below it."""
    return domain == other or domain.endswith(f".{other}")


def all_below(domains: Iterable[str], others: Iterable[str]) -> bool:
    """Whether each of the domains is one of the others, or below one."""
    known = tuple(others)
    return all(any(below(domain, other) for other in known) for domain in domains)


def domain_of(address: str) -> str:
    """The part of an address behind the @, in lower case."""
    return address.rpartition("@")[2].casefold()


def inside(inner: Network, outer: Network) -> bool:
    """Whether one network lies within another."""
    if len(inner.packed) != len(outer.packed) or inner.length < outer.length:
        return False
    bits = 8 * len(inner.packed) - outer.length
    return int.from_bytes(inner.packed, "big") >> bits == int.from_bytes(outer.packed, "big") >> bits


def _networks(entries: Iterable[str]) -> Iterable[Network]:
    return (network for entry in entries for network in parse_networks(entry))


def _plain(value: BaseModel) -> Any:
    return value.model_dump(mode="json")


def _within(one: Any, other: Any, *, folds: bool) -> bool:
    """Whether texts are the same, lists a part, and tables hold nothing that is not within the other's."""
    match one, other:
        case list(), list():
            return {_text(part, folds=folds) for part in one} <= {_text(part, folds=folds) for part in other}
        case dict(), dict():
            return all(key in other and _within(value, other[key], folds=folds) for key, value in one.items())
        case str(), str():
            return one.casefold() == other.casefold()
    return bool(one == other)


def _text(value: Any, *, folds: bool) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text.casefold() if folds else text
