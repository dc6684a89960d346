"""Words, expressions and names of header fields as rules write them: checked when saved, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from lockgate.mail.directory import ATTRIBUTES
from lockgate.policy.text import Needle, pattern, word

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")


def _each(read: Callable[[str], Needle]) -> AfterValidator:
    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            read(text)  # its TextError is a ValueError with words for people
        return texts

    return AfterValidator(check)


def _field_name(text: str) -> str:
    if not _FIELD_NAME.fullmatch(text):
        raise ValueError(f"'{text[:80]}' is no name of a header field; write it without the colon")
    return text


def _attribute(name: str) -> str:
    if name not in ATTRIBUTES:
        raise ValueError(f"there is no directory attribute '{name[:40]}'; there are {', '.join(ATTRIBUTES)}")
    return name


Attribute = Annotated[str, AfterValidator(_attribute)]
"""The name of a directory attribute (specification 1.15.2)."""

FieldName = Annotated[str, AfterValidator(_field_name)]
"""The name of a header field (RFC 5322 3.6.8)."""

Words = Annotated[tuple[str, ...], Field(min_length=1, max_length=1000), _each(word)]
"""Whole words or phrases (specification 1.15.2)."""

Expressions = Annotated[tuple[str, ...], Field(min_length=1, max_length=1000), _each(pattern)]
"""Regular expressions of .NET (specification 1.15.2)."""


def some(texts: Sequence[str]) -> str:
    """The first few, for an explanation."""
    return ", ".join(texts[:5]) + (", ..." if len(texts) > 5 else "")
