"""Story files at the terminal: what the policy must do, written down, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, given, problem_line
from lockgate.policy.problems import Invalid, Problem

if TYPE_CHECKING:
    from lockgate.flow.stories import Story
    from lockgate.policy.policy import Policy

_HOSTNAME = "mx.example"


def stories(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder with *.story files (or one such file).")],
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="DIR", help="Play them by these documents, whatever is `given`.")
    ] = None,
    hostname: Annotated[
        str, typer.Option(help=f"Our name; default: that of the operator's file if --config names one, or {_HOSTNAME}.")
    ] = "",
    steps: Annotated[bool, typer.Option("--steps", help="Print every step of the stories that fail.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play story files: a message, what is supposed, and what must come of it. Code 1 if one does not come true.

    The service is not needed. An operator's file is read only if `lockgate --config FILE stories` names one; it says
    whether mailboxes are kept here. What fails is told as file:line: message; docs/stories.md has the words.
    """
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.story"))
    if not paths:
        show.complain(f"There is no *.story file in {folder}.")
        raise typer.Exit(show.MISUSE)
    shelf = _Shelf(context, policy, hostname)
    results = [_played(path, shelf) for path in paths]
    failed = sum(not result["ok"] for result in results)
    if as_json:
        show.as_json({"stories": results, "failed": failed})
    else:
        for result in results:
            _tell(result, steps=steps)
        true = len(results) - failed
        show.say(f"{len(results)} stories: {true} came true, {failed} did not.")
    if failed:
        raise typer.Exit(show.FINDING)


class _Shelf:
    """The policies that stories name, each compiled once."""

    def __init__(self, context: typer.Context, instead: Path | None, hostname: str) -> None:
        options = given(context)
        # Only a file that is named: a story must not depend on the folder in which it is played.
        found = asked.places(options) if options.config is not None else None
        self._read = options.board.read_documents
        self._instead = instead
        self._hostname = hostname or (found.hostname if found else _HOSTNAME)
        self._kept = found is not None and found.keeps_mailboxes
        self._compiled: dict[tuple[tuple[Path, ...], bool], Policy] = {}

    def policy(self, story: Story, path: Path) -> Policy:
        """The policy a story is played by. Raises Invalid."""
        from lockgate.policy.compile import compile_policy

        places = (self._instead,) if self._instead else tuple(path.parent / name for name in story.given)
        if not places:
            raise Invalid((Problem(story.name, 1, "", "say `given DOCUMENT`, or --policy DIR for all stories"),))
        kept = self._kept or story.mailboxes_here
        if (places, kept) not in self._compiled:
            texts = {name: text for place in places for name, text in self._documents(story, place)}
            made = compile_policy(texts, hostname=self._hostname, revision=0, keeps_mailboxes=kept)
            self._compiled[places, kept] = made
        return self._compiled[places, kept]

    def _documents(self, story: Story, place: Path) -> Iterator[tuple[str, str]]:
        if place.is_dir():
            yield from ((str(place / name), text) for name, text in self._read(place).items())
            return
        try:
            yield str(place), place.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as trouble:
            raise Invalid((story.problem("given", f"{place} cannot be read: {trouble}"),)) from None


def _played(path: Path, shelf: _Shelf) -> dict[str, Any]:
    """One story told; what cannot be read or compiled is a failure of this story, not of the others."""
    from lockgate.flow.stories import play, read_story, told

    try:
        story = read_story(path.read_text("utf-8"), str(path))
        return told(story, play(story, shelf.policy(story, path)))
    except Invalid as trouble:
        found = [{"file": one.file, "line": one.line, "about": one.path, "message": one.message}
                 for one in trouble.problems]  # fmt: skip
    except (OSError, UnicodeDecodeError) as trouble:
        found = [{"file": str(path), "line": 1, "about": "", "message": f"it cannot be read: {trouble}"}]
    return {"file": str(path), "ok": False, "failures": found, "found": {}, "steps": []}


def _tell(result: Mapping[str, Any], *, steps: bool) -> None:
    show.say(f"{'ok  ' if result['ok'] else 'FAIL'}  {result['file']}")
    for one in result["failures"]:
        show.complain(problem_line(one.get("file", result["file"]), one["line"], one["about"], one["message"]))
    if steps and not result["ok"]:
        for row in result["steps"]:
            show.say(f"      {row['sign']} {row['stage']:<9} {row['recipient']}: {row['subject']}: {row['because']}")
