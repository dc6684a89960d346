"""lockgate group: distribution groups, their members, and who may send to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered, unreadable
from lockgate.cli.directory_changes import (
    AcceptFrom,
    Aliases,
    MembersOnly,
    Organisation,
    Proven,
    RejectFrom,
    Values,
    assigned,
    flat,
    restricted,
    some,
    written,
)
from lockgate.cli.show import Column
from lockgate.flow.asking import GroupAdd, GroupEdit, GroupList, GroupMembers, GroupRemove, GroupSet, GroupShow
from lockgate.flow.cells import split
from lockgate.flow.recipient_filters import as_text

commands = typer.Typer(no_args_is_help=True, help="Distribution groups: mail for one goes to all its members.")
member_commands = typer.Typer(no_args_is_help=True, help="Who is in a group.")
commands.add_typer(member_commands, name="member")

Group = Annotated[str, typer.Argument(metavar="GROUP", help="Any address of the group.", show_default=False)]
Members = Annotated[
    list[str] | None,
    typer.Argument(metavar="MEMBER...", help="Any address of a recipient or group, or an address elsewhere."),
]
MembersFile = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="Members besides: one or more addresses a line, # before a comment; - for standard input."
    ),
]
ManagedBy = Annotated[list[str] | None, typer.Option(help="Who manages it; repeatable, replaces those of before.")]

Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--filter", metavar="NAME=VALUE", help="Whoever has this attribute (or kind) is a member; repeatable."
    ),
]

_PATIENCE = 300.0
"""Seconds: a filter asks everybody, which takes some of them among a million."""

_SUMMARY = (
    Column("address", "ADDRESS"), Column("display_name", "NAME"), Column("member_count", "MEMBERS", right=True),
    Column("from", "WHO MAY SEND"),
)  # fmt: skip
_MEMBER = (Column("address", "ADDRESS"), Column("kind", "KIND"), Column("display_name", "NAME"))


@commands.command("list")
def list_(
    context: typer.Context,
    member: Annotated[str, typer.Option(help="Only the groups of which this address is a direct member.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most groups to show.")] = 1000,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """List the groups, how many members they have, and who may send to them."""
    rows = answered(context, GroupList(organisation, member, limit), as_json=as_json)
    if not as_json:
        show.table([{**flat(row), "from": _who_may_send(row)} for row in rows], _SUMMARY, nothing="no groups")


@commands.command("show")
def show_(context: typer.Context, group: Group, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """Show everything about one group; `group member list` shows who its members are. Code 1 if there is none."""
    found = answered(context, GroupShow(group, organisation), as_json=as_json)
    if as_json:
        return
    loop = found.pop("contains_itself")
    members = found.pop("members")
    if members:
        found["members"] = some(members, found["member_count"], 20)
    show.facts(flat(found))
    if loop:
        show.say(f"It contains itself: {' -> '.join(loop)}. Each member gets one copy all the same.")


@commands.command("add")
def add(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The primary address.", show_default=False)],
    values: Values = None,
    member: Annotated[list[str] | None, typer.Option(help="A member; may be given several times.")] = None,
    members_file: MembersFile = "",
    alias: Aliases = None,
    conditions: Conditions = None,
    managed_by: ManagedBy = None,
    require_sender_authentication: Proven = None,
    members_only: MembersOnly = None,
    accept_from: AcceptFrom = None,
    reject_from: RejectFrom = None,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Add a group; it receives within a second.

    With --filter it has no listed members: whoever has these attributes is one, from the change on that gives them.
    """
    given = _given(values, alias, managed_by, conditions)
    given |= restricted(require_sender_authentication, members_only, accept_from, reject_from)
    members = tuple(_named(member, members_file))
    request = GroupAdd(address, given, members, organisation, what_if)
    told = answered(context, request, as_json=as_json, patience=_PATIENCE)
    written(told, as_json=as_json)
    _tell_members(told, as_json=as_json)


@commands.command("set")
def set_(
    context: typer.Context,
    group: Group,
    values: Values = None,
    alias: Aliases = None,
    conditions: Conditions = None,
    managed_by: ManagedBy = None,
    require_sender_authentication: Proven = None,
    members_only: MembersOnly = None,
    accept_from: AcceptFrom = None,
    reject_from: RejectFrom = None,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Change a group: NAME=VALUE for every attribute; address=... gives it another primary address.

    Whoever names the group by an address that it loses (other groups, restrictions) names it by its primary one then.
    recipient_filter= ends a filter; those whom it found last stay as listed members.
    """
    given = _given(values, alias, managed_by, conditions)
    given |= restricted(require_sender_authentication, members_only, accept_from, reject_from)
    if not given:
        show.complain("Say what to change, for example display_name=Sales or --members-only.")
        raise typer.Exit(show.MISUSE)
    request = GroupSet(group, given, organisation, what_if)
    written(answered(context, request, as_json=as_json, patience=_PATIENCE), as_json=as_json)


@commands.command("remove")
def remove(
    context: typer.Context,
    group: Annotated[str, typer.Argument(help="The primary address.", show_default=False)],
    organisation: Organisation = "",
    force: Annotated[bool, typer.Option("--force", help="Remove even the last recipient.")] = False,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Remove a group, also from the groups that contain it; its members stay."""
    request = GroupRemove(group, organisation, what_if, force)
    written(answered(context, request, as_json=as_json), as_json=as_json)


# --- members ---------------------------------------------------------------------------------------------------------


@member_commands.command("list")
def member_list(
    context: typer.Context, group: Group, organisation: Organisation = "", as_json: AsJson = False
) -> None:
    """List the direct members and who they are; an address without a kind is no recipient of the organisation."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        told = answered(context, GroupMembers(group, organisation, after), as_json=False)
        found += told["members"]
        after = told["after"]
        if not after:
            break
    if as_json:
        show.as_json(found)
    else:
        show.table(found, _MEMBER, nothing="no members")


@member_commands.command("add")
def member_add(
    context: typer.Context,
    group: Group,
    members: Members = None,
    members_file: MembersFile = "",
    replace: Annotated[bool, typer.Option("--replace", help="These are all; take everybody else out.")] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Take addresses into a group, all in one change."""
    wanted = _wanted(members, members_file)
    request = GroupEdit(group, wanted, (), replace, organisation, what_if)
    told = answered(context, request, as_json=as_json)
    written(told, as_json=as_json)
    _tell_members(told, as_json=as_json)


@member_commands.command("remove")
def member_remove(
    context: typer.Context,
    group: Group,
    members: Members = None,
    members_file: MembersFile = "",
    everybody: Annotated[bool, typer.Option("--everybody", help="Take all members out.")] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Take addresses out of a group, all in one change."""
    wanted = () if everybody and not members and not members_file else _wanted(members, members_file)
    request = GroupEdit(group, (), wanted, everybody, organisation, what_if)
    told = answered(context, request, as_json=as_json)
    written(told, as_json=as_json)
    _tell_members(told, as_json=as_json)


def _wanted(members: Sequence[str] | None, file: str) -> tuple[str, ...]:
    found = tuple(_named(members, file))
    if not found:
        show.complain("Say which members, or --members-file FILE.")
        raise typer.Exit(show.MISUSE)
    return found


def _named(members: Sequence[str] | None, file: str) -> Iterator[str]:
    yield from members or ()
    if not file:
        return
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as trouble:
        unreadable(file, trouble)
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from split(line)


def _given(
    values: Sequence[str] | None, alias: Sequence[str] | None, managed_by: Sequence[str] | None,
    conditions: Sequence[str] | None,
) -> dict[str, str]:  # fmt: skip
    given = assigned(values, alias)
    if conditions:
        pairs = (condition.partition("=") for condition in conditions)
        given["recipient_filter"] = as_text({name: value for name, _, value in pairs})
    if managed_by:
        given["managed_by"] = " ".join(managed_by)
    return given


def _who_may_send(row: dict[str, Any]) -> str:
    parts = [
        "proven senders" if row.get("require_sender_authentication_enabled") else "",
        "members" if row.get("members_only") else "",
        "listed senders" if row.get("accept_messages_only_from") else "",
    ]
    said = " and ".join(part for part in parts if part) or "anybody"
    return f"{said}, but some" if row.get("reject_messages_from") else said


def _tell_members(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return
    would = "would be" if told["what_if"] else "are"
    for key, what in (
        ("added", f"{would} taken in"), ("removed", f"{would} taken out"), ("already", "are members already"),
        ("not_members", "are no members"),
    ):  # fmt: skip
        if told.get(key):
            show.say(f"  {what}: {some(told[key], told.get(f'{key}_count', len(told[key])))}")
    if told.get("not_recipients"):
        named = some(told["not_recipients"], told["not_recipients_count"])
        show.complain(f"note: no recipients of this organisation: {named}")


