"""The marks @condition and @action: they leave a Kind on the class and register nothing (house c.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

C = TypeVar("C", bound=type[BaseModel])


class Kind(NamedTuple):
    """One condition or action: its name in documents, one sentence for people, and the class that reads its value.

    `role` is "condition" or "action". `per_recipient` conditions concern one recipient and split the message;
    the others concern the whole message.
    """

    role: str
    name: str
    summary: str
    model: type[BaseModel]
    per_recipient: bool

    @property
    def main_field(self) -> str:
        """The field that a document's plain value fills; a table may name the others too."""
        return next(iter(self.model.model_fields))

    def read(self, value: object) -> BaseModel:
        """The condition or action with this value. Raises pydantic.ValidationError."""
        return self.model.model_validate(value if isinstance(value, dict) else {self.main_field: value})

    def write(self, made: BaseModel) -> Any:
        """The value as a document has it."""
        return made.model_dump(mode="json")[self.main_field]

    @property
    def example(self) -> Any:
        """A value that can be read, taken from the field's own example."""
        examples = self.model.model_fields[self.main_field].examples or []
        return examples[0]


def condition(name: str, summary: str, *, per_recipient: bool) -> Callable[[C], C]:
    """Marks a class as a condition. It needs `compile(self) -> RecipientTest` (policy/rules.py)."""
    return _mark("condition", name, summary, per_recipient=per_recipient)


def action(name: str, summary: str) -> Callable[[C], C]:
    """Marks a class as an action. It needs `compile(self) -> Callable[[Effects], Effects]`."""
    return _mark("action", name, summary, per_recipient=True)


def _mark(role: str, name: str, summary: str, *, per_recipient: bool) -> Callable[[C], C]:
    def mark(made: C) -> C:
        made.__kind__ = Kind(role, name, summary, made, per_recipient)  # type: ignore[attr-defined]
        return made

    return mark
