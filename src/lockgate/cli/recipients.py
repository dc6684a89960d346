"""Recipients at the terminal: import and export the directory; find, show, add, change and remove single recipients."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered, problem_line, unreadable
from lockgate.cli.directory_changes import (
    AcceptFrom,
    Aliases,
    ByUser,
    ForwardTo,
    KeepCopy,
    NoForward,
    Organisation,
    Proven,
    RejectFrom,
    Values,
    assigned,
    flat,
    forwarded,
    restricted,
    written,
)
from lockgate.cli.show import Column
from lockgate.flow.asking import (
    RecipientAdd,
    RecipientEstimate,
    RecipientExport,
    RecipientFind,
    RecipientLoad,
    RecipientPiece,
    RecipientProgress,
    RecipientRemove,
    RecipientSet,
    RecipientShow,
    RecipientUpload,
)
from lockgate.flow.recipients import csv_line, quiet

commands = typer.Typer(no_args_is_help=True, help="The directory: who may receive mail here.")
edge_commands = typer.Typer(no_args_is_help=True, help="Edge blocking: refusing unknown recipients at RCPT.")

Kind = Annotated[str, typer.Option(help="mailbox, mail_user, mail_contact or distribution_group.")]
External = Annotated[str | None, typer.Option("--external-address", help="Where mail for it goes on to.")]

_PIECE = 4 * 1024 * 1024
_PAUSE = 0.2


# --- files -----------------------------------------------------------------------------------------------------------


@commands.command("import")
def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="CSV or TOML file; - reads CSV from standard input.")],
    organisation: Organisation = "",
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Change nothing if a single line is rejected.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remove recipients even if they are many or lines were rejected.")
    ] = False,
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="Add and change only; remove nobody whom the file does not name.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write the rejected lines to this CSV file.")] = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Put the recipients of a file in the place of all the organisation has.

    CSV columns: address, kind (mailbox, mail_user, mail_contact, distribution_group; default mail_user), aliases
    (several: separated by blanks or semicolons), external_address, directory attributes such as display_name, city or
    custom_attribute1; for groups members, managed_by and members_only; forwarding_smtp_address and
    deliver_to_mailbox_and_forward; accept_messages_only_from, reject_messages_from and
    require_sender_authentication_enabled. Only address is needed. In TOML the same names stand under [[recipient]].

    Valid lines are loaded, rejected ones are told. Nobody is removed while a line was rejected, nor more than a tenth
    of the recipients, unless --force is given; an empty file changes nothing. Code 1 if lines were rejected.
    """
    form = "toml" if file.lower().endswith(".toml") else "csv"
    name = "standard input" if file == "-" else file
    upload = RecipientUpload(form, name, organisation, what_if, force, all_or_nothing, keep_missing)
    ticket = answered(context, upload, as_json=False)["ticket"]
    try:
        with _opened(file) as lines:
            while text := lines.read(_PIECE):
                answered(context, RecipientPiece(ticket, text), as_json=False)
    except (OSError, UnicodeDecodeError) as trouble:
        unreadable(file, trouble)
    answered(context, RecipientLoad(ticket), as_json=False)
    wrong: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    for told in _follow(context, ticket, as_json=as_json):
        _tell_wrong(told["wrong"], name, quietly=as_json or report is not None)
        if as_json or report is not None:
            wrong += told["wrong"]
        result = told.get("result", {})
    if report is not None:
        _write_report(report, wrong)
    if as_json:
        show.as_json({**result, "wrong": wrong})
    else:
        _tell_result(result)
    if result.get("rejected"):
        raise typer.Exit(show.FINDING)


def _opened(file: str) -> TextIO:
    if file == "-":
        return sys.stdin
    return Path(file).open(encoding="utf-8-sig", newline="")


def _follow(context: typer.Context, ticket: str, *, as_json: bool) -> Iterator[dict[str, Any]]:
    """What the desk says until the import is over; with a line of progress on a terminal."""
    after, live = 0, sys.stderr.isatty()
    try:
        while True:
            told = answered(context, RecipientProgress(ticket, after), as_json=False)
            after = told["after"]
            if live:
                line = f"{told['phase']}: {told['recipients']} recipients, {told['rejected']} rejected"
                sys.stderr.write(f"\r\x1b[K{line}")
                sys.stderr.flush()
            yield told
            if "result" in told:
                return
            if not told["wrong"]:
                time.sleep(_PAUSE)
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")


def _tell_wrong(wrong: Sequence[dict[str, Any]], name: str, *, quietly: bool) -> None:
    if not quietly:
        for one in wrong:
            show.complain(problem_line(name, one["line"], one["column"], one["message"]))


def _write_report(path: Path, wrong: Sequence[dict[str, Any]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("line", "column", "message"))
            writer.writerows((one["line"], quiet(one["column"]), quiet(one["message"])) for one in wrong)
    except OSError as trouble:
        show.complain(f"{path} cannot be written: {trouble}")
        raise typer.Exit(show.MISUSE) from None


def _tell_result(result: dict[str, Any]) -> None:
    counts = f"{show.counted(result['recipients'], 'recipient')} with {result['addresses']} addresses"
    changes = f"{result['added']} added, {result['changed']} changed, {result['removed']} removed"
    if result["what_if"]:
        show.say(f"{counts} would become the directory of {result['organisation']}: {changes}; nothing was changed.")
    else:
        named = f"{counts} are now the directory of {result['organisation']}"
        show.say(f"{named} (revision {result['revision']}): {changes}, {result['unchanged']} as before.")
    if result["kept"]:
        show.say(f"{result['kept']} recipients that the file does not name were kept; --force removes them.")
    if result["rejected"]:
        show.say(f"{result['rejected']} mistakes were told and their lines left out.")
    for warning in result["warnings"]:
        show.complain(f"warning: {warning}")


@commands.command("export")
def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="CSV file to write; - writes to standard output.")] = "-",
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Write all recipients as CSV that `recipient import` takes, or as one JSON object a line.

    Cells that a spreadsheet would take for a formula get an apostrophe, which the import takes away again.
    """
    if file == "-":
        _export(context, sys.stdout, organisation, as_json=as_json)
        return
    try:
        with Path(file).open("w", encoding="utf-8", newline="") as out:
            count = _export(context, out, organisation, as_json=as_json)
    except OSError as trouble:
        show.complain(f"{file} cannot be written: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    show.say(f"Written to {file}: {show.counted(count, 'recipient')}.")


def _export(context: typer.Context, out: TextIO, organisation: str, *, as_json: bool) -> int:
    if not as_json:
        out.write(csv_line(None))
    ticket, count = "", 0
    while True:
        told = answered(context, RecipientExport(organisation, ticket), as_json=False)
        for row in told["recipients"]:
            count += 1
            out.write(_json_line(row) if as_json else csv_line(row))
        ticket = told["ticket"]
        if not ticket:
            break
    out.flush()
    return count


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


# --- one recipient ---------------------------------------------------------------------------------------------------


@commands.command("find")
def find(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Any address of the recipient.")],
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Say who has an address, as the edge would find it; code 1 if nobody has."""
    found = answered(context, RecipientFind(address, organisation), as_json=as_json)
    if not as_json:
        show.facts(flat(found))


@commands.command("show")
def show_(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Any address of the recipient.")],
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Show everything about one recipient; code 1 if nobody has the address."""
    found = answered(context, RecipientShow(address, organisation), as_json=as_json)
    if not as_json:
        show.facts(flat(found))


@commands.command("add")
def add(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The primary address.")],
    values: Values = None,
    kind: Kind = "mail_user",
    alias: Aliases = None,
    external_address: External = None,
    forward_to: ForwardTo = None,
    keep_copy: KeepCopy = None,
    by_user: ByUser = None,
    require_sender_authentication: Proven = None,
    accept_from: AcceptFrom = None,
    reject_from: RejectFrom = None,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Add one recipient; it receives within a second. `group add` adds groups."""
    given = _values(values, kind, alias, external_address)
    given |= forwarded(forward_to, keep_copy, by_user)
    given |= restricted(require_sender_authentication, None, accept_from, reject_from)
    written(answered(context, RecipientAdd(address, given, organisation, what_if), as_json=as_json), as_json=as_json)


@commands.command("set")
def set_(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Any address of the recipient.")],
    values: Values = None,
    kind: Kind = "",
    alias: Aliases = None,
    external_address: External = None,
    forward_to: ForwardTo = None,
    no_forward: NoForward = False,
    keep_copy: KeepCopy = None,
    by_user: ByUser = None,
    require_sender_authentication: Proven = None,
    accept_from: AcceptFrom = None,
    reject_from: RejectFrom = None,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Change a recipient: NAME=VALUE for every attribute; address=... gives it another primary address.

    --alias replaces all aliases by those given; aliases= takes them all away. Groups, managers, forwardings and
    restrictions that name it by an address it loses name it by its primary address from then on.
    """
    given = _values(values, kind, alias, external_address)
    given |= forwarded(forward_to, keep_copy, by_user, no_forward=no_forward)
    given |= restricted(require_sender_authentication, None, accept_from, reject_from)
    if not given:
        show.complain("Say what to change, for example city=Bonn or --alias a@contoso.com.")
        raise typer.Exit(show.MISUSE)
    written(answered(context, RecipientSet(address, given, organisation, what_if), as_json=as_json), as_json=as_json)


@commands.command("remove")
def remove(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The primary address.")],
    organisation: Organisation = "",
    force: Annotated[bool, typer.Option("--force", help="Remove even the last recipient.")] = False,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Remove one recipient; its addresses are unknown within a second, and it is taken out of all groups."""
    request = RecipientRemove(address, organisation, what_if, force)
    written(answered(context, request, as_json=as_json), as_json=as_json)


def _values(
    values: Sequence[str] | None, kind: str, alias: Sequence[str] | None, external: str | None
) -> dict[str, str]:
    given = assigned(values, alias)
    if kind:
        given.setdefault("kind", kind)
    if external is not None:
        given["external_address"] = external
    return given


# --- edge blocking ---------------------------------------------------------------------------------------------------


@commands.command("estimate")
@edge_commands.command("estimate")
def estimate(
    context: typer.Context,
    domain: Annotated[str, typer.Argument(help="An accepted domain.")],
    days: Annotated[int, typer.Option(min=1, max=30, help="How far to look back.")] = 7,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most addresses to show.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show who would have been refused, were edge blocking enforced for a domain (edge_blocking = "observe").

    Addresses that the directory knows by now are left out.
    """
    told = answered(context, RecipientEstimate(domain, days, limit), as_json=as_json)
    if as_json:
        return
    show.say(told["sentence"])
    if told["addresses"]:
        columns = (
            Column("address", "ADDRESS"), Column("count", "MESSAGES", right=True), Column("last_sender", "LAST SENDER"),
            Column("last_seen", "LAST SEEN"),
        )  # fmt: skip
        show.table(told["addresses"], columns)
        if told["shown"] < told["unknown"]:
            show.say(f"{told['unknown'] - told['shown']} more addresses are not shown; say --limit.")
