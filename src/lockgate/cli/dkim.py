"""DKIM at the terminal: which domains sign, their keys, what to publish in DNS, and whether it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.nouns import SIGNING
from lockgate.cli.objects import Organisation
from lockgate.cli.show import Column
from lockgate.flow.asking import DkimCheck, DkimDns, DkimKeys, DkimRevoke, DkimRotate

commands = SIGNING
"""list, show, add, set and remove are those of the signing configurations."""

Domain = Annotated[str, typer.Argument(help="The domain.", show_default=False)]
AnyDomain = Annotated[str, typer.Argument(help="The domain; none: all of them.", show_default=False)]

_KEYS = (
    Column("domain", "DOMAIN"),
    Column("selector", "SELECTOR"),
    Column("algorithm", "ALGORITHM"),
    Column("bits", "BITS", right=True),
    Column("state", "STATE"),
    Column("since", "SINCE"),
    Column("dns", "DNS SAID"),
    Column("note", "NOTE"),
)


@commands.command("keys")
def keys(
    context: typer.Context,
    domain: AnyDomain = "",
    organisation: Organisation = "",
    revoked: Annotated[bool, typer.Option("--all", help="Also those that are revoked.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys, how far each has come, and what DNS said of it when it was last asked."""
    rows = answered(context, DkimKeys(domain, organisation, revoked), as_json=as_json)
    if not as_json:
        show.table([{**row, "note": _note(row)} for row in rows], _KEYS, nothing="no keys")


def _note(row: Mapping[str, Any]) -> str:
    until = show.moment("expires", row["keep_record_until"])
    return f"its record has to stay in DNS until {until}" if until else str(row["note"])


@commands.command("rotate")
def rotate(
    context: typer.Context,
    domain: Domain,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Make new keys and print their records; each signs once its record is seen in DNS, until then the old one does."""
    result = answered(context, DkimRotate(domain, organisation, what_if), as_json=as_json)
    if as_json:
        return
    for key in result["made"]:
        what = f"{key['algorithm']} key of {key['bits']} bits"
        show.say(f"An {what} would be made." if what_if else f"Made {key['selector']}, an {what}.")
    if not result["made"]:
        show.say("Nothing is made: new keys are waiting for their records already.")
    if what_if:
        return
    _records(result["records"])
    show.say(f"`lockgate dkim check {result['domain']}` says whether DNS has them; then they sign by themselves.")


@commands.command("dns")
def dns(context: typer.Context, domain: Domain, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """Print the TXT records to publish, as name and strings and as a line of a zone file."""
    records = answered(context, DkimDns(domain, organisation), as_json=as_json)
    if not as_json:
        _records(records)


def _records(records: list[dict[str, Any]]) -> None:
    """Each record by its parts (for the form of a DNS provider) and as one line (for a zone file)."""
    for one in records:
        print()
        show.say(f"; {one['algorithm']} key of {one['bits']} bits, {one['state']}")
        show.facts({"name": one["name"], "type": one["type"]})
        for number, string in enumerate(one["strings"]):
            show.say(f'{"value" if not number else "     "} "{string}"')
        show.say("as a line of a zone file:")
        show.say(one["zone"])
    print()


@commands.command("check")
def check(
    context: typer.Context, domain: AnyDomain = "", organisation: Organisation = "", as_json: AsJson = False
) -> None:
    """Ask DNS for the record of every key, and say what is wrong; code 1 if something is, 3 if DNS is silent."""
    rows = answered(context, DkimCheck(domain, organisation), as_json=as_json)
    if not as_json:
        for row in rows:
            show.say(f"{row['selector']}._domainkey.{row['domain']} ({row['algorithm']}, {row['state']}): {_said(row)}")
    if any(row["silent"] for row in rows):
        raise typer.Exit(show.UNREACHABLE)
    if any(not row["right"] for row in rows):
        raise typer.Exit(show.FINDING)


def _said(row: Mapping[str, Any]) -> str:
    if row["right"]:
        return f"DNS has it; it {row['then']}" if row["then"] else "DNS has it"
    return str(row["dns"])


@commands.command("revoke")
def revoke(
    context: typer.Context,
    domain: Domain,
    selector: Annotated[str, typer.Argument(help="Selector of the key.", show_default=False)],
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Never use a key again and delete it, because it may be in wrong hands; rotate first if it is the only one."""
    key = answered(context, DkimRevoke(domain, selector, organisation, what_if), as_json=as_json)
    if as_json:
        return
    if what_if:
        show.say(f"{selector} ({key['was']}) would be revoked; nothing was changed.")
        return
    show.say(f"{selector} is revoked. Take its record out of DNS, so that nobody believes what it signed.")
