"""Accepted domains at the terminal: add one, prove it by its TXT record, change and remove it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli import changes, objects, show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.flags import flagged
from lockgate.cli.objects import Organisation, Properties, Unset, writes
from lockgate.cli.show import Column
from lockgate.flow.asking import Assignment, DomainDns, DomainVerify, ObjectWrite

commands = typer.Typer(no_args_is_help=True, help="Accepted domains: for which domains mail is taken.")

Domain = Annotated[str, typer.Argument(help="The domain.", show_default=False)]
PATIENCE = 100.0
"""Seconds; a web server may take a minute to deliver a policy."""

_TABLE = ("accepted_domain",)
_COLUMNS = (
    Column("domain_name", "DOMAIN"),
    Column("organisation", "ORGANISATION"),
    Column("domain_type", "TYPE"),
    Column("receives", "PROOF"),
    Column("default", "DEFAULT"),
    Column("match_sub_domains", "SUBDOMAINS"),
)


@commands.command("list")
def list_(context: typer.Context, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """List the accepted domains."""
    objects.listed(context, _TABLE, organisation, _COLUMNS, as_json=as_json)


@commands.command("show")
def show_(context: typer.Context, domain: Domain, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """Show one domain with all its properties."""
    objects.shown(context, _TABLE, domain, organisation, as_json=as_json)


@commands.command("add")
@flagged("accepted_domain")
def add(
    context: typer.Context,
    domain: Domain,
    properties: Properties = None,
    vouch: Annotated[bool, typer.Option("--vouch", help="The operator answers for it, without a TXT record.")] = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Add a domain, and print the TXT record that proves it; until then it takes no mail."""
    given = objects.assignments(properties)
    if vouch:
        given = (*given, Assignment("vouched_by_operator", "=", "true"))
    request = ObjectWrite(
        "add", _TABLE, domain, organisation, given, reason=reason, expect=expect, what_if=what_if
    )
    result = objects.wrote(context, request, as_json=as_json)
    row = result["object"]
    if not as_json and row.get("txt_record") and not row.get("vouched_by_operator"):
        show.say("Publish this record, then say `lockgate domain verify`:")
        show.say(row["txt_record"])


@commands.command("verify")
def verify(
    context: typer.Context,
    domain: Domain,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Look up the TXT record; if the proof is there, the domain takes mail from now on. Code 1: it is not there."""
    result = answered(context, DomainVerify(domain, organisation, reason, expect, what_if), as_json=as_json)
    if not as_json:
        show.say(f"{domain} is proven.")
        changes.told(result)


@commands.command("dns")
def dns(context: typer.Context, domain: Domain, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """Print the DNS lines and the MTA-STS policy that tell others how to send here, and look whether they are there.

    Code 1: something is missing or different; code 3: DNS is silent.
    """
    result = answered(context, DomainDns(domain, organisation), as_json=as_json, patience=PATIENCE)
    if not as_json:
        _lines(result)
    if result["wrong"]:
        raise typer.Exit(show.FINDING)
    if result["silent"]:
        raise typer.Exit(show.UNREACHABLE)


def _lines(result: dict[str, Any]) -> None:
    for row in result["lines"]:
        wanted = "" if row["needed"] else " (not needed)" if row["state"] == "missing" else ""
        show.say(f"{row['type']} {row['name']}: {row['state']}{wanted}{': ' if row['said'] else ''}{row['said']}")
        for line in row["zone"]:
            show.say(f"    {line}")
        if row["state"] == "different":
            for value in row["found"] or ["nothing"]:
                show.say(f"    there is: {value}")
    if result["policy"]:
        print()
        where = "is served here as" if result["served_here"] else "has to be served as"
        show.say(f"The policy {where} {result['policy_url']}:")
        for line in result["policy"].splitlines():
            show.say(f"    {line}")


@commands.command("set")
@flagged("accepted_domain")
@writes
def set_(
    domain: Domain, properties: Properties = None, unset: Unset = None, organisation: Organisation = ""
) -> ObjectWrite:
    """Change properties of a domain."""
    given, gone = objects.assignments(properties), objects.unset_keys(unset)
    return ObjectWrite("set", _TABLE, domain, organisation, given, gone)


@commands.command("remove")
@writes
def remove(domain: Domain, organisation: Organisation = "") -> ObjectWrite:
    """Remove a domain; mail for it is not taken any more."""
    return ObjectWrite("remove", _TABLE, domain, organisation)
