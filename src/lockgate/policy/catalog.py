"""Which conditions and actions there are: collected from packages once, never changed afterwards."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic import Field, create_model

from lockgate.policy import actions as standard_actions
from lockgate.policy import conditions as standard_conditions
from lockgate.policy.kinds import Kind, Role, kind_of
from lockgate.policy.objects.rules import MailFlowRule

EXCEPTION = "except_if_"
"""What the key of an exception begins with; the rest is the condition's."""


class CatalogError(ValueError):
    """Two kinds have one name, or a name that a rule uses otherwise."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Conditions and actions by name, and the model of a rule that may hold any of them."""

    conditions: Mapping[str, Kind]
    actions: Mapping[str, Kind]
    rule: type[MailFlowRule]

    @classmethod
    def collect(cls, *packages: ModuleType) -> Catalog:
        """Walk the packages and take every marked class. Raises CatalogError."""
        found: dict[Role, dict[str, Kind]] = {Role.CONDITION: {}, Role.ACTION: {}}
        taken = dict.fromkeys(MailFlowRule.model_fields, "a property of every rule")
        for kind in _kinds(packages):
            where = f"{kind.model.__module__}.{kind.model.__qualname__}"
            names = (kind.name, EXCEPTION + kind.name) if kind.role is Role.CONDITION else (kind.name,)
            for name in names:
                if name in taken:
                    raise CatalogError(f"{where} is called '{kind.name}', and so is {taken[name]}")
                taken[name] = where
            found[kind.role][kind.name] = kind
        conditions = MappingProxyType(dict(sorted(found[Role.CONDITION].items())))
        actions = MappingProxyType(dict(sorted(found[Role.ACTION].items())))
        return cls(conditions, actions, _rule_model(conditions, actions))


@functools.cache
def standard() -> Catalog:
    """The catalog of what Lockgate itself brings."""
    return Catalog.collect(standard_conditions, standard_actions)


def _kinds(packages: tuple[ModuleType, ...]) -> Iterator[Kind]:
    for package in packages:
        for module in _modules(package):
            for thing in vars(module).values():
                kind = kind_of(thing)
                if kind is not None and kind.model.__module__ == module.__name__:
                    yield kind


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for info in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{package.__name__}."):
        yield importlib.import_module(info.name)


def _rule_model(conditions: Mapping[str, Kind], actions: Mapping[str, Kind]) -> type[MailFlowRule]:
    fields: dict[str, Any] = {}
    for kind in conditions.values():
        fields[kind.name] = _field(kind, kind.summary)
        fields[EXCEPTION + kind.name] = _field(kind, f"Not if: {kind.summary}")
    for kind in actions.values():
        fields[kind.name] = _field(kind, kind.summary)
    return create_model("MailFlowRule", __base__=MailFlowRule, __module__=__name__, **fields)


def _field(kind: Kind, summary: str) -> Any:
    return (kind.model | None, Field(None, description=f"{summary}. {kind.help}", examples=[kind.example]))
