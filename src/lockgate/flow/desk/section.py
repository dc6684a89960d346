"""What a section of the desk is: which requests it answers, and the right each of them needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.desk.rights import Caller, Right
from lockgate.policy.problems import Problem


class Misuse(Exception):
    """The request makes no sense; the message says why, in words for the person who made it."""


class Nothing(Exception):
    """What was asked about is not there; the message says so."""


class Forbidden(Exception):
    """The caller has not the right; the message names it."""


class Handler(NamedTuple):
    """How one kind of request is answered: the right it needs, and what does it.

    `do` returns the answer, or raises Misuse, Nothing, Forbidden, Invalid or Unavailable. A caller with the right
    `instead` gets in as well; `do` then looks at what exactly is wanted.
    """

    right: Right
    do: Callable[[Any, Caller], Awaitable[Answer]]
    instead: Right | None = None


class Section(Protocol):
    """One subject of the desk."""

    def handles(self) -> Mapping[type[Ask], Handler]:
        """The requests this section answers."""


def known_filters(filters: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """The filters that say something. Raises Misuse for one that cannot be asked for."""
    if unknown := sorted(set(filters) - set(names)):
        raise Misuse(f"'{unknown[0][:40]}' cannot be asked for; there are {', '.join(names)}")
    if not filters.get("task", "0").isdigit():
        raise Misuse("a task is named by its number")
    return {name: value for name, value in filters.items() if value}


def check_organisation(named: str, known: Iterable[str]) -> None:
    """Raises Misuse if an organisation is named ("": none is) that there is not: an empty answer would be no answer."""
    known = dict.fromkeys(known)
    if named and named not in known:
        raise Misuse(f"there is no organisation '{named[:80]}'; there are {', '.join(known) or 'none'}")


def the_organisation(named: str, known: tuple[str, ...]) -> str:
    """The organisation that is meant; it need not be named where there is one. Raises Misuse."""
    if named:
        check_organisation(named, known)
        return named
    if len(known) != 1:
        raise Misuse(f"say which organisation is meant: {', '.join(known) or 'there is none yet'}")
    return known[0]


def problem_row(problem: Problem) -> dict[str, Any]:
    """A mistake in a document as every face shows it."""
    return {"file": problem.file, "line": problem.line, "path": problem.path, "message": problem.message}
