"""Sender authentication at the terminal: what SPF, DKIM, DMARC and ARC say of a message in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import PLACES, AsJson, CannotDo, Given, given, mistakes
from lockgate.cli.show import Column
from lockgate.policy.problems import Invalid

commands = typer.Typer(no_args_is_help=True, help="Who sent this? SPF, DKIM, DMARC and ARC.")

_FOUND = {"fail": show.FINDING, "permerror": show.FINDING, "temperror": show.UNREACHABLE}
"""Exit codes by the result of DMARC; all others are in order."""


@commands.callback()
def _auth() -> None:
    """Keep `check` a command of its own."""


@commands.command("check")
def auth_check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The message, as mail programs save it (.eml).")],
    ip: Annotated[str, typer.Option("--ip", help="Address of the peer that handed it over.")],
    helo: Annotated[str, typer.Option("--helo", help="Name by which the peer greeted.")],
    sender: Annotated[str, typer.Option("--from", help="Envelope sender (MAIL FROM); <> for none.")],
    resolver: Annotated[str, typer.Option("--resolver", help="ADDRESS:PORT to ask; default: as configured.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell what proves the sender; code 0: DMARC passes or asks for nothing, 1: it fails, 3: DNS did not answer."""
    options = given(context)
    if options.board.authenticate is None:
        raise RuntimeError("the command line was started without its check of senders")
    try:
        told = options.board.authenticate(file, ip, helo, sender, _config(options), resolver)
    except Invalid as trouble:
        mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None
    except TimeoutError:
        show.complain("DNS did not answer in time; nothing is known about the sender.")
        raise typer.Exit(show.UNREACHABLE) from None
    except (CannotDo, OSError) as trouble:
        show.complain(f"Nothing was checked: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    if as_json:
        show.as_json(told)
    else:
        _show(told)
    code = _FOUND.get(told["dmarc"]["verdict"], show.OK)
    if code:
        raise typer.Exit(code)


def _config(options: Given) -> Path | None:
    """The operator's file, if there is one; it is not needed here."""
    return options.config or next((Path(place) for place in PLACES if Path(place).is_file()), None)


def _show(told: dict[str, Any]) -> None:
    spf = told["spf"]
    rows = [
        {"check": "SPF", "result": spf["verdict"], "about": spf["domain"], "why": _why_spf(spf)},
        *(_dkim_row(one) for one in told["dkim"]),
    ]
    if not told["dkim"]:
        rows.append({"check": "DKIM", "result": "none", "about": "", "why": "the message is not signed"})
    dmarc, arc = told["dmarc"], told["arc"]
    rows.append(
        {"check": "DMARC", "result": dmarc["verdict"], "about": dmarc["domain"], "why": _why_dmarc(dmarc)}
    )
    rows.append({"check": "ARC", "result": arc["verdict"], "about": arc["sealer"], "why": _why_arc(arc)})
    composed = told["composite"]
    result, why = f"{composed['verdict']} ({composed['reason']})", composed["because"]
    rows.append({"check": "composite", "result": result, "about": dmarc["domain"], "why": why})
    columns = (Column("check", "CHECK"), Column("result", "RESULT"), Column("about", "ABOUT"), Column("why", "WHY"))
    show.table(rows, columns)
    print()
    for line in told["field"].split("\r\n"):
        if line:
            show.say(line.replace("\t", "    "))


def _why_spf(spf: dict[str, Any]) -> str:
    if spf["problem"]:
        return str(spf["problem"])
    if spf["verdict"] == "none":
        return "the domain publishes no SPF record"
    said = f"; the domain says: {spf['explanation']}" if spf["explanation"] else ""
    return f"{spf['matched']} decided{said}" if spf["matched"] else "no term of the record matches"


def _dkim_row(one: dict[str, Any]) -> dict[str, str]:
    why = one["problem"] or "the signature was verified"
    if one["partial"]:
        why += "; it leaves part of the body unsigned (l=), so it proves nothing to a reader"
    if one["testing"]:
        why += "; the key is marked as a test"
    about = f"{one['domain']} ({one['selector']})" if one["domain"] else ""
    return {"check": "DKIM", "result": one["verdict"], "about": about, "why": why}


def _why_dmarc(dmarc: dict[str, Any]) -> str:
    if dmarc["problem"]:
        return str(dmarc["problem"])
    aligned = ", ".join(dmarc["aligned_by"])
    match dmarc["verdict"]:
        case "pass":
            return f"aligned by {aligned}; the record is at {dmarc['found_at']}"
        case "bestguesspass":
            return f"there is no record; it would be aligned by {aligned}"
        case "none":
            return "there is no record"
    trial = " (on trial, t=y: one step less is done)" if dmarc["test"] else ""
    return f"nothing that passed is aligned; the record at {dmarc['found_at']} wants {dmarc['wish']}{trial}"


def _why_arc(arc: dict[str, Any]) -> str:
    if arc["problem"]:
        return str(arc["problem"])
    if arc["verdict"] == "none":
        return "the message bears no chain"
    sealers = ", ".join(arc["sealers"])
    changed = f"; changed before instance {arc['oldest']}" if arc["oldest"] else ""
    count = f"{arc['sets']} instance{'' if arc['sets'] == 1 else 's'}"
    return f"{count}, sealed by {sealers}{changed}"
