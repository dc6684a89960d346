"""Every write at the desk leaves an audit row, has a dry run, and needs a right that is not one of looking."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.flow import asking
from lockgate.flow.desk.rights import Right

DESK = Path(__file__).resolve().parents[2] / "src" / "lockgate" / "flow" / "desk"
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


def notes(module: ast.Module, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether this function, or one of the file that it calls, writes into the audit."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            called = {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
            called |= {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            if "wrote" in called:
                return True
            if any(notes(module, one, seen | {name}) for one in called - seen - {name}):
                return True
    return False


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
        assert Right[right] not in LOOKING, f"{request_} changes something with a right to look"
    else:
        assert not notes(module, method), f"{request_} writes and has no what_if"
