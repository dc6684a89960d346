"""`connector advise` at the terminal: which connectors are needed, as documents, beside what there is already.

What it prints is one TOML document: everything that is no document stands behind a #.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from lockgate.cli import asked as common
from lockgate.cli import connector_dialogue, show
from lockgate.cli.asked import AsJson, answered, given
from lockgate.cli.show import Column
from lockgate.flow.asking import Export
from lockgate.policy.advice import Mailboxes, advised
from lockgate.policy.advice_answers import Answers, Unclear, checked, partner_of, site_of
from lockgate.policy.advice_documents import Need, Piece, connectors_text, documents, pieces
from lockgate.policy.advice_findings import Finding, Kind, adopted, compared
from lockgate.policy.advice_steps import other_side, proofs
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import OrganisationPolicy, Policy
from lockgate.policy.problems import Invalid

ADDED = "connectors-advised.toml"
"""The document with what an existing policy lacks."""

_NOWHERE = "localhost.localdomain"
_PLACES = {
    "hosted": Mailboxes.HOSTED,
    "own-servers": Mailboxes.OWN_SERVERS,
    "on-premises": Mailboxes.OWN_SERVERS,
    "standalone": Mailboxes.OWN_SERVERS,
    "both": Mailboxes.BOTH,
    "hybrid": Mailboxes.BOTH,
}
_Many = list[str] | None
_Place = Annotated[_Many, typer.Argument(help="Where the mailboxes are: all hosted, own-servers, or both.")]
_Mailboxes = Annotated[str, typer.Option(help="The same: hosted, own-servers or both.")]
_Domain = Annotated[_Many, typer.Option(help="A domain whose mail is received here (repeat).")]
_NextHop = Annotated[_Many, typer.Option(help="Where mail for own servers goes: host or host:port (repeat).")]
_OwnCertificate = Annotated[str, typer.Option(help="Name in the certificate that own servers show.")]
_OwnAddress = Annotated[_Many, typer.Option(help="Address or network of own servers (repeat).")]
_OwnTls = Annotated[str, typer.Option(help="TLS to own servers, as tls_settings; default: what fits.")]
_Centralised = Annotated[bool, typer.Option("--centralised", help="All mail leaves by the own servers.")]
_Relay = Annotated[str, typer.Option(help="Smart host by which all mail to the Internet leaves.")]
_Devices = Annotated[bool, typer.Option("--devices", help="Printers or programs send mail without login.")]
_Device = Annotated[_Many, typer.Option(help="Address or network of such devices (repeat).")]
_Partners = Annotated[bool, typer.Option("--partners", help="A partner's mail must be in TLS or the like.")]
_Partner = Annotated[
    _Many,
    typer.Option(
        help="A partner (repeat): DOMAIN,tls=none|any|ca|name|pin,certificate=NAME,pin=HEX,ca_file=FILE,"
        "address=NETWORK,host=HOST,direction=in|out|both."
    ),
]
_Gateway = Annotated[_Many, typer.Option(help="Address or network of a filter service in front (repeat).")]
_GatewayCertificate = Annotated[str, typer.Option(help="Name in its certificate.")]
_Enhanced = Annotated[
    bool, typer.Option("--enhanced-filtering/--no-enhanced-filtering", help="Look through it at the true source.")
]
_Site = Annotated[
    _Many, typer.Option(help="A site (repeat): NAME,host=HOST and domain=DOMAIN or city=WORD (any attribute).")
]
_Organisation = Annotated[str, typer.Option(help="The organisation; default: made of the domain.")]
_Policy = Annotated[Path | None, typer.Option(help="Compare with the documents of this folder.")]
_InForce = Annotated[bool, typer.Option("--in-force", help="Compare with what the service has in force.")]
_Write = Annotated[Path | None, typer.Option(help="Write the documents into this folder.")]


class _Advice(NamedTuple):
    """All that is to be said."""

    answers: Answers
    pieces: tuple[Piece, ...]
    files: Mapping[str, str]
    findings: tuple[Finding, ...]
    other_side: tuple[str, ...]
    proofs: tuple[str, ...]


def advise(
    context: typer.Context,
    answer: _Place = None,
    mailboxes: _Mailboxes = "",
    domain: _Domain = None,
    next_hop: _NextHop = None,
    own_certificate: _OwnCertificate = "",
    own_address: _OwnAddress = None,
    own_tls: _OwnTls = "",
    centralised: _Centralised = False,
    relay: _Relay = "",
    devices: _Devices = False,
    device: _Device = None,
    partners: _Partners = False,
    partner: _Partner = None,
    gateway: _Gateway = None,
    gateway_certificate: _GatewayCertificate = "",
    enhanced_filtering: _Enhanced = True,
    site: _Site = None,
    organisation: _Organisation = "",
    policy: _Policy = None,
    in_force: _InForce = False,
    write: _Write = None,
    as_json: AsJson = False,
) -> None:
    """Say which connectors are needed, and print them as documents (specification 3.0); nothing is changed.

    With --policy or --in-force: what is missing there, or needless; code 1 if something needed is missing.
    """
    place = _place(answer, mailboxes)
    try:
        answers = Answers(
            place, organisation, tuple(domain or ()), own_certificate, tuple(own_address or ()),
            tuple(next_hop or ()), own_tls, centralised, relay, tuple(device or ()),
            tuple([partner_of(text) for text in partner or ()]), tuple(gateway or ()), gateway_certificate,
            enhanced_filtering, tuple([site_of(text) for text in site or ()]),
        )  # fmt: skip
        compare = policy is not None or in_force
        if sys.stdin.isatty() and not compare and not domain:
            answers = connector_dialogue.asked(answers, devices=devices, partners=partners)
        if not compare and not answers.domains and answers._replace(organisation="") == Answers(place):
            _table(place, devices=devices, partners=partners, as_json=as_json)
            return
        found = _compared(context, answers, policy, as_json=as_json) if compare else _fresh(answers)
    except Unclear as trouble:
        show.complain(f"--{trouble.answer}: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    _said(found, write, as_json=as_json)
    if any(one.kind is Kind.MISSING for one in found.findings):
        raise typer.Exit(show.FINDING)


def _place(answer: Sequence[str] | None, mailboxes: str) -> Mailboxes:
    said = " ".join(answer or [mailboxes]).lower().replace("_", "-").removeprefix("all").strip(" -")
    if not said and sys.stdin.isatty():
        said = typer.prompt("Where are the mailboxes: hosted, own-servers or both?").strip().lower()
    place = _PLACES.get(said.replace(" ", "-"))
    if place is None:
        show.complain("Say where the mailboxes are: `connector advise all hosted`, `own-servers` or `both`.")
        raise typer.Exit(show.MISUSE)
    return place


def _table(place: Mailboxes, *, devices: bool, partners: bool, as_json: bool) -> None:
    """The table of specification 3.0 alone, where nothing more was said."""
    found = advised(place, devices=devices, partners=partners)
    if as_json:
        show.as_json({"mailboxes": place.value, "connectors": [one._asdict() for one in found]})
        return
    if not found:
        show.say("none")
        return
    rows = [{**one._asdict(), "need": "needed" if one.needed else "optional"} for one in found]
    columns = (Column("need", "NEED"), Column("table", "TABLE"), Column("connector_type", "TYPE"), Column("why", "WHY"))
    show.table(rows, columns)


def _fresh(answers: Answers) -> _Advice:
    """For an organisation that has nothing yet."""
    answers = checked(answers)
    found = pieces(answers)
    files = documents(answers, found)
    _sound(files)
    return _Advice(answers, found, files, (), other_side(answers, ""), proofs(found, answers))


def _compared(context: typer.Context, answers: Answers, folder: Path | None, *, as_json: bool) -> _Advice:
    """Beside what there is already."""
    texts = _texts(context, folder, as_json=as_json)
    try:
        policy = compile_policy(texts, hostname=_NOWHERE, revision=0)
    except Invalid as trouble:
        common.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None
    mine = _organisation(policy, answers.organisation)
    answers = checked(adopted(answers, mine), whole=False)
    result = compared(answers, mine)
    owner = answers.organisation if len(policy.organisations) > 1 else ""
    text = connectors_text(result.lacking, owner)
    files = {ADDED: text} if text else {}
    _sound({**texts, **files})
    return _Advice(
        answers, result.lacking, files, result.findings, other_side(answers, "") if result.lacking else (),
        proofs(result.lacking, answers) if result.lacking else (),
    )  # fmt: skip


def _texts(context: typer.Context, folder: Path | None, *, as_json: bool) -> dict[str, str]:
    if folder is None:
        return dict(answered(context, Export(None), as_json=False)["files"])
    try:
        return given(context).board.read_documents(folder)
    except Invalid as trouble:
        common.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None


def _organisation(policy: Policy, named: str) -> OrganisationPolicy:
    names = list(policy.organisations)
    if named in names:
        return policy.of(named)
    if named or len(names) != 1:
        raise Unclear("organisation", f"say which organisation is meant: {', '.join(names) or 'there is none'}")
    return policy.of(names[0])


def _sound(files: Mapping[str, str]) -> None:
    """Documents that are printed are accepted as they are; what stands in the way is in an answer. Raises Unclear."""
    try:
        compile_policy(files, hostname=_NOWHERE, revision=0, advise=False)
    except Invalid as trouble:
        one = trouble.problems[0]
        raise Unclear("domain", f"these answers make no sound documents: {one.path}: {one.message}") from None


# --- saying it -------------------------------------------------------------------------------------------------------


def _said(advice: _Advice, folder: Path | None, *, as_json: bool) -> None:
    written = _written(folder, advice.files) if folder is not None else ()
    if as_json:
        show.as_json({**_json(advice), "written": [str(path) for path in written]})
        return
    if not advice.pieces and not advice.findings:
        show.say("# none: no connector is needed" if advice.files else "none")
    for one in advice.findings:
        show.say(f"# {one.kind.value}: {one.table} '{one.name}': {one.what}")
        show.say(f"#     => {one.mend}")
    for name, text in advice.files.items():
        if written:
            continue
        show.say(f"# --- {name}")
        for line in text.rstrip("\n").split("\n"):
            show.say(line)
        print()
    for path in written:
        show.say(f"# written: {path}")
    _comments("What the other side has to configure:", advice.other_side)
    _comments("What proves it (connector validate takes --policy DIR before anything is in force):", advice.proofs)


def _comments(heading: str, lines: Sequence[str]) -> None:
    if lines:
        show.say(f"# {heading}")
        for line in lines:
            show.say(f"#   {line}")


def _json(advice: _Advice) -> dict[str, Any]:
    return {
        "mailboxes": advice.answers.mailboxes.value,
        "organisation": advice.answers.name,
        "connectors": [
            {
                "table": one.table,
                "name": one.name,
                "connector_type": "on_premises" if 'connector_type = "on_premises"' in one.lines else "partner",
                "needed": one.need is Need.NEEDED,
                "why": one.why,
            }
            for one in advice.pieces
            if one.table != "mail_flow_rule"
        ],
        "documents": dict(advice.files),
        "findings": [{**one._asdict(), "kind": one.kind.value} for one in advice.findings],
        "other_side": list(advice.other_side),
        "prove": list(advice.proofs),
    }


def _written(folder: Path, files: Mapping[str, str]) -> tuple[Path, ...]:
    """The documents in the folder; nothing that says something else is overwritten."""
    try:
        for name, text in files.items():
            path = folder / name
            if path.exists() and path.read_text("utf-8") != text:
                show.complain(f"{path} is there and says something else; name another folder, or move it away.")
                raise typer.Exit(show.FINDING)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{folder} cannot be written: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    return tuple([folder / name for name in files])
