"""What all commands share: where the service is, and how an answer becomes lines and an exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from lockgate.cli import show
from lockgate.cli.client import PATIENCE, NotReachable, ask
from lockgate.flow.asking import Answer, Kind, Request
from lockgate.flow.checkup import Found
from lockgate.policy.problems import Invalid, Problem

if TYPE_CHECKING:
    from lockgate.policy.compile import Understood

PLACES = ("lockgate.toml", "/etc/lockgate/lockgate.toml")
"""Where the operator's file is looked for, in this order, when none is named."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WhatIf = Annotated[bool, typer.Option("--what-if", help="Say what would be done, and do nothing.")]


class CannotDo(Exception):
    """What was asked for cannot be done here; the message says why and what to do."""


class Places(NamedTuple):
    """What a command has to know of the operator's file."""

    hostname: str
    control_socket: Path
    policy_directory: Path
    keeps_mailboxes: bool = False


class Switchboard(NamedTuple):
    """What the floors above hand down to the terminal, because a door does not know who is behind it.

    `serve` runs the service until it is stopped and returns its exit code; `places` and `check_config` read the
    operator's file (raising Invalid or OSError; the latter returns what the file names and is not there).
    `read_documents` gives the policy documents of a folder by name (raising Invalid). `begin` writes a new installation
    into a folder and returns its first revision (raising Invalid or OSError). `preflight` and `doctor` look an
    installation over and never raise. `settings` gives every value of the operator's file with where it comes from
    (raising Invalid or OSError). `restore` puts a backup in its place (backup, operator's file, what-if) and says what
    it did (raising CannotDo, Invalid or OSError). `around` looks at what documents cannot say (operator's file,
    documents), and never raises.
    """

    serve: Callable[[Path], int]
    places: Callable[[Path], Places]
    check_config: Callable[[Path], Sequence[Problem]]
    read_documents: Callable[[Path], dict[str, str]]
    begin: Callable[[Path, Mapping[str, str], str], int]
    preflight: Callable[[Path], Sequence[Found]]
    doctor: Callable[[Path], Sequence[Found]]
    settings: Callable[[Path], Sequence[Mapping[str, Any]]]
    restore: Callable[[Path, Path, bool], dict[str, Any]] | None = None
    authenticate: Callable[[Path, str, str, str, Path | None, str], dict[str, Any]] | None = None
    around: Callable[[Path, Understood], Sequence[Problem]] | None = None


class Given(NamedTuple):
    """The switchboard and the options before the command."""

    board: Switchboard
    config: Path | None
    control: Path | None


def given(context: typer.Context) -> Given:
    """What `main` and the options before the command left for the commands."""
    found = context.find_object(Given)
    if found is None:
        raise RuntimeError("the command line was started without its switchboard")
    return found


def config_path(options: Given) -> Path:
    """The operator's file that is meant; ends the command with code 2 if there is none."""
    if options.config is not None:
        return options.config
    for place in PLACES:
        if Path(place).is_file():
            return Path(place)
    show.complain(f"There is no {PLACES[0]} here and no {PLACES[1]}; say --config FILE.")
    raise typer.Exit(show.MISUSE)


def places(options: Given) -> Places:
    """What the operator's file says; ends the command with its mistakes."""
    path = config_path(options)
    try:
        return options.board.places(path)
    except Invalid as trouble:
        problems(trouble.problems)
        raise typer.Exit(show.FINDING) from None
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{path} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None


def problems(found: Sequence[Problem]) -> None:
    """Mistakes as compilers print them, `file:line: path: message`, for editors to jump to."""
    for problem in found:
        show.complain(problem_line(problem.file, problem.line, problem.path, problem.message))


def mistakes(found: Sequence[Problem], *, as_json: bool) -> None:
    """The same, or as JSON."""
    if as_json:
        rows = [{"file": one.file, "line": one.line, "path": one.path, "message": one.message} for one in found]
        show.as_json({"problems": rows})
    else:
        problems(found)


def problem_line(file: object, line: object, path: object, message: object) -> str:
    """One mistake."""
    return f"{file}:{line}: {path}: {message}" if path else f"{file}:{line}: {message}"


def advice(row: Mapping[str, Any]) -> None:
    """One finding of the linter: what and where, why it matters, how to mend it."""
    show.say(f"warning: {problem_line(row['file'], row['line'], row['path'], row['message'])}")
    if row["why"]:
        show.say(f"    why: {row['why']}")
    if row["mend"]:
        show.say(f"    mend: {row['mend']}")


def answered(context: typer.Context, request: Request, *, as_json: bool, patience: float = PATIENCE) -> Any:
    """The result of a request; with `as_json` already printed. Ends the command if there is none.

    What an answer says beside its result goes to standard error. `patience` is how many seconds it is waited for.
    """
    answer = _answer(context, request, patience)
    if answer.kind != Kind.OK:
        _refused(answer, as_json=as_json)
    if answer.sentence:
        show.complain(f"{_begun(answer.sentence)}.")
    if as_json:
        show.as_json(answer.result)
    return answer.result


def answered_for_each(
    context: typer.Context,
    ids: Sequence[str] | None,
    request: Callable[[str], Request],
    tell: Callable[[Mapping[str, Any]], None],
    *,
    as_json: bool,
) -> None:
    """Make the same request for each of these ids, then `tell` of all answers as of one; with `as_json` one document.

    Without ids it is made once, for "": what the filters say is meant then.
    Lists and counts of the answers are added up, and `unknown` has the ids for which there is nothing to be done: each
    is named, and the command ends with code 1 behind them all. If the command has to end sooner, what was done until
    then is told first.
    """
    if not ids:
        result = answered(context, request(""), as_json=as_json)
        if not as_json:
            tell(result)
        return
    told: dict[str, Any] = {}
    unknown: list[str] = []
    try:
        for one in dict.fromkeys(ids):
            answer = _answer(context, request(one), PATIENCE)
            if answer.kind == Kind.FINDING:
                show.complain(f"{_begun(answer.sentence)}: {one}")
                unknown.append(one)
                continue
            if answer.kind != Kind.OK:
                _refused(answer, as_json=as_json and not (told or unknown))
            for name, value in answer.result.items():
                adds = name in told and (isinstance(value, list) or type(value) is int)
                told[name] = told[name] + value if adds else value
    finally:
        if as_json and (told or unknown):
            show.as_json({**told, "unknown": unknown})
        elif told:
            tell(told)
    if unknown:
        raise typer.Exit(show.FINDING)


def _answer(context: typer.Context, request: Request, patience: float) -> Answer:
    options = given(context)
    control = options.control or _control_of_environment() or places(options).control_socket
    try:
        return ask(control, request, patience)
    except NotReachable as trouble:
        show.complain(str(trouble))
        raise typer.Exit(show.UNREACHABLE) from None


def asked_again(context: typer.Context, request: Request) -> Any:
    """The result of a request; None while nobody can answer it. Ends the command if it can never be answered."""
    options = given(context)
    control = options.control or _control_of_environment() or places(options).control_socket
    try:
        answer = ask(control, request)
    except NotReachable:
        return None
    if answer.kind == Kind.UNREACHABLE:
        return None
    if answer.kind != Kind.OK:
        _refused(answer, as_json=False)
    return answer.result


def _control_of_environment() -> Path | None:
    named = os.environ.get("LOCKGATE_CONTROL", "")
    return Path(named) if named else None


def unreadable(file: str, trouble: OSError | UnicodeDecodeError) -> NoReturn:
    """Say that a file cannot be read, and end."""
    if isinstance(trouble, UnicodeDecodeError):
        show.complain(f"{file} is not UTF-8 at octet {trouble.start}; write it as UTF-8")
    else:
        show.complain(f"{file} cannot be read: {trouble.strerror or trouble}")
    raise typer.Exit(show.MISUSE) from None


def _begun(sentence: str) -> str:
    """With a capital; a name of a file or a property at its beginning is left as it is written."""
    return sentence[:1].upper() + sentence[1:] if sentence.partition(" ")[0].isalpha() else sentence


def _refused(answer: Answer, *, as_json: bool) -> NoReturn:
    found = answer.result.get("problems", []) if isinstance(answer.result, dict) else []
    if as_json:
        show.as_json({"kind": answer.kind, "sentence": answer.sentence, "problems": found})
    for row in found:
        show.complain(problem_line(row.get("file"), row.get("line"), row.get("path"), row.get("message")))
    show.complain(_begun(answer.sentence))
    match answer.kind:
        case Kind.FINDING:
            raise typer.Exit(show.FINDING)
        case Kind.MISUSE | Kind.FORBIDDEN:
            raise typer.Exit(show.MISUSE)
        case _:
            raise typer.Exit(show.UNREACHABLE)
