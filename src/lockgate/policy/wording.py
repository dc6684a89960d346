"""What pydantic finds wrong with a value, in our words: what it must be, so that a person knows what to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic_core import ErrorDetails

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "missing": "must be given",
        "string_type": 'must be text in quotes, "..."',
        "string_unicode": "must be valid Unicode text",
        "tuple_type": 'must be a list, ["...", "..."]',
        "list_type": 'must be a list, ["...", "..."]',
        "bool_type": "must be true or false",
        "bool_parsing": "must be true or false",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "model_type": "must be a table",
        "dict_type": "must be a table",
        "datetime_type": "must be a time like 2026-03-01T10:00:00Z",
        "datetime_parsing": "must be a time like 2026-03-01T10:00:00Z",
        "datetime_from_date_parsing": "must be a time like 2026-03-01T10:00:00Z",
        "enum": "must be {expected}",
        "literal_error": "must be {expected}",
        "string_too_long": "must have at most {max_length} characters",
        "too_long": "must have at most {max_length} items",
    }
)


def in_words(error: ErrorDetails) -> str:
    """The sentence about one mistake; messages of our own checks are passed on."""
    kind, numbers = error["type"], error.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind].format_map(numbers)
    least = numbers.get("min_length", 1)
    if kind == "too_short":
        return "must not be empty: give at least 1 item" if least == 1 else f"must have at least {least} items"
    if kind == "string_too_short":
        return "must not be empty" if least == 1 else f"must have at least {least} characters"
    message = error["msg"].removeprefix("Value error, ")
    return "must be" + message.removeprefix("Input should be") if message.startswith("Input should be") else message


def without_consequences(errors: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """The mistakes, without the lists that are too short only because entries of theirs are wrong in themselves."""
    wrong: set[tuple[Any, ...]] = {error["loc"][:size] for error in errors for size in range(len(error["loc"]))}
    return (error for error in errors if error["type"] != "too_short" or error["loc"] not in wrong)
