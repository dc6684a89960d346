"""The rules of the house, each as a test, so that nobody has to say them twice."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "lockgate").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NAMES = {path: str(path.relative_to(ROOT)) for path in [*SOURCES, *TESTS]}

LONGEST_FILE, LONGEST_FUNCTION = 500, 60
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "misc", "shared", "core"}
REPLY = re.compile(r"[245]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3} )?\S")
REPLIES = {"src/lockgate/mail/reply.py", "src/lockgate/mail/replies.py"}
NOT_OURS = {"src/lockgate/cli/demo_site.py"}
"""The demonstration's other mail server speaks for itself."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def each(paths: Sequence[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """One test for all these files, which names every one that breaks the rule: a test for each would cost a minute."""

    def decorate(rule: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            broken: list[str] = []
            for path in paths:
                try:
                    rule(path)
                except AssertionError as trouble:
                    broken.append(f"{NAMES[path]}: {trouble}")
            if broken or not paths:
                raise AssertionError("\n".join(broken))

        test.__name__, test.__doc__ = rule.__name__, rule.__doc__
        return test

    return decorate


def test_every_file_that_breaks_a_rule_is_named() -> None:
    def rule(path: Path) -> None:
        if path in TESTS[:2]:
            raise AssertionError("no")

    with pytest.raises(AssertionError, match=f"{TESTS[0].name}: no\n.*{TESTS[1].name}: no$"):
        each(TESTS[:3])(rule)()
    each(TESTS[2:])(rule)()


@each([*SOURCES, *TESTS])
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{function.name} in line {function.lineno} has {length} lines"


@each([*SOURCES, *TESTS])
def test_a_file_opens_with_one_sentence(path: Path) -> None:
    text = ast.get_docstring(tree(path)) or ""
    first = text.split("\n\n")[0].replace("\n", " ").strip()
    assert first, "the first thing in a file says what it is for"
    assert first[-1] in ".?!:" or first.endswith(")"), f"not a sentence: {first}"
    assert len(first) <= 240, "one sentence, not a chapter"


@each(SOURCES)
def test_public_functions_and_classes_say_what_they_mean(path: Path) -> None:
    for node in tree(path).body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} in line {node.lineno} has no docstring"


def written_codes(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Reply codes written as text or as `Reply(code, ...)`; docstrings are prose and do not count."""
    prose = {
        node.body[0].value
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body and isinstance(node.body[0], ast.Expr)
    }
    prose |= {node.value for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        match node:
            case ast.Constant(value=str(text)) if node not in prose and REPLY.match(text):
                yield node.lineno, text
            case ast.Call(func=ast.Name(id="Reply"), args=[ast.Constant(value=int(code)), *_]):
                yield node.lineno, str(code)


@each([path for path in SOURCES if NAMES[path] not in REPLIES | NOT_OURS])
def test_replies_are_written_in_one_place(path: Path) -> None:
    found = list(written_codes(tree(path)))
    assert not found, f"reply codes belong to mail/replies.py: {found}"


def test_the_search_for_replies_finds_them() -> None:
    module = ast.parse('"""550 5.1.1 prose"""\nx = "550 5.1.1 no"\ny = b"250"\nz = Reply(451, "4.0.0", "w")\n')
    assert [line for line, _ in written_codes(module)] == [2, 4]


WALL_CLOCK = {
    ("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime"), ("time", "ctime"),
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
}  # fmt: skip


def clock_readings(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                if (owner, name) in WALL_CLOCK:
                    yield node.lineno, f"{owner}.{name}"
            case ast.ImportFrom(module="time", names=names):
                for alias in names:
                    if ("time", alias.name) in WALL_CLOCK:
                        yield node.lineno, f"time.{alias.name}"


@each([path for path in SOURCES if NAMES[path] != "src/lockgate/app/clock.py"])
def test_nobody_reads_the_wall_clock_but_the_clock(path: Path) -> None:
    assert list(clock_readings(tree(path))) == []


def test_the_search_for_clocks_finds_them() -> None:
    module = ast.parse("import time, datetime as dt\nfrom time import time\na = time.time()\nb = dt.datetime.now()\n")
    assert [line for line, _ in clock_readings(module)] == [2, 3, 4]


@each(SOURCES)
def test_no_room_or_file_has_a_name_that_says_nothing(path: Path) -> None:
    assert not set(path.relative_to(ROOT / "src").with_suffix("").parts) & VAGUE


@each(SOURCES)
def test_all_is_honest(path: Path) -> None:
    module = tree(path)
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            there = {name for item in module.body for name in bound(item)}
            assert set(ast.literal_eval(node.value)) <= there


def bound(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in names)
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


@each([*SOURCES, *TESTS])
def test_nothing_is_left_for_later(path: Path) -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    text = path.read_text("utf-8")
    assert not [mark for mark in marks if re.search(rf"\b{mark}\b", text)]


@each(SOURCES)
def test_inheritance_is_for_protocols_exceptions_and_data(path: Path) -> None:
    """House c.12: no hierarchies of classes that act."""
    foundations = {
        "Protocol", "Struct", "NamedTuple", "Enum", "StrEnum", "IntEnum", "Exception", "BaseModel", "ValueError",
        "RuntimeError", "KeyError", "OSError", "Generic", "dict", "tuple", "str", "int",
    }  # fmt: skip
    classes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    data = {node.name for node in classes if bases(node) & (foundations - {"dict"}) or not node.bases}
    for node in classes:
        strange = {base for base in bases(node) if base not in foundations and base in data}
        for base in strange:
            acting = next(one for one in classes if one.name == base)
            own = [item.name for item in acting.body if isinstance(item, Function)]
            assert bases(acting) & foundations or not own, f"{node.name} inherits the acting class {base}"


def bases(node: ast.ClassDef) -> set[str]:
    names = set()
    for base in node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        names.add(plain.attr if isinstance(plain, ast.Attribute) else getattr(plain, "id", ""))
    return names
