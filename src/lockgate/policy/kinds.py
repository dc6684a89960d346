"""The marks that make a class a condition or an action of mail flow rules; they register nothing.

A condition or action is one frozen pydantic model in one file. Its value in a rule is validated by the model; its
`compile` gives what runs. The catalog finds it; nothing else has to be edited.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, RootModel

from lockgate.mail.lists import ListKind
from lockgate.policy.found import Bounds
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change, Find, RecipientTest

_MARK = "__lockgate_kind__"


class Role(enum.StrEnum):
    """What a kind does in a rule. Every condition is an exception too, as `except_if_...`."""

    CONDITION = "condition"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of condition or action: its key in documents, what it says to people, and its model.

    `per_recipient` tells that it may see different things for two recipients of one message.
    """

    name: str
    summary: str
    role: Role
    model: type[BaseModel]
    per_recipient: bool

    @property
    def example(self) -> Any:
        """The value of an example, as a document would hold it, made of the examples of the fields."""
        values = {name: (info.examples or [None])[0] for name, info in self.model.model_fields.items()}
        return values["root"] if issubclass(self.model, RootModel) else values

    @property
    def help(self) -> str:
        """What the value means: the descriptions of the fields."""
        return " ".join(info.description or "" for info in self.model.model_fields.values()).strip()


class Condition(Protocol):
    """What a class marked as condition offers."""

    def compile(self) -> RecipientTest:
        """The test that runs for every recipient; it explains a hit and a miss."""


class Action(Protocol):
    """What a class marked as action offers."""

    def compile(self) -> Change:
        """What is asked of the later stages."""


@runtime_checkable
class Bound(Protocol):
    """A condition that can only hit known recipients or senders, so that rules can be found by them (found.py)."""

    def bounds(self) -> Bounds:
        """Outside of which it never hits; addresses and domains as they are compared."""


@runtime_checkable
class ByDomainAlone(Protocol):
    """A condition whose answer follows from the recipient's domain and nothing else, so that it may be remembered."""

    by_domain_alone: ClassVar[Literal[True]]


@runtime_checkable
class OfAddress(Protocol):
    """A condition about the recipient's address: the rule's recipient_address_type says which one it is given."""

    of_recipient_address: ClassVar[Literal[True]]


@runtime_checkable
class InContext(Protocol):
    """A condition or action whose `compile_in` takes the place of `compile`, because it needs more than its value.

    Conditions look for texts together with all others (`Context`) and know the rule they stand in.
    """

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest | Change:
        """What `compile` gives; a condition asks the context only once it is sealed."""


@runtime_checkable
class LooksAtCase(Protocol):
    """An action whose `compile_for` takes the place of `compile`, because what it does depends on more of the case.

    What it has to know first it says like a condition; as long as it is unknown, the recipient is put off.
    """

    def compile_for(self, context: Context, rule: MailFlowRule) -> Find:
        """Given the case, what `compile` gives."""


@runtime_checkable
class EvenOnAudit(Protocol):
    """An action that is carried out in these modes too, in which others are only told of (specification 1.15.1)."""

    even_on: ClassVar[tuple[str, ...]]


@runtime_checkable
class Refers(Protocol):
    """A condition or action that names other policy objects, so that the names are checked when saved."""

    def refers_to(self) -> tuple[tuple[str, str], ...]:
        """Pairs of table and name, like ("outbound_connector", "NOLA")."""


class Told(NamedTuple):
    """An advice about a value: what, why it matters, and how to mend it."""

    message: str
    why: str
    mend: str


@runtime_checkable
class LeftOut(Protocol):
    """A condition or action of Exchange that is accepted and kept, and that nothing here does; people are told so.

    Such a condition never hits. Such an action does nothing, or holds the copy where it would be dangerous to let it go
    as if the action had been done; it comes after the other actions of its rule.
    """

    def left_out(self) -> Told:
        """What is not done, what follows, and what there is instead."""


def is_left_out(value: object) -> bool:
    """Whether it is kept and not done (`LeftOut`); asking the protocol is slow, and this is asked of every value."""
    return hasattr(type(value), "left_out")


Model = TypeVar("Model", bound=type[BaseModel])


@runtime_checkable
class UsesLists(Protocol):
    """A condition that looks into named lists, so that their names and kinds are checked when saved."""

    list_kinds: ClassVar[tuple[ListKind, ...]]
    """The kinds of list that fit."""

    def lists(self) -> tuple[str, ...]:
        """The names of the lists."""


def condition(name: str, summary: str, *, per_recipient: bool) -> Callable[[Model], Model]:
    """Mark a class as the condition of this name."""
    return _mark(name, summary, Role.CONDITION, per_recipient=per_recipient)


def action(name: str, summary: str) -> Callable[[Model], Model]:
    """Mark a class as the action of this name."""
    return _mark(name, summary, Role.ACTION, per_recipient=False)


def kind_of(thing: object) -> Kind | None:
    """The mark on a class itself (never one it inherits), or None."""
    found = vars(thing).get(_MARK) if isinstance(thing, type) else None
    return found if isinstance(found, Kind) else None


def _mark(name: str, summary: str, role: Role, *, per_recipient: bool) -> Callable[[Model], Model]:
    def mark(model: Model) -> Model:
        setattr(model, _MARK, Kind(name, summary, role, model, per_recipient))
        return model

    return mark
