"""From TOML texts to policy objects, or to all their mistakes at once, each with file, line and path."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, ValidationError

from lockgate.policy.catalog import Catalog
from lockgate.policy.kinds import Kind
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import ConnectionFilter, Operator
from lockgate.policy.objects.rules import EXCEPTION, OWN_KEYS, MailFlowRule
from lockgate.policy.toml_lines import line_of

ARRAYS: Mapping[str, type[BaseModel]] = {
    "organisation": Organisation,
    "accepted_domain": AcceptedDomain,
    "inbound_connector": InboundConnector,
    "outbound_connector": OutboundConnector,
    "connection_filter": ConnectionFilter,
    "mail_flow_rule": MailFlowRule,
}
"""The arrays of tables that documents are made of."""

_MOST_PROBLEMS = 1000


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a document: where it stands (line from 1; 0: the file as a whole) and what would be right."""

    file: str
    line: int
    path: str
    message: str


class Invalid(Exception):
    """All mistakes of the documents."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{p.file}:{p.line}: {p.path}: {p.message}" for p in problems[:5]))
        self.problems = problems


class Place(NamedTuple):
    """Where an object stands; `where` leads to it within its file."""

    file: str
    where: tuple[str | int, ...]


class Written(NamedTuple):
    """One object as it was read, and where it stands."""

    made: Any
    place: Place


class Documents:
    """What the documents hold, by kind in the order of files and lines, and what is wrong with it."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self.problems: list[Problem] = []
        self.objects: dict[str, list[Written]] = {name: [] for name in ARRAYS}
        self.operator: Written | None = None

    def complain(self, place: Place, message: str, *keys: str | int) -> None:
        """Note a mistake of the object at `place`, at the key that `keys` leads to."""
        if len(self.problems) < _MOST_PROBLEMS:
            path = (*place.where, *keys)
            line = line_of(self._files[place.file], path)
            self.problems.append(Problem(place.file, line, spelled(path), message))


def spelled(path: Iterable[str | int]) -> str:
    """A path as people count: `inbound_connector[1].sender_domains[2]`, from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_documents(files: Mapping[str, str], catalog: Catalog) -> Documents:
    """Read every text. Mistakes are in `problems`; objects with mistakes are left out."""
    documents = Documents(files)
    for file in sorted(files):
        data = _parse(documents, file, files[file])
        for key, value in data.items():
            _read_key(documents, catalog, file, key, value)
    return documents


def _parse(documents: Documents, file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as trouble:
        found = re.search(r"\(at line (\d+)", str(trouble))
        line = int(found[1]) if found else text.count("\n") + 1
        message = re.sub(r" \(at (line \d+, column \d+|end of document)\)", "", str(trouble))
        documents.problems.append(Problem(file, line, "", f"this is not TOML: {message}"))
    except (RecursionError, ValueError) as trouble:
        documents.problems.append(Problem(file, 0, "", f"this cannot be read: {str(trouble) or 'nested too deeply'}"))
    return {}


def _read_key(documents: Documents, catalog: Catalog, file: str, key: str, value: object) -> None:
    place = Place(file, (key,))
    if key == "operator":
        if not isinstance(value, dict):
            documents.complain(place, "write it as a table, [operator]")
        elif documents.operator is not None:
            documents.complain(place, f"the operator's wishes stand in {documents.operator.place.file} already")
        else:
            made = _validated(documents, place, lambda: Operator.model_validate(value), Operator)
            documents.operator = Written(made, place) if made is not None else None
        return
    if key not in ARRAYS:
        documents.complain(place, f"this is unknown{nearest(key, (*ARRAYS, 'operator'))}")
        return
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        documents.complain(place, f"write each one as a table of its own, [[{key}]]")
        return
    for number, entry in enumerate(value):
        _read_object(documents, catalog, key, entry, Place(file, (key, number)))


def _read_object(documents: Documents, catalog: Catalog, key: str, entry: dict[str, Any], place: Place) -> None:
    model = ARRAYS[key]
    if model is MailFlowRule:
        made = _read_rule(documents, catalog, entry, place)
    else:
        made = _validated(documents, place, lambda: model.model_validate(entry), model)
    if made is not None:
        documents.objects[key].append(Written(made, place))


def _read_rule(documents: Documents, catalog: Catalog, entry: dict[str, Any], place: Place) -> MailFlowRule | None:
    before = len(documents.problems)
    own = {key: value for key, value in entry.items() if key in OWN_KEYS}
    parts: dict[str, list[tuple[str, Any]]] = {"conditions": [], "exceptions": [], "actions": []}
    for key, value in entry.items():
        if key in OWN_KEYS:
            continue
        part, kind = _kind_of(catalog, key)
        if kind is None:
            twins = (EXCEPTION + name for name in catalog.conditions)
            hint = nearest(key, (*OWN_KEYS, *catalog.conditions, *twins, *catalog.actions))
            documents.complain(place, f"this is no condition, exception or action{hint}", key)
            continue
        there = Place(place.file, (*place.where, key))
        made = _validated(documents, there, partial(kind.read, value), kind.model)
        parts[part].append((key, made))
    if not parts["actions"]:
        documents.complain(place, f"a rule needs an action; there are {', '.join(sorted(catalog.actions))}")
    shown = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    whole = {**own, **{name: tuple(found) for name, found in parts.items()}, "written": shown}
    rule = _validated(documents, place, lambda: MailFlowRule.model_validate(whole), MailFlowRule)
    return rule if rule is not None and len(documents.problems) == before else None


def _kind_of(catalog: Catalog, key: str) -> tuple[str, Kind | None]:
    if key in catalog.actions:
        return "actions", catalog.actions[key]
    if key.startswith(EXCEPTION):
        return "exceptions", catalog.conditions.get(key.removeprefix(EXCEPTION))
    return "conditions", catalog.conditions.get(key)


def _validated(documents: Documents, place: Place, read: Callable[[], Any], model: type[BaseModel]) -> Any:
    try:
        return read()
    except ValidationError as trouble:
        for error in trouble.errors():
            where = tuple(part for part in error["loc"] if isinstance(part, int | str))
            if len(place.where) == 3 and where:
                where = where[1:]  # the main field of a condition or action does not stand in the document
            documents.complain(place, _in_words(error, model), *where)
        return None


def _in_words(error: Any, model: type[BaseModel]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"this key is unknown{nearest(str(error['loc'][-1]), model.model_fields)}"
        case "missing":
            return "this is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error" | "enum":
            return f"this must be {error['ctx']['expected']}"
        case _:
            return str(error["msg"][0].lower() + error["msg"][1:])


def nearest(written: str, known: Iterable[str]) -> str:
    """A hint at the known word that was probably meant, or ""."""
    close = difflib.get_close_matches(written, list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""
