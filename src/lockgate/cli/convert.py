"""From standalone to hybrid and back at the terminal: documents in the policy folder, nothing else; `apply` follows."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, WhatIf, given
from lockgate.flow.converting import CannotConvert, Conversion, Site, Wishes, to_hybrid, to_standalone
from lockgate.policy.problems import Invalid

commands = typer.Typer(no_args_is_help=True, help="Documents for another kind of place: hybrid, and standalone again.")

Folder = Annotated[Path | None, typer.Argument(help="Folder with policy documents; default: the operator's.")]
Organisation = Annotated[str, typer.Option(help="Which organisation; not needed when there is only one.")]


@commands.command("hybrid")
def hybrid(
    context: typer.Context,
    folder: Folder = None,
    on_premises: Annotated[str, typer.Option(help="1. The on-premises server that takes our mail: host[:port].")] = "",
    certificate_name: Annotated[str, typer.Option(help="2. The name in that server's certificate.")] = "",
    coexistence_domain: Annotated[
        str, typer.Option(help="3. A domain by which on-premises addresses the mailboxes that live here.")
    ] = "",
    transport: Annotated[
        str, typer.Option(help="4. direct: each side sends by itself; central: all mail goes by on-premises.")
    ] = "",
    ca_file: Annotated[str, typer.Option(help="CA of that certificate, if it is none of the public ones.")] = "",
    client_certificate: Annotated[str, typer.Option(help="Our certificate chain, which on-premises asks for.")] = "",
    client_key: Annotated[str, typer.Option(help="Its key.")] = "",
    mailbox_store: Annotated[str, typer.Option(help="A new LMTP server for the mailboxes here: host:port.")] = "",
    vouch: Annotated[
        bool, typer.Option("--vouch", help="The operator answers for the coexistence domain, without a TXT record.")
    ] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Write what a hybrid needs as one new document; every earlier object stays as it is. Then `plan` and `apply`.

    Adds a coexistence domain, a connector in each direction and, if asked for, a mailbox store. Nothing is in force
    before `apply`.
    """
    if bool(client_certificate) != bool(client_key):
        _misuse("Give both --client-certificate and --client-key, or none.")
    where = _asked(transport, "--transport", "4. Transport: direct, or central (all mail goes by on-premises)")
    if where not in ("direct", "central"):
        _misuse("--transport is direct or central.")
    wishes = Wishes(
        host=_asked(on_premises, "--on-premises", "1. The on-premises server that takes our mail (host or host:port)"),
        certificate=_asked(certificate_name, "--certificate-name", "2. The name in its certificate"),
        coexistence=_asked(coexistence_domain, "--coexistence-domain", "3. Coexistence domain (contoso.mail.example)"),
        central=where == "central",
        organisation=organisation,
        proof="" if vouch else f"lockgate-proof={secrets.token_hex(16)}",
        ca_file=ca_file,
        client_chain=client_certificate,
        client_key=client_key,
        mailboxes=mailbox_store,
    )
    _converted(
        context, folder, lambda files, site: to_hybrid(files, wishes, site), what_if=what_if, as_json=as_json
    )


@commands.command("standalone")
def standalone(
    context: typer.Context,
    folder: Folder = None,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Take out what `convert hybrid` has added, and nothing else; says what stays. Then `plan` and `apply`."""
    _converted(
        context, folder, lambda files, site: to_standalone(files, organisation, site), what_if=what_if, as_json=as_json
    )


def _asked(value: str, option: str, question: str) -> str:
    if value:
        return value
    if not sys.stdin.isatty():
        _misuse(f"Nobody is at the terminal to be asked; give {option}.")
    return str(typer.prompt(question))


def _misuse(sentence: str) -> NoReturn:
    show.complain(sentence)
    raise typer.Exit(show.MISUSE)


def _converted(
    context: typer.Context,
    folder: Path | None,
    convert: Callable[[Mapping[str, str], Site], Conversion],
    *,
    what_if: bool,
    as_json: bool,
) -> None:
    """Read the folder, convert, and write what differs; ends the command with what is wrong."""
    options = given(context)
    places = asked.places(options)
    where = folder or places.policy_directory
    try:
        done = convert(options.board.read_documents(where), Site(places.hostname, places.keeps_mailboxes))
        if not what_if:
            _write(where, done)
    except Invalid as trouble:
        asked.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None
    except CannotConvert as trouble:
        show.complain(f"{str(trouble)[:1].upper()}{str(trouble)[1:]}.")
        raise typer.Exit(show.FINDING) from None
    except OSError as trouble:
        show.complain(f"{where} cannot be written: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    _told(where, done, what_if=what_if, as_json=as_json)


def _write(where: Path, done: Conversion) -> None:
    """New texts beside the old ones first, so that a full disk leaves the folder as it was."""
    ready: list[tuple[Path, Path]] = []
    for name, text in done.written.items():
        beside = where / f".{name.replace('/', '.')}.new"
        beside.write_text(text, "utf-8")
        ready.append((beside, where / name))
    for beside, path in ready:
        beside.replace(path)
    for name in done.removed:
        (where / name).unlink()


def _told(where: Path, done: Conversion, *, what_if: bool, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {
            "folder": str(where), "written": dict(done.written), "removed": list(done.removed),
            "notes": list(done.notes), "what_if": what_if,
        }  # fmt: skip
        show.as_json(told)
        return
    for name, text in done.written.items():
        if what_if:
            print(f"# {name}\n" + "\n".join(show.printable(line) for line in text.splitlines()))
        else:
            show.say(f"{where / name} is written.")
    for name in done.removed:
        show.say(f"{where / name} {'would go' if what_if else 'is gone'}: nothing is left in it.")
    for note in done.notes:
        show.say(f"- {note}")
    show.say("Nothing was written." if what_if else f"Nothing is in force yet: lockgate plan {where}; lockgate apply")
