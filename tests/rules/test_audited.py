"""Every write at the desk leaves an audit row, has a dry run, and needs a right that is not one of looking."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.flow import asking
from lockgate.flow.desk.rights import Right

SOURCE = Path(__file__).resolve().parents[2] / "src" / "lockgate"
DESK = SOURCE / "flow" / "desk"
LOOKING = {right for right in Right if right.name.endswith("_VIEW")} | {Right.AUDIT}


def handlers() -> Iterator[tuple[str, str, str, ast.Module]]:
    """(request, right, method, module) of every handler at the desk."""
    for path in sorted(DESK.glob("*.py")):
        module = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(module):
            match node:
                case ast.Dict(keys=keys, values=values):
                    for key, value in zip(keys, values, strict=True):
                        match key, value:
                            case ast.Name(id=request), ast.Call(
                                func=ast.Name(id="Handler"),
                                args=[ast.Attribute(attr=right), ast.Attribute(attr=method), *_],
                            ):
                                yield request, right, method, module


def writes(request: str) -> bool:
    """A request that can be tried without consequences has some otherwise."""
    return "what_if" in getattr(asking, request).__struct_fields__


ELSEWHERE = {
    ("revising", "publish"): (SOURCE / "flow" / "revising.py", "publish"),
    ("objects", "publish"): (DESK / "objects.py", "publish"),
    ("rotation", "rotate"): (SOURCE / "flow" / "rotation.py", "rotate"),
    ("rotation", "revoke"): (SOURCE / "flow" / "rotation.py", "revoke"),
    ("imports", "whole"): (SOURCE / "app" / "sections.py", "recipient_sections"),
    ("imports", "open"): (SOURCE / "app" / "sections.py", "recipient_sections"),
    ("writes", "put"): (DESK / "directory_writes.py", "put"),
    ("writes", "alter"): (DESK / "directory_writes.py", "alter"),
    ("writes", "remove"): (DESK / "directory_writes.py", "remove"),
}
"""What a section calls that writes the row for it: the attribute's last two names, and where that function is."""

NOTED_LOOKS = {"HoldBody"}
"""Requests that change nothing and are noted all the same: somebody reads another's mail."""

RIGHT_OF_THE_OBJECT = {"ObjectWrite": "may"}
"""Requests whose right depends on what they are about, and the function that demands it."""


@functools.cache
def named(module: ast.Module, name: str) -> ast.AST | None:
    """The function of this name."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node
    return None


@functools.cache
def called_in(function: ast.AST) -> set[str]:
    """Every name and attribute in a function."""
    return {inner.attr for inner in ast.walk(function) if isinstance(inner, ast.Attribute)} | {
        inner.id for inner in ast.walk(function) if isinstance(inner, ast.Name)
    }


def reaches(module: ast.Module, name: str, wanted: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether this function calls that one, or one of the file that does."""
    function = named(module, name)
    if function is None:
        return False
    called = called_in(function)
    return wanted in called or any(reaches(module, one, wanted, seen | {name}) for one in called - seen - {name})


def notes(module: ast.Module, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether this function, or one that it calls, writes into the audit."""
    function = named(module, name)
    if function is None:
        return False
    called = called_in(function)
    if "wrote" in called:
        return True
    for inner in ast.walk(function):
        match inner:
            case ast.Attribute(value=ast.Attribute(attr=owner), attr=attr) if (owner, attr) in ELSEWHERE:
                path, there = ELSEWHERE[owner, attr]
                return notes(ast.parse(path.read_text("utf-8")), there)
    return any(notes(module, one, seen | {name}) for one in called - seen - {name})


FOUND = list(handlers())


def test_the_search_finds_the_handlers() -> None:
    assert {"QueueEdit", "Reload", "AuditFind", "BackupMake", "AlertAck"} <= {request for request, *_ in FOUND}
    importlib.import_module("lockgate.flow.desk.front")


@pytest.mark.parametrize(("request_", "right", "method", "module"), FOUND, ids=[one[0] for one in FOUND])
def test_a_write_is_audited_and_needs_more_than_looking(
    request_: str, right: str, method: str, module: ast.Module
) -> None:
    if writes(request_):
        assert notes(module, method), f"{request_} changes something and leaves no audit row"
        if (demands := RIGHT_OF_THE_OBJECT.get(request_)) is None:
            assert Right[right] not in LOOKING, f"{request_} changes something with a right to look"
        else:
            acts = {name for name in called_in(named(module, method)) if name.startswith("_")}
            assert acts and all(reaches(module, act, demands) for act in acts)
    elif request_ not in NOTED_LOOKS:
        assert not notes(module, method), f"{request_} writes and has no what_if"
