"""Collects the marks once; never changes afterwards."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

from lockgate.policy import actions, conditions
from lockgate.policy.kinds import Kind


class TwoOfOneName(Exception):
    """Two classes claim one name; the message says which."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every condition and action there is, by its name in documents."""

    conditions: Mapping[str, Kind]
    actions: Mapping[str, Kind]

    @classmethod
    def collect(cls, *packages: ModuleType) -> Catalog:
        """Walk the modules of these packages (ours, when none is given). Raises TwoOfOneName."""
        found: dict[str, dict[str, Kind]] = {"condition": {}, "action": {}}
        for package in packages or (conditions, actions):
            for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                module = importlib.import_module(info.name)
                for made in vars(module).values():
                    kind = getattr(made, "__kind__", None)
                    if isinstance(kind, Kind) and made.__module__ == module.__name__:
                        other = found[kind.role].setdefault(kind.name, kind)
                        if other is not kind:
                            raise TwoOfOneName(f"{kind.role} {kind.name} is both {other.model} and {kind.model}")
        return cls(MappingProxyType(found["condition"]), MappingProxyType(found["action"]))
