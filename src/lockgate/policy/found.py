"""Which rules could match at all: found by whom a message is to and from, so that the others cost nothing.

A rule is found by one of its bounds, the one that leaves the least: what it says of the recipient's address, of the
sender's, of the recipient's domain or of the sender's. A rule without any is looked at for every message. No rule
changes whom a message is from (actions/header.py), so what could match at first is all that could match later. What a
message says is another matter, and another index (clues.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from lockgate.mail.address import Address
from lockgate.policy.tries import DomainMap


class Clue(NamedTuple):
    """One needle in one kind of text, by its number there (reading.py)."""

    place: str
    number: int


Clues = tuple[Clue, ...]
"""Needles of which one has to be there."""


class Bounds(NamedTuple):
    """Outside of which a rule never matches; None: it is not bound so.

    Addresses are compared without case; domains stand for all below them too. The sender's are those of From and of the
    envelope together. It never matches either where of one of `clues` nothing is found (clues.py).
    """

    recipients: tuple[str, ...] | None = None
    senders: tuple[str, ...] | None = None
    recipient_domains: tuple[str, ...] | None = None
    sender_domains: tuple[str, ...] | None = None
    clues: tuple[Clues, ...] = ()

    def both(self, other: Bounds) -> Bounds:
        """The bounds of a rule that both hold for: of two of a kind the shorter one."""
        return Bounds(
            _shorter(self.recipients, other.recipients),
            _shorter(self.senders, other.senders),
            _shorter(self.recipient_domains, other.recipient_domains),
            _shorter(self.sender_domains, other.sender_domains),
            self.clues + other.clues,
        )

    def either(self, other: Bounds) -> Bounds:
        """The bounds of what one of them holds for."""
        return Bounds(
            _joined(self.recipients, other.recipients),
            _joined(self.senders, other.senders),
            _joined(self.recipient_domains, other.recipient_domains),
            _joined(self.sender_domains, other.sender_domains),
            ((*min(self.clues, key=len), *min(other.clues, key=len)),) if self.clues and other.clues else (),
        )


_Texts = tuple[str, ...] | None


def _shorter(one: _Texts, other: _Texts) -> _Texts:
    return min((texts for texts in (one, other) if texts is not None), key=len, default=None)


def _joined(one: _Texts, other: _Texts) -> _Texts:
    return None if one is None or other is None else tuple(dict.fromkeys((*one, *other)))


UNBOUND = Bounds()


class Sender(Protocol):
    """One address that a message is from."""

    @property
    def address(self) -> str:
        """The whole of it."""

    @property
    def domain(self) -> str:
        """Its domain (A-label, lower case)."""


class Ranked(Protocol):
    """A rule, as far as it is found."""

    @property
    def priority(self) -> int:
        """Its place; no two have one."""

    @property
    def bounds(self) -> Bounds:
        """Outside of which it never matches."""


Rule = TypeVar("Rule", bound=Ranked)


class RuleIndex(Generic[Rule]):
    """Rules in order of priority, found by recipient and senders. `by_sender`: senders have to be known to find them;
    `by_domain`: which ones could match follows from the recipient's domain alone.
    """

    __slots__ = (
        "_anywhere", "_recipient_domains", "_recipients", "_sender_domains", "_senders", "by_domain", "by_sender",
    )  # fmt: skip

    def __init__(self, rules: Sequence[Rule]) -> None:
        recipients: dict[str, list[Rule]] = {}
        senders: dict[str, list[Rule]] = {}
        to: dict[str, list[Rule]] = {}
        of: dict[str, list[Rule]] = {}
        anywhere: list[Rule] = []
        for rule in rules:
            bounds = rule.bounds
            if bounds.recipients is not None:
                _put(recipients, (one.casefold() for one in bounds.recipients), rule)
            elif bounds.senders is not None:
                _put(senders, (one.casefold() for one in bounds.senders), rule)
            elif bounds.recipient_domains is not None:
                _put(to, (f"*.{one}" for one in bounds.recipient_domains), rule)
            elif bounds.sender_domains is not None:
                _put(of, (f"*.{one}" for one in bounds.sender_domains), rule)
            else:
                anywhere.append(rule)
        self._anywhere = tuple(anywhere)
        self._recipients, self._senders = recipients, senders
        self._recipient_domains, self._sender_domains = (
            DomainMap((pattern, tuple(group)) for pattern, group in found.items()) for found in (to, of)
        )
        self.by_sender = bool(senders or of)
        self.by_domain = not (recipients or senders or of)

    def could_match(self, recipient: Address, senders: Iterable[Sender]) -> tuple[Rule, ...]:
        """In order of priority. The cost grows with the rules returned, not with the rules there are."""
        groups: list[Sequence[Rule]] = list(self._recipient_domains.every(recipient.domain))
        if self._recipients and (mine := self._recipients.get(recipient.key)):
            groups.append(mine)
        if self.by_sender:
            for sender in senders:
                groups += self._sender_domains.every(sender.domain)
                if theirs := self._senders.get(sender.address.casefold()):
                    groups.append(theirs)
        if not groups:
            return self._anywhere
        if len(groups) == 1 and not self._anywhere:
            return tuple(groups[0])
        return in_order((self._anywhere, *groups))


def _put(found: dict[str, list[Rule]], keys: Iterable[str], rule: Rule) -> None:
    for key in dict.fromkeys(keys):
        found.setdefault(key, []).append(rule)


def in_order(groups: Iterable[Iterable[Rule]]) -> tuple[Rule, ...]:
    """The rules of all these groups, each once, in order of priority."""
    merged = {id(rule): rule for group in groups for rule in group}
    return tuple(sorted(merged.values(), key=_place))


def _place(rule: Ranked) -> int:
    return rule.priority
