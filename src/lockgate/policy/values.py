"""What a person writes behind `property=` becomes the value that a document would hold, and back.

The model says which kind it is.
"""

from __future__ import annotations

import enum
import functools
import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from lockgate.policy.networks import NetworkError, parse_networks


class Kind(enum.StrEnum):
    """How a property is written in TOML."""

    TEXT = "text"
    NUMBER = "number"
    SWITCH = "switch"
    LIST = "list"
    TABLE = "table"
    TABLES = "tables"
    MOMENT = "moment"


@functools.cache
def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    return model.model_json_schema()


def kind_of(model: type[BaseModel], key: str) -> Kind:
    """Of which kind a property is; TEXT for one that the model does not know (validation will say so)."""
    schema = _schema(model)
    return _kind(schema.get("properties", {}).get(key, {}), schema.get("$defs", {}))


def choices(model: type[BaseModel], key: str) -> tuple[Any, ...]:
    """The words that a property of this model may have, () where there are more than could be named."""
    found = _schema(model)
    said = found["properties"][key]
    for one in (said, *said.get("anyOf", ()), *said.get("allOf", ())):
        known = found.get("$defs", {}).get(str(one.get("$ref", "")).rpartition("/")[2], one)
        if words := known.get("enum") or ([known["const"]] if "const" in known else []):
            return tuple(words)
    return ()


def _kind(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Kind:
    if "$ref" in schema:
        return _kind(known.get(str(schema["$ref"]).rpartition("/")[2], {}), known)
    for choice in ("anyOf", "allOf"):
        for one in schema.get(choice, ()):
            if one.get("type") != "null":
                return _kind(one, known)
    said = schema.get("type")
    words = set(said) if isinstance(said, list) else {said}
    if "array" in words:
        return Kind.TABLES if _kind(schema.get("items", {}), known) is Kind.TABLE else Kind.LIST
    if "object" in words:
        return Kind.TABLE
    if words & {"integer", "number"}:
        return Kind.NUMBER
    if "boolean" in words:
        return Kind.SWITCH
    return Kind.MOMENT if schema.get("format") == "date-time" else Kind.TEXT


_SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def value_of(kind: Kind, texts: Sequence[str]) -> Any:
    """The value that these texts stand for (several make a list); what does not fit stays text for the model."""
    if kind is Kind.TABLES:
        tables = [_toml(text) for text in texts if text]
        return tables[0] if len(tables) == 1 and isinstance(tables[0], list) else tables
    if kind is Kind.LIST:
        whole = _toml(texts[0]) if len(texts) == 1 and texts[0].lstrip().startswith("[") else None
        return whole if isinstance(whole, list) else [text for text in texts if text]  # "[External]" is a word
    text = texts[-1]
    match kind:
        case Kind.SWITCH:
            return _SWITCH.get(text.strip().lower(), text)
        case Kind.NUMBER:
            return int(text) if text.strip().removeprefix("-").isdecimal() else text
        case Kind.TABLE | Kind.MOMENT:
            return _toml(text)
        case _:
            return text


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def as_toml(value: Any) -> str:
    """A value as TOML in one line."""
    match value:
        case dict():
            parts = (f"{name} = {as_toml(part)}" for name, part in value.items() if part is not None)
            return "{" + ", ".join(parts) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def without(entries: Sequence[Any], text: str) -> list[Any]:
    """The entries without those that mean the same as the text: networks by their addresses, names in any case."""
    gone = _meaning(text)
    return [entry for entry in entries if _meaning(str(entry)) != gone]


def _meaning(text: str) -> object:
    try:
        return frozenset(parse_networks(text.strip()))
    except NetworkError:
        return text.strip().casefold()
