"""Policy objects as TOML text, for the faces that change them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Any

from pydantic import BaseModel


def toml_of(objects: Iterable[tuple[str, BaseModel]]) -> str:
    """The document that holds these (table, object) pairs; reading it gives equal objects.

    Only what was set is written, so that what is left to the defaults stays so.
    """
    return "\n".join(_table(table, value.model_dump(mode="python", exclude_unset=True)) for table, value in objects)


def _table(table: str, values: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if value is not None}
    head = "[operator]" if table == "operator" else f"[[{table}]]"
    return "\n".join([head, *(f"{_key(key)} = {_value(value)}" for key, value in plain.items())]) + "\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _text(key)


def _text(text: str) -> str:
    """A basic string; JSON's escapes are TOML's, but for DEL, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case date() | time():
            return value.isoformat()
        case str():
            return _text(str(value))
        case Mapping():
            return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
        case _:
            return "[" + ", ".join(_value(item) for item in value) + "]"
