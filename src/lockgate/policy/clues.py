"""Which rules could match by what a message says: found by the words and expressions without which they never do.

All needles of one place (the subject, a header field, an attribute) are looked for together anyhow (text.py); what is
there leads to the rules that look for it, and the others cost nothing. A rule is found by that one of its conditions of
which the fewest rules have the needles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from lockgate.mail.address import Address
from lockgate.policy.found import Ranked, in_order

Asked = TypeVar("Asked", contravariant=True)


class Look(Protocol[Asked]):
    """Looks at one place. `field` is the header field that stands there (lower case), "" if rules change nothing there.
    """

    @property
    def field(self) -> str:
        """The field."""

    def __call__(self, case: Asked, recipient: Address, /) -> Sequence[frozenset[int]] | None:
        """The numbers of the needles that its texts have; None: it cannot be told, so every rule is possible."""


Rule = TypeVar("Rule", bound=Ranked)


class _Place(NamedTuple, Generic[Rule, Asked]):
    """Rules found by what stands in one place: by number of the needle, and all of them."""

    look: Look[Asked]
    by_number: Mapping[int, Sequence[Rule]]
    rules: Sequence[Rule]


class ClueIndex(Generic[Rule, Asked]):
    """Rules found by clues. Those with a clue in an unknown place are always found."""

    __slots__ = ("_always", "_places")

    def __init__(self, rules: Sequence[Rule], looks: Mapping[str, Look[Asked]]) -> None:
        found: dict[str, dict[int, list[Rule]]] = {}
        always: list[Rule] = []
        sought = Counter(clue for rule in rules for clues in rule.bounds.clues for clue in clues)
        for rule in rules:
            known = [clues for clues in rule.bounds.clues if all(clue.place in looks for clue in clues)]
            if not known:
                always.append(rule)
                continue
            for clue in min(known, key=lambda clues: sum(sought[clue] for clue in clues)):
                found.setdefault(clue.place, {}).setdefault(clue.number, []).append(rule)
        self._always = tuple(always)
        self._places = tuple(
            _Place(looks[place], by_number, in_order(by_number.values())) for place, by_number in found.items()
        )

    def found(self, case: Asked, recipient: Address) -> list[Sequence[Rule]]:
        """Groups of rules, each in order of priority; all others cannot match. The cost grows with the places."""
        groups = self._in_places(self._places, case, recipient)
        return [self._always, *groups] if self._always else groups

    def found_in_fields(self, fields: Collection[str], case: Asked, recipient: Address) -> list[Sequence[Rule]]:
        """The same, but only of what stands in these header fields (lower case)."""
        return self._in_places([one for one in self._places if one.look.field in fields], case, recipient)

    def _in_places(
        self, places: Iterable[_Place[Rule, Asked]], case: Asked, recipient: Address
    ) -> list[Sequence[Rule]]:
        groups: list[Sequence[Rule]] = []
        for look, by_number, rules in places:
            seen = look(case, recipient)
            if seen is None:
                groups.append(rules)
                continue
            for numbers in seen:
                groups += [by_number[number] for number in numbers if number in by_number]
        return groups

