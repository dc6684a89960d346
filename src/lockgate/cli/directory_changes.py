"""What the commands that change recipients and groups share: their options, and what they print afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lockgate.cli import show

Organisation = Annotated[str, typer.Option(help="Which organisation; not needed when there is only one.")]
Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME=VALUE...", help="Attributes, for example city=Bonn or custom_attribute1=x; an empty value clears."
    ),
]
Aliases = Annotated[list[str] | None, typer.Option("--alias", help="A further address; may be given several times.")]
Proven = Annotated[
    bool | None,
    typer.Option(
        "--require-sender-authentication/--no-require-sender-authentication",
        help="Only senders that are proven to be of the organisation may send to it.",
    ),
]
MembersOnly = Annotated[
    bool | None, typer.Option("--members-only/--no-members-only", help="Only its members may send to the group.")
]
AcceptFrom = Annotated[
    list[str] | None,
    typer.Option(
        help="Only this recipient, or the members of this group, may send to it; repeatable, replaces those of before. "
        "accept_messages_only_from= takes all away."
    ),
]
RejectFrom = Annotated[
    list[str] | None,
    typer.Option(
        help="This recipient, or the members of this group, may not send to it; repeatable, replaces those of before. "
        "reject_messages_from= takes all away."
    ),
]
ForwardTo = Annotated[str | None, typer.Option(help="Send its mail on to this address.")]
NoForward = Annotated[bool, typer.Option("--no-forward", help="Forward no longer.")]
KeepCopy = Annotated[
    bool | None, typer.Option("--keep-copy/--no-keep-copy", help="Whether it has its own copy besides (the default).")
]
ByUser = Annotated[
    bool | None,
    typer.Option(
        "--by-user/--by-administrator",
        help="Who set the forwarding up; remote domains may forbid that users do (auto_forward_enabled).",
    ),
]


def assigned(values: Sequence[str] | None, alias: Sequence[str] | None) -> dict[str, str]:
    """The values that were given as NAME=VALUE, and the aliases; ends the command for anything else."""
    given: dict[str, str] = {}
    for pair in values or ():
        name, equals, value = pair.partition("=")
        if not equals:
            show.complain(f"'{pair}' is no NAME=VALUE; write for example city=Bonn.")
            raise typer.Exit(show.MISUSE)
        given[name] = value
    if alias:
        given["aliases"] = " ".join(alias)
    return given


def restricted(
    proven: bool | None, members_only: bool | None, accept: Sequence[str] | None, reject: Sequence[str] | None
) -> dict[str, str]:
    """The values of these options, where they were given."""
    given = _truths(require_sender_authentication_enabled=proven, members_only=members_only)
    if accept:
        given["accept_messages_only_from"] = " ".join(accept)
    if reject:
        given["reject_messages_from"] = " ".join(reject)
    return given


def forwarded(
    to: str | None, keep_copy: bool | None, by_user: bool | None, *, no_forward: bool = False
) -> dict[str, str]:
    """The values of these options, where they were given; ends the command for two that exclude each other."""
    given = _truths(deliver_to_mailbox_and_forward=keep_copy, forwarding_by_user=by_user)
    if no_forward:
        if to is not None or given:
            show.complain("--no-forward goes with none of --forward-to, --keep-copy and --by-user.")
            raise typer.Exit(show.MISUSE)
        return {"forwarding_smtp_address": ""}
    if to is not None:
        given["forwarding_smtp_address"] = to
    return given


def _truths(**given: bool | None) -> dict[str, str]:
    return {name: "true" if value else "false" for name, value in given.items() if value is not None}


def written(told: dict[str, Any], *, as_json: bool) -> None:
    """Say what a change did, value by value, and what it did to others."""
    if as_json:
        return
    before, after = told["before"], told["after"]
    whom = (after or before)["address"]
    did = "is removed" if after is None else "is added" if before is None else "is changed"
    if told["what_if"]:
        show.say(f"{whom} {did.replace('is ', 'would be ')}; nothing was changed.")
    elif "revision" in told:
        show.say(f"{whom} {did} (revision {told['revision']}).")
    else:
        show.say(f"{whom} is so already; nothing was changed.")
    old, new = flat(before or {}), flat(after or {})
    for name in dict.fromkeys([*old, *new]):
        was, now = show.printable(old.get(name)), show.printable(new.get(name))
        if was != now and name != "members":
            show.say(f"  {name}: {was or '-'} -> {now or '-'}")
    would = "would be" if told["what_if"] else "is"
    places = {"left": "taken out of", "entered": "taken into", "renamed_in": "named by its new address in"}
    for name, what in places.items():
        if count := told.get(f"{name}_count"):
            show.say(f"It {would} {what} {counted(count, 'group')}: {some(told[name], count)}.")
    for warning in told.get("warnings", ()):
        show.complain(f"warning: {warning}")


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A recipient with its attributes beside everything else."""
    rest = {name: value for name, value in row.items() if name != "attributes"}
    return {**rest, **row.get("attributes", {})}


def counted(number: int, what: str) -> str:
    """For example "1 group", "2 groups"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def some(names: Sequence[str], count: int, most: int = 10) -> str:
    """The first of these names, and how many more there are."""
    rest = f" and {count - most} more" if count > most else ""
    return ", ".join(show.printable(name) for name in names[:most]) + rest
