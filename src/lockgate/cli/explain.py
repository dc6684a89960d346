"""Why, at the terminal: `explain` a message, and `what-if` a supposed one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import asked, show, telling
from lockgate.cli.asked import AsJson, answered, given
from lockgate.cli.message_file import Said, read, said_to_rules
from lockgate.flow.asking import Explain, Export, WhatIf
from lockgate.mail.headers import HEAD
from lockgate.policy.problems import Invalid

Short = Annotated[bool, typer.Option("--short", help="Three lines for each recipient instead of every step.")]
Organisation = Annotated[str, typer.Option(help="Only what concerns this organisation.")]
Draft = Annotated[Path | None, typer.Option("--policy", metavar="DIR", help="Judge by the documents in this folder.")]
Revision = Annotated[int, typer.Option(min=0, help="Judge by this revision of the policy.")]


def explain(
    context: typer.Context,
    message: Annotated[str, typer.Argument(metavar="ID", help="Id of the message; of refusals, of the connection.")],
    recipient: Annotated[str, typer.Option(help="Only what became of this recipient.")] = "",
    organisation: Organisation = "",
    short: Short = False,
    as_json: AsJson = False,
) -> None:
    """Tell why a message went the way it went: every step, what won, why the others lost, and what followed."""
    explanation = answered(context, Explain(message, organisation, recipient), as_json=as_json)
    if not as_json:
        telling.tell(explanation, short=short)


def what_if(
    context: typer.Context,
    message: Annotated[Path | None, typer.Argument(metavar="[MESSAGE.EML]", help="The message, if it matters.")] = None,
    sender: Annotated[str | None, typer.Option("--from", help="Envelope sender; '<>' for the null sender.")] = None,
    to: Annotated[list[str] | None, typer.Option("--to", help="Envelope recipient; may be given again.")] = None,
    ip: Annotated[str, typer.Option("--ip", help="Address of the sending server.")] = "",
    helo: Annotated[str, typer.Option(help="Name in its EHLO.")] = "",
    login: Annotated[str, typer.Option(help="It is logged in as this user.")] = "",
    tls: Annotated[str, typer.Option(help="1.3, 1.2 or none; default: none, or 1.3 with --cert.")] = "",
    cert: Annotated[str, typer.Option(help="Its certificate: host names with commas between, or a PEM file.")] = "",
    untrusted: Annotated[bool, typer.Option("--untrusted", help="The certificate is self-signed.")] = False,
    cert_trouble: Annotated[
        str, typer.Option(help="expired, not-yet-valid, unknown-ca, no-intermediate, wrong-purpose or self-signed.")
    ] = "",
    cert_ca: Annotated[
        list[str] | None, typer.Option(help="Only this CA file vouches for it, or 'public'; may be given again.")
    ] = None,
    cert_key: Annotated[str, typer.Option(help="SHA-256 of its public key (SPKI), as pinned_keys has it.")] = "",
    require_tls: Annotated[bool, typer.Option("--require-tls", help="MAIL FROM says REQUIRETLS.")] = False,
    size: Annotated[int, typer.Option(min=0, help="Octets of the message.")] = 0,
    declared_size: Annotated[int, typer.Option(min=0, help="SIZE of MAIL FROM, in octets.")] = 0,
    at: Annotated[str, typer.Option(help="When: 2h ago, 2026-11-24T08:00:00Z; default: now.")] = "",
    suppose: Annotated[
        list[str] | None, typer.Option(help="'directory = unknown', 'who-is ann@contoso.com = nobody'; again for more.")
    ] = None,
    like: Annotated[str, typer.Option(metavar="ID", help="Begin with what is recorded of this message.")] = "",
    policy: Draft = None,
    revision: Revision = 0,
    organisation: Organisation = "",
    short: Short = False,
    as_json: AsJson = False,
) -> None:
    """Ask what would become of a message, under the policy in force, a draft or an earlier one. Nothing is changed.

    Without --to judging ends at MAIL FROM, without --from at connect. Code 1 if anything would be refused.
    """
    octets = read(message) if message is not None else b""
    documents = documents_of(context, policy)
    said = _said(context, documents, revision, octets, organisation) if message is not None else Said()
    request = WhatIf(
        sender=sender, recipients=tuple(to or ()), ip=ip, helo=helo, login=login, tls=tls,
        certificate=_certificate(cert), untrusted=untrusted, certificate_trouble=cert_trouble,
        certificate_trusted_by=tuple(cert_ca or ()), certificate_key=cert_key, require_tls=require_tls,
        size=size or len(octets), head=octets[:HEAD], declared_size=declared_size, at=at, documents=documents,
        revision=revision, organisation=organisation, suppose=tuple(suppose or ()), like=like, contents=said.contents,
        texts=said.texts, cut=said.cut,
    )  # fmt: skip
    explanation = answered(context, request, as_json=as_json)
    if not as_json:
        telling.tell(explanation, short=short)
    if _refuses(explanation):
        raise typer.Exit(show.FINDING)


def _refuses(explanation: Mapping[str, Any]) -> bool:
    parts = explanation.get("parts", ())
    return any(
        part.get("refusal") or any(row.get("what") in ("refused", "put off") for row in part["recipients"])
        for part in parts
    )


def _said(
    context: typer.Context, draft: Mapping[str, str] | None, revision: int, octets: bytes, organisation: str
) -> Said:
    """What the message says to the rules that are meant."""
    documents = draft
    if documents is None:
        documents = answered(context, Export(revision or None), as_json=False)["files"]
    try:
        return said_to_rules(documents, octets, organisation)
    except Invalid:
        return Said()  # whoever judges by them says what is wrong


def documents_of(context: typer.Context, folder: Path | None) -> dict[str, str] | None:
    """The texts of a draft; ends the command with the mistakes if they cannot be read."""
    if folder is None:
        return None
    try:
        return given(context).board.read_documents(folder)
    except Invalid as trouble:
        asked.problems(trouble.problems)
        raise typer.Exit(show.MISUSE) from None


def _certificate(named: str) -> str:
    """A host name as it is; the text of a file if there is one of that name."""
    path = Path(named)
    if not named or not path.is_file():
        return named
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{named} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None
