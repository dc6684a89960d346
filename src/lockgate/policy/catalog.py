"""Which conditions and actions there are: collected from packages once, never changed afterwards."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, ForwardRef

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, create_model

from lockgate.policy import actions as standard_actions
from lockgate.policy import conditions as standard_conditions
from lockgate.policy.kinds import Kind, Role, kind_of
from lockgate.policy.objects.rules import (
    DEEPEST_GROUP,
    EITHER,
    EXCEPT_IF_EITHER,
    MOST_GROUPS,
    ConditionGroup,
    MailFlowRule,
    count_groups,
    groups_of,
)

EXCEPTION = "except_if_"
"""What the key of an exception begins with; the rest is the condition's."""


GROUPS = MappingProxyType(
    {
        EITHER: "At least one of these groups hits",
        EXCEPT_IF_EITHER: "Not if: at least one of these groups hits",
    }
)
"""The keys of groups of conditions, and what they say to people."""

GROUPS_HELP = (
    "A group holds conditions and exceptions as a rule does, and groups; it hits if all its conditions hit and none of "
    "its exceptions does."
)
GROUPS_EXAMPLE = ({"subject_contains_words": ["invoice"]}, {"from": ["ana@contoso.com"], "message_size_over": "10MB"})


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
        taken = dict.fromkeys((*MailFlowRule.model_fields, *GROUPS), "a property of every rule")
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
    fields = _conditions(conditions)
    group: Any = _group_model(fields)
    for key, summary in GROUPS.items():
        fields[key] = _groups(Annotated[tuple[group, ...], BeforeValidator(_shallow), AfterValidator(_few)], summary)
    for kind in actions.values():
        fields[kind.name] = _field(kind, kind.summary)
    return create_model("MailFlowRule", __base__=MailFlowRule, __module__=__name__, **fields)


def _conditions(conditions: Mapping[str, Kind]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for kind in conditions.values():
        fields[kind.name] = _field(kind, kind.summary)
        fields[EXCEPTION + kind.name] = _field(kind, f"Not if: {kind.summary}")
    return fields


def _group_model(conditions: Mapping[str, Any]) -> type[ConditionGroup]:
    """The model of a group, which may hold further groups."""
    inner: Any = tuple.__class_getitem__((ForwardRef("ConditionGroup"), ...))
    fields = {**conditions, **{key: _groups(inner, summary) for key, summary in GROUPS.items()}}
    model = create_model("ConditionGroup", __base__=ConditionGroup, __module__=__name__, **fields)
    model.model_rebuild(force=True, _types_namespace={"ConditionGroup": model})
    return model


def _groups(kind: Any, summary: str) -> Any:
    help_ = f"{summary}. {GROUPS_HELP}"
    return (kind | None, Field(None, min_length=1, description=help_, examples=[list(GROUPS_EXAMPLE)]))


def _shallow(groups: object) -> object:
    """Refuses what is nested deeper than anybody reads, before anything else looks at it."""
    count, deep = count_groups(groups)
    if deep > DEEPEST_GROUP:
        raise ValueError(f"groups lie at most {DEEPEST_GROUP} deep in one another; write them flatter, or two rules")
    if count > MOST_GROUPS:
        raise ValueError(f"a rule has at most {MOST_GROUPS} groups, and here are {count}; values of one condition are "
                         "alternatives already")  # fmt: skip
    return groups


def _few(groups: tuple[ConditionGroup, ...], info: ValidationInfo) -> tuple[ConditionGroup, ...]:
    """The groups of conditions and those of exceptions are counted together."""
    before = info.data.get(EITHER) if info.field_name == EXCEPT_IF_EITHER else None
    count = sum(_count(group) for group in (*groups, *(before or ())))
    if count > MOST_GROUPS:
        raise ValueError(f"a rule has at most {MOST_GROUPS} groups, and with those of {EITHER} these are {count}")
    return groups


def _count(group: ConditionGroup) -> int:
    return 1 + sum(_count(inner) for _, _, inner in groups_of(group))


def _field(kind: Kind, summary: str) -> Any:
    return (kind.model | None, Field(None, description=f"{summary}. {kind.help}", examples=[kind.example]))
