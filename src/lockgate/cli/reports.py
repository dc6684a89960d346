"""Reports between mail systems at the terminal: DMARC and TLS, received ones and our own."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.show import Column
from lockgate.flow.asking import (
    ReportImport,
    ReportList,
    ReportSend,
    ReportShow,
    ReportSummary,
    ReportTls,
)

commands = typer.Typer(no_args_is_help=True, help="DMARC and TLS reports, received and sent.")

Organisation = Annotated[str, typer.Option(help="Which organisation; otherwise all, or the only one.")]
Domain = Annotated[str, typer.Option(help="Only this domain and those below it.")]
Since = Annotated[str, typer.Option(help="2h, 3d, 2026-11-24 or 2026-11-24T08:00:00Z.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most rows.")]

_LARGEST = 25 * 1024 * 1024
_PATIENCE = 1800.0

_RECEIVED = (
    Column("number", "NUMBER", right=True),
    Column("kind", "KIND"),
    Column("domain", "ABOUT"),
    Column("reporter", "REPORTER"),
    Column("begin", "FROM"),
    Column("end", "TO"),
    Column("messages", "MESSAGES", right=True),
    Column("failing", "FAILED", right=True),
    Column("arrived", "ARRIVED"),
)
_OURS = (
    Column("domain", "ABOUT"),
    Column("begin", "FROM"),
    Column("end", "TO"),
    Column("messages", "MESSAGES", right=True),
    Column("state", "STATE"),
    Column("report_id", "REPORT"),
    Column("outcome", "WHAT BECAME OF IT"),
)
_UNREAD = (Column("at", "ARRIVED"), Column("origin", "ORIGIN"), Column("why", "WHY IT WAS NOT READ"))
_SUMMARY = (
    Column("domain", "DOMAIN"),
    Column("source", "SOURCE"),
    Column("result", "RESULT"),
    Column("messages", "MESSAGES", right=True),
    Column("quarantined", "QUARANTINED", right=True),
    Column("rejected", "REJECTED", right=True),
    Column("reports", "REPORTS", right=True),
    Column("last_seen", "LAST"),
)
_TLS = (
    Column("domain", "DOMAIN"),
    Column("kind", "POLICY"),
    Column("result", "RESULT"),
    Column("receiving_mx", "SERVER"),
    Column("sending_ip", "SENDER"),
    Column("sessions", "SESSIONS", right=True),
    Column("reports", "REPORTS", right=True),
    Column("last_seen", "LAST"),
)
_OWN_TLS = (*_TLS[:5], Column("count", "SESSIONS", right=True), Column("at", "DAY"))
_ROWS = {
    "aggregate": (
        Column("source", "SOURCE"),
        Column("count", "MESSAGES", right=True),
        Column("disposition", "DONE"),
        Column("dkim", "DKIM"),
        Column("spf", "SPF"),
        Column("header_from", "AUTHOR"),
        Column("envelope_from", "SENDER"),
        Column("proofs", "CHECKED"),
        Column("why", "BECAUSE"),
    ),
    "tls": (
        Column("domain", "DOMAIN"),
        Column("policy", "POLICY"),
        Column("kind", "RESULT"),
        Column("count", "SESSIONS", right=True),
        Column("host", "SERVER"),
        Column("sender", "SENDER"),
        Column("reason", "REASON"),
    ),
}


@commands.command("list")
def list_(
    context: typer.Context,
    organisation: Organisation = "",
    kind: Annotated[str, typer.Option(help="aggregate, failure or tls.")] = "",
    domain: Domain = "",
    since: Since = "",
    limit: Limit = 100,
    sent: Annotated[bool, typer.Option("--sent", help="Our own reports; with --kind tls those about TLS.")] = False,
    unread: Annotated[bool, typer.Option("--unread", help="What came and could not be read.")] = False,
    as_json: AsJson = False,
) -> None:
    """List reports, the latest first; code 1 if there are none."""
    request = ReportList(organisation, kind, domain, since, limit, sent, unread)
    rows = answered(context, request, as_json=as_json)
    if not as_json:
        columns = _UNREAD if unread else _OURS if sent else _RECEIVED
        show.table(rows, columns, nothing="no reports")
    if not rows:
        raise typer.Exit(show.FINDING)


@commands.command("show")
def show_(
    context: typer.Context,
    report: Annotated[str, typer.Argument(help="Number of a received report, or the id of one of ours.")],
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """Show one report with what it counts."""
    found = answered(context, ReportShow(report, limit), as_json=as_json)
    if as_json:
        return
    rows, more, headers = found.pop("rows"), found.pop("more"), found["report"].pop("headers", [])
    for part in (found, found.pop("report")):
        show.facts({name.replace("_", " "): show.moment(name, value) for name, value in part.items()})
        print()
    if rows:
        kind = "aggregate" if "source" in rows[0] else "tls"
        show.table([_row(row) for row in rows], _ROWS[kind])
    if headers:
        show.facts({f"{name}:": value for name, value in headers})
    if more:
        show.say(f"{more} more rows are not shown; --limit or --json shows more")


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    signed = [f"dkim {one['domain']} {one['result']}" for one in row.get("signatures", ())]
    sent = [f"spf {one['domain']} {one['result']}" for one in row.get("senders", ())]
    why = [": ".join(part for part in reason if part) for reason in row.get("reasons", ())]
    return {**row, "proofs": signed + sent, "why": why}


@commands.command("dmarc")
def dmarc(
    context: typer.Context,
    organisation: Organisation = "",
    domain: Domain = "",
    source: Annotated[str, typer.Option(help="Only this address.")] = "",
    result: Annotated[str, typer.Option(help="pass or fail.")] = "",
    since: Since = "",
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """Count the messages that others report on, by domain, source and result; code 1 if there are none."""
    rows = answered(context, ReportSummary(organisation, domain, source, result, since, limit), as_json=as_json)
    if not as_json:
        show.table(rows, _SUMMARY, nothing="no aggregate report says anything about that")
    if not rows:
        raise typer.Exit(show.FINDING)


@commands.command("tls")
def tls(
    context: typer.Context,
    organisation: Organisation = "",
    domain: Domain = "",
    since: Since = "",
    limit: Limit = 1000,
    own: Annotated[bool, typer.Option("--own", help="Our own deliveries instead of what others report.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count TLS sessions by domain, policy and result; code 1 if there are none."""
    rows = answered(context, ReportTls(organisation, domain, since, limit, own), as_json=as_json)
    if not as_json:
        shown = [{**row, "at": row["day"] * 86400.0} for row in rows] if own else rows
        show.table(shown, _OWN_TLS if own else _TLS, nothing="nothing is known of any session")
    if not rows:
        raise typer.Exit(show.FINDING)


@commands.command("import")
def import_(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Messages (.eml) or reports (.xml, .json, .gz, .zip).")],
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Read files as reports and keep what is in them; code 1 if one could not be read."""
    results: list[dict[str, Any]] = []
    for file in files:
        try:
            octets = _content(file)
        except (OSError, ValueError) as trouble:
            results.append({"file": str(file), "kind": "", "number": 0, "known": False, "why": str(trouble)})
            continue
        request = ReportImport(file.name, base64.b64encode(octets).decode("ascii"), organisation, what_if)
        answer = answered(context, request, as_json=False, patience=_PATIENCE)
        results += [{"file": str(file), **row} for row in answer["reports"]]
    if as_json:
        show.as_json({"reports": results, "what_if": what_if})
    else:
        for row in results:
            show.say(_imported(row, what_if=what_if))
    if any(row["why"] for row in results):
        raise typer.Exit(show.FINDING)


def _content(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST // 1024**2} MiB")
    return file.read_bytes()


def _imported(row: Mapping[str, Any], *, what_if: bool) -> str:
    where = f"{row['file']}: {row['part']}: " if row.get("part") else f"{row['file']}: "
    if row["why"]:
        return f"{where}not read: {row['why']}"
    about = f"{row['kind']} report from {row['reporter'] or 'nobody'} about {row['domain']}, {row['messages']} messages"
    if row["known"]:
        return f"{where}{about}: known already"
    return f"{where}{about}: {'would be kept' if what_if else 'number ' + str(row['number'])}"


@commands.command("send")
def send(
    context: typer.Context,
    domain: Annotated[str, typer.Option(help="The domain whose record asks for reports; otherwise all.")] = "",
    day: Annotated[str, typer.Option(help="2026-11-24; otherwise yesterday.")] = "",
    organisation: Organisation = "",
    about_tls: Annotated[bool, typer.Option("--tls", help="TLS reports instead of aggregate reports.")] = False,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Send our reports of a day now, and not when they are due; code 1 if one could not be sent."""
    request = ReportSend(domain, day, organisation, what_if, about_tls)
    found = answered(context, request, as_json=as_json, patience=_PATIENCE)
    rows: Sequence[Mapping[str, Any]] = found["reports"]
    if not as_json:
        show.table(rows, _OURS)
    if any(row["state"] == "waiting" for row in rows) and not what_if:
        raise typer.Exit(show.FINDING)
