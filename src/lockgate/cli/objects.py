"""What the commands for single objects share: properties as people write them, and listing, showing, writing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import typer

from lockgate.cli import changes, show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.show import Column
from lockgate.flow.asking import Assignment, ObjectList, ObjectShow, ObjectWrite

Organisation = Annotated[
    str, typer.Option("--organisation", help="Which organisation; not needed when there is only one.")
]
Unset = Annotated[list[str] | None, typer.Option("--unset", help="Property that shall have its default; repeatable.")]
Properties = Annotated[
    list[str] | None,
    typer.Argument(
        help="property=value; repeated for lists (or property+=value, property-=value for one entry).",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(help="Name of the object.", show_default=False)]

_ASSIGNMENT = re.compile(r"([A-Za-z][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)(\+=|-=|=)(.*)", re.DOTALL)


def assignments(texts: Sequence[str] | None) -> tuple[Assignment, ...]:
    """property=value, property+=value and property-=value, each as data; ends the command for anything else."""
    found: list[Assignment] = []
    for text in texts or ():
        match = _ASSIGNMENT.fullmatch(text)
        if match is None:
            show.complain(f"'{text}' is not property=value.")
            raise typer.Exit(show.MISUSE)
        how = match[2] if match[2] == "=" else match[2][0]
        found.append(Assignment(match[1].replace("-", "_"), how, match[3]))
    return tuple(found)


def unset_keys(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Names of properties as the documents have them."""
    return tuple(text.replace("-", "_") for text in texts or ())


def listed(
    context: typer.Context, tables: tuple[str, ...], organisation: str, columns: Sequence[Column], *, as_json: bool
) -> None:
    """All objects of the tables, one a line."""
    rows = answered(context, ObjectList(tables, organisation), as_json=as_json)
    if not as_json:
        show.table([_flat(row) for row in rows], columns, nothing="none")


def shown(
    context: typer.Context, tables: tuple[str, ...], name: str, organisation: str, *, as_json: bool
) -> None:
    """One object, all its properties."""
    row = answered(context, ObjectShow(tables, name, organisation), as_json=as_json)
    if not as_json:
        show.facts(row)


def wrote(context: typer.Context, request: ObjectWrite, *, as_json: bool) -> Any:
    """Change one object and tell what that did."""
    result = answered(context, request, as_json=as_json)
    if not as_json:
        changes.told(result)
    return result


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """What a cell needs that is not a property."""
    direction = {"inbound_connector": "inbound", "outbound_connector": "outbound"}.get(row["table"], "")
    domains = row.get("sender_domains") if direction == "inbound" else row.get("recipient_domains")
    domains = domains or [f"mail of {name}" for name in row.get("trusted_organizations", ())]
    hosts = row.get("sender_ip_addresses") if direction == "inbound" else row.get("smart_hosts")
    certificate = row.get("tls_sender_certificate_name") or row.get("tls_domain")
    receives = "proven" if row.get("proven_at") else "vouched for" if row.get("vouched_by_operator") else "not proven"
    return {
        **row,
        "direction": direction,
        "domains": domains,
        "hosts": hosts or certificate or ("MX" if row.get("use_mx_record") else ""),
        "receives": receives,
        "state": "enabled" if row.get("enabled") else "disabled",
        "validated": _validated(row) if direction == "outbound" else "",
    }


def _validated(row: dict[str, Any]) -> str:
    """Whether an outbound connector was tried, and how that went."""
    at, last = str(row.get("last_validation_timestamp") or ""), row.get("validation") or {}
    if not at:
        return "never"
    word = "changed since" if last.get("stale") else "yes" if row.get("is_validated") else "failed"
    return f"{word} ({at})"


class Shaped:
    """A command that runs `run`, with the name and the help of `like`, and parameters made when somebody asks for them.

    Typer asks as Python does, for `__signature__`.
    """

    def __init__(
        self, like: Callable[..., Any], run: Callable[..., None], parameters: Callable[[], Sequence[inspect.Parameter]]
    ) -> None:
        self._run, self._parameters = run, parameters
        self.__name__, self.__doc__ = like.__name__, like.__doc__
        self.__annotations__: dict[str, Any] = {}

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.Signature(self._parameters())

    def __call__(self, **given: Any) -> None:
        """Run it with what was given at the terminal."""
        self._run(**given)


def parameters_of(command: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    """The parameters of a command, their annotations as things and not as words."""
    return tuple(inspect.signature(command, eval_str=True).parameters.values())


def writes(command: Callable[..., ObjectWrite]) -> Shaped:
    """A command that says what is to be written becomes one that writes it, with the options that every write has."""

    def write(
        context: typer.Context,
        reason: Reason = "",
        expect: Expect = None,
        what_if: WhatIf = False,
        as_json: AsJson = False,
        **given: Any,
    ) -> None:
        request = msgspec.structs.replace(command(**given), reason=reason, expect=expect, what_if=what_if)
        wrote(context, request, as_json=as_json)

    context, *options = [one for one in parameters_of(write) if one.kind is not inspect.Parameter.VAR_KEYWORD]
    return Shaped(command, write, lambda: [context, *parameters_of(command), *options])
