"""TLS with other mail servers at the terminal: what a domain demands of those who send to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.show import Column
from lockgate.flow.asking import TlsPolicy

commands = typer.Typer(no_args_is_help=True, help="TLS with other mail servers: MTA-STS and DANE.")

PATIENCE = 100.0
"""Seconds; a web server may take a minute to deliver a policy."""

_HOSTS = (
    Column("preference", "PREFERENCE", right=True),
    Column("name", "MAIL HOST"),
    Column("cover", "MTA-STS"),
    Column("dane", "DANE"),
)


@commands.callback()
def _group() -> None:
    """TLS with other mail servers."""


@commands.command("policy")
def policy(
    context: typer.Context,
    domain: Annotated[str, typer.Argument(help="The domain that mail goes to.", show_default=False)],
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch its policy now, though one is known.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a domain demands: MTA-STS policy, mail hosts, their TLSA records. Code 1: something is wrong."""
    result = answered(context, TlsPolicy(domain, fetch), as_json=as_json, patience=PATIENCE)
    if not as_json:
        _policy(result["mta_sts"])
        if not result["obeyed"]:
            show.say("Policies are not obeyed here: mta_sts.fetch is false in the operator's file.")
        print()
        show.say(f"DNSSEC of the MX records: {result['mx_dnssec']}")
        show.table([_host(row) for row in result["hosts"]], _HOSTS, nothing="no mail hosts")
        for trouble in result["troubles"]:
            show.say(f"! {trouble}")
    if result["troubles"]:
        raise typer.Exit(show.FINDING)


def _policy(sts: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"TXT record": f"id {sts['id']}" if sts["id"] else sts["silent"]}
    if sts["in_force"]:
        facts |= {"policy": sts["source"], "mode": sts["mode"], "mx": ", ".join(sts["mx"]), "id": sts["policy_id"]}
        facts |= {name: show.moment("expires", sts[name]) for name in ("fetched", "until")}
    elif sts["expired"]:
        facts["policy"] = f"none in force; the last one ended at {show.moment('expires', sts['until'])}"
    else:
        facts["policy"] = "none"
    if sts["fetch_failed"]:
        facts["last fetch failed"] = f"{show.moment('expires', sts['failed_at'])}: {sts['fetch_failed']}"
    show.facts(facts)


def _host(row: dict[str, Any]) -> dict[str, Any]:
    cover = {None: "-", True: "covered", False: "not covered"}[row["covered"]]
    records = len(row["tlsa"])
    if row["why"]:
        dane = row["why"]
    elif not records:
        dane = "no TLSA records" + ("" if row["dnssec_proven"] else ", not proven by DNSSEC")
    else:
        proven = "proven by DNSSEC" if row["dnssec_proven"] else "not proven by DNSSEC, so not used"
        dane = f"{records} TLSA record{'s' if records > 1 else ''}, {proven}: {'; '.join(row['tlsa'][:3])}"
    return {**row, "cover": cover, "dane": dane}
