"""TOML texts to policy objects, or to all their mistakes at once, each with file, line and path."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lockgate.policy.catalog import Catalog
from lockgate.policy.locate import Path, line_of, locate
from lockgate.policy.objects.anti_phishing import AntiPhishingPolicy
from lockgate.policy.objects.arc import ArcConfig
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.named_lists import NamedList
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import ConnectionFilter, Operator
from lockgate.policy.objects.remote_domains import RemoteDomain
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.objects.stores import MailboxStore
from lockgate.policy.problems import Problem, nearest
from lockgate.policy.wording import in_words, without_consequences

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """One object and where it is written.

    `suspect` are the keys that were left out of `value` because they are wrong; whatever depends on them is not
    judged any further, so that one mistake is told once.
    """

    value: T
    table: str
    file: str
    index: int
    suspect: frozenset[str] = frozenset()


@dataclass(slots=True)
class Documents:
    """All objects of all texts, in the order of file names and then of writing."""

    organisations: list[Written[Organisation]] = field(default_factory=list)
    domains: list[Written[AcceptedDomain]] = field(default_factory=list)
    inbound: list[Written[InboundConnector]] = field(default_factory=list)
    outbound: list[Written[OutboundConnector]] = field(default_factory=list)
    filters: list[Written[ConnectionFilter]] = field(default_factory=list)
    remote: list[Written[RemoteDomain]] = field(default_factory=list)
    rules: list[Written[MailFlowRule]] = field(default_factory=list)
    stores: list[Written[MailboxStore]] = field(default_factory=list)
    anti_phishing: list[Written[AntiPhishingPolicy]] = field(default_factory=list)
    arc: list[Written[ArcConfig]] = field(default_factory=list)
    signing: list[Written[DkimSigningConfig]] = field(default_factory=list)
    lists: list[Written[NamedList]] = field(default_factory=list)
    operator: Written[Operator] | None = None
    unread: set[tuple[str, str]] = field(default_factory=set)
    """(table, name) of objects too broken to be read."""
    broken: list[str] = field(default_factory=list)
    """Texts that are no TOML."""
    gaps: bool = False
    """Whether there are texts besides of which nothing is known."""

    def may_hold(self, table: str, name: str = "") -> bool:
        """Whether an object that is not here (without a name: any of its kind) may be in what could not be read.

        Whoever refers to it is not blamed, so that one mistake is told once.
        """
        return (
            self.gaps
            or any((name or table) in text for text in self.broken)
            or any(table == kind and name in ("", called) for kind, called in self.unread)
        )

    def everything(self) -> Iterator[Written[Any]]:
        """Every object except the operator's."""
        yield from self.organisations
        yield from self.domains
        yield from self.inbound
        yield from self.outbound
        yield from self.filters
        yield from self.remote
        yield from self.rules
        yield from self.stores
        yield from self.anti_phishing
        yield from self.arc
        yield from self.signing
        yield from self.lists


_BOM = "\ufeff"


class Places:
    """Lines of the texts, looked up only when there is something to say about them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._lines: dict[str, Mapping[Path, int]] = {}

    def problem(self, file: str, path: Path, message: str) -> Problem:
        """A problem at this path of the file."""
        if file not in self._lines:
            self._lines[file] = locate(self._files.get(file, "").removeprefix(_BOM).replace("\r\n", "\n"))
        return Problem(file, line_of(self._lines[file], path), _told(path), message)


TABLES = (
    "organisation",
    "accepted_domain",
    "inbound_connector",
    "outbound_connector",
    "connection_filter",
    "remote_domain",
    "mail_flow_rule",
    "mailbox_store",
    "anti_phishing_policy",
    "arc_config",
    "dkim_signing_config",
    "named_list",
)
"""The arrays of tables that documents are made of; besides there is the one table [operator]."""


_MODELS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "organisation": Organisation,
        "accepted_domain": AcceptedDomain,
        "inbound_connector": InboundConnector,
        "outbound_connector": OutboundConnector,
        "connection_filter": ConnectionFilter,
        "remote_domain": RemoteDomain,
        "mailbox_store": MailboxStore,
        "anti_phishing_policy": AntiPhishingPolicy,
        "arc_config": ArcConfig,
        "dkim_signing_config": DkimSigningConfig,
        "named_list": NamedList,
        "operator": Operator,
    }
)


def model_of(table: str, catalog: Catalog) -> type[BaseModel]:
    """What the objects of a table are; those of rules are as the catalog has them. KeyError for no table of ours."""
    return catalog.rule if table == "mail_flow_rule" else _MODELS[table]


def name_key(table: str) -> str:
    """The property by which an object of the table is called; names differ within an organisation."""
    return "domain_name" if table in {"accepted_domain", "remote_domain", "dkim_signing_config"} else "name"


def read(
    files: Mapping[str, str], catalog: Catalog, *, gaps: bool = False
) -> tuple[Documents, list[Problem], Places]:
    """Read all texts ({file name: TOML}). What is wrong is told in the problems, the rest is in the documents.

    `gaps` tells that there are more texts, which could not be read.
    """
    places = Places(files)
    reader = _Reader(Documents(gaps=gaps), [], places, catalog)
    tables = list(reader.tables(files))
    names = {
        str(raw["name"]) for _, table, _, raw in tables if table == "organisation" and isinstance(raw.get("name"), str)
    }
    if not names and reader.documents.may_hold("organisation"):
        names = {_UNREAD}
        reader.documents.unread.add(("organisation", _UNREAD))
    reader.only = next(iter(names)) if len(names) == 1 else ""
    reader.organisations = len(names)
    for file, table, index, raw in tables:
        reader.one(file, table, index, raw)
    return reader.documents, reader.problems, places


_UNREAD = "unread"
"""Stands for the organisation while its own text cannot be read, so that what belongs to it is checked all the same."""


@dataclass(slots=True)
class _Reader:
    documents: Documents
    problems: list[Problem]
    places: Places
    catalog: Catalog
    only: str = ""
    organisations: int = 0

    def tables(self, files: Mapping[str, str]) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
        """Every table as (file, array, index, raw); what is no table of ours becomes a problem."""
        for file in sorted(files):
            for key, value in self._parse(file, files[file]).items():
                if key == "operator" and isinstance(value, dict):
                    yield file, key, 0, value
                elif key in TABLES and isinstance(value, list):
                    yield from self._rows(file, key, value)
                else:
                    self._stranger(file, key)

    def _rows(self, file: str, key: str, rows: list[Any]) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
        for index, raw in enumerate(rows):
            if isinstance(raw, dict):
                yield file, key, index, raw
            else:
                self.problems.append(self.places.problem(file, (key, index), f"write it as a table, [[{key}]]"))

    def _stranger(self, file: str, key: str) -> None:
        if key in TABLES:
            message = f"write it with two brackets, [[{key}]], because there may be several"
        elif key == "operator":
            message = "write it as one table, [operator]"
        else:
            message = f"there is no '{key[:80]}'" + (
                nearest(key, (*TABLES, "operator")) or f"; there are {', '.join(TABLES)}, operator"
            )
        self.problems.append(self.places.problem(file, (key,), message))

    def _parse(self, file: str, text: str) -> dict[str, Any]:
        if text.startswith(_BOM):
            message = "the file begins with a byte order mark (BOM); save it as UTF-8 without BOM"
            self.problems.append(Problem(file, 1, "", message))
            text = text.removeprefix(_BOM)
        try:
            return tomllib.loads(text)
        except RecursionError:
            self.problems.append(Problem(file, 1, "", "the text is nested too deeply"))
        except ValueError as trouble:  # TOMLDecodeError, and numbers that Python refuses
            self.problems.append(_syntax(file, text, str(trouble)))
        self.documents.broken.append(text)
        return {}

    def one(self, file: str, table: str, index: int, raw: dict[str, Any]) -> None:
        """Validate one table and keep the object."""
        if table not in {"organisation", "operator"} and "organisation" not in raw and self.only:
            raw = {**raw, "organisation": self.only}
        model = model_of(table, self.catalog)
        prefix: Path = (table,) if table == "operator" else (table, index)
        suspect: frozenset[str] = frozenset()
        try:
            value = model.model_validate(raw)
        except ValidationError as trouble:
            errors = tuple(without_consequences(trouble.errors(include_url=False)))
            for error in errors:
                self.problems.append(self.places.problem(file, (*prefix, *error["loc"]), self._message(error, model)))
            suspect = frozenset(str(error["loc"][0]) for error in errors if error["loc"])
            salvaged = _salvage(model, raw, suspect)
            if salvaged is None:
                self.documents.unread.add((table, str(raw.get("name", raw.get("domain_name", "")))))
                return
            value = salvaged
        self._keep(Written(value, table, file, index, suspect))

    def _message(self, error: ErrorDetails, model: type[BaseModel]) -> str:
        if error["type"] == "missing" and error["loc"] == ("organisation",):
            many = self.organisations > 1
            return (
                "must be given, because there are several" if many else "write one [[organisation]] with a name first"
            )
        return _message(error, model)

    def _keep(self, written: Written[Any]) -> None:
        documents, value = self.documents, written.value
        if not isinstance(value, Operator):
            _list_of(documents, value).append(written)
        elif documents.operator is None:
            documents.operator = written
        else:
            message = f"[operator] may be written once, and {documents.operator.file} has it already"
            self.problems.append(self.places.problem(written.file, ("operator",), message))


def _list_of(documents: Documents, value: BaseModel) -> list[Written[Any]]:
    """Where objects of this kind are kept."""
    lists: tuple[tuple[type[BaseModel], list[Any]], ...] = (
        (Organisation, documents.organisations),
        (AcceptedDomain, documents.domains),
        (InboundConnector, documents.inbound),
        (OutboundConnector, documents.outbound),
        (ConnectionFilter, documents.filters),
        (RemoteDomain, documents.remote),
        (MailFlowRule, documents.rules),
        (MailboxStore, documents.stores),
        (AntiPhishingPolicy, documents.anti_phishing),
        (ArcConfig, documents.arc),
        (DkimSigningConfig, documents.signing),
        (NamedList, documents.lists),
    )
    return next(kept for kind, kept in lists if isinstance(value, kind))


def _salvage(model: type[BaseModel], raw: dict[str, Any], wrong: frozenset[str]) -> BaseModel | None:
    """The object without its wrong keys, so that the rest of it can be checked too; None if nothing stands alone."""
    try:
        return model.model_validate({key: value for key, value in raw.items() if key not in wrong})
    except ValidationError:
        return None


def _syntax(file: str, text: str, trouble: str) -> Problem:
    match = re.search(r"\(at line (\d+), column (\d+)\)", trouble)
    line = int(match[1]) if match else text.rstrip().count("\n") + 1
    reason = trouble.partition(" (at ")[0]
    return Problem(file, line, "", f"this is not valid TOML: {reason[:200]}")


def _told(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in path).removeprefix(".")


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    where = error["loc"]
    if error["type"] != "extra_forbidden":
        return in_words(error)
    key = str(where[-1]) if where else ""
    return f"there is no '{key[:80]}' here{nearest(key, _keys_at(model, where[:-1]))}"


def _keys_at(model: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at this place of the model."""
    for part in (part for part in where if isinstance(part, str)):
        info = model.model_fields.get(part)
        inner = _model_within(info.annotation) if info is not None else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The model of a value that is a table, a list of tables, or may be missing."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_within(part) for part in get_args(annotation))
    return next((model for model in inner if model is not None), None)
