"""`lockgate init`: six questions, and a new installation stands; answers may also be given as options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, given
from lockgate.flow.first_steps import (
    Answers,
    DnsLine,
    Knowing,
    Mailboxes,
    Mistake,
    MxNow,
    checked,
    dns_lines,
    documents,
    next_steps,
)
from lockgate.policy.problems import Invalid

CHOICES = {
    Mailboxes: {"here": "on this machine", "there": "on another server of yours", "both": "some here, some there"},
    MxNow: {"us": "nobody yet, or this machine", "there": "that other server", "elsewhere": "another service"},
    Knowing: {"file": "from a list", "ask": "by asking the other server", "all": "not at all: everything is passed on"},
}


def _choice(kind: type[Any], question: str) -> Any:
    words = CHOICES[kind]
    print(question)
    for word, meaning in words.items():
        print(f"    {word:<10} {meaning}")
    while True:
        said = str(typer.prompt("  ", default=next(iter(words)))).strip().lower()
        fits = [word for word in words if said and word.startswith(said)]
        if len(fits) == 1:
            return kind(fits[0])
        show.complain(f"Answer one of {', '.join(words)}.")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


class _Missing(Exception):
    """An answer that nobody gave, and nobody is there to be asked."""


def _given_or_asked(value: Any, option: str, ask: Callable[[], Any]) -> Any:
    if value not in (None, "", []):
        return value
    if not sys.stdin.isatty():
        raise _Missing(option)
    return ask()


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of the new installation.")] = Path(),
    hostname: Annotated[str, typer.Option(help="1. Our full host name, as others will see it.")] = "",
    domain: Annotated[list[str] | None, typer.Option(help="2. A domain whose mail we receive (repeat).")] = None,
    mailboxes: Annotated[Mailboxes | None, typer.Option(help="3. Where the mailboxes are.")] = None,
    next_hop: Annotated[str, typer.Option(help="   The server with the mailboxes: host or host:port.")] = "",
    mx: Annotated[MxNow | None, typer.Option(help="4. Who receives the mail now.")] = None,
    recipients: Annotated[Knowing | None, typer.Option(help="5. How we know who exists.")] = None,
    sender: Annotated[
        list[str] | None,
        typer.Option(help="6. Who may send outwards through us: address, network, or certificate name (repeat); none."),
    ] = None,
    address: Annotated[str, typer.Option(help="Our public address, for the DNS lines.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 2525,
    what_if: Annotated[bool, typer.Option("--what-if", help="Print the documents, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin a new installation: six questions become documents, revision 1, a certificate and the DNS lines."""
    board = given(context).board
    try:
        answers = checked(_answers(hostname, domain, mailboxes, next_hop, mx, recipients, sender, address, port))
        files = documents(answers)
        revision = 0 if what_if else board.begin(folder, files, answers.hostname)
    except _Missing as trouble:
        show.complain(f"Nobody is at the terminal to be asked; give {trouble}.")
        raise typer.Exit(show.MISUSE) from None
    except Mistake as trouble:
        show.complain(f"--{trouble.answer}: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    except Invalid as trouble:
        asked.problems(trouble.problems)
        raise typer.Exit(show.MISUSE) from None
    except OSError as trouble:
        show.complain(str(trouble))
        raise typer.Exit(show.FINDING) from None
    if as_json:
        _json(answers, files, revision)
    else:
        _told(folder, answers, files, revision)


def _answers(
    hostname: str,
    domain: Sequence[str] | None,
    mailboxes: Mailboxes | None,
    next_hop: str,
    mx: MxNow | None,
    recipients: Knowing | None,
    sender: Sequence[str] | None,
    address: str,
    port: int,
) -> Answers:
    hostname = _given_or_asked(hostname, "--hostname", lambda: typer.prompt("1. Our full host name (mx1.example.com)"))
    domains = _given_or_asked(
        domain, "--domain", lambda: _words(typer.prompt("2. Domains whose mail we receive, with blanks between"))
    )
    where = _given_or_asked(
        mailboxes, "--mailboxes", lambda: _choice(Mailboxes, "3. Where are the mailboxes of these people?")
    )
    if where is not Mailboxes.HERE:
        next_hop = _given_or_asked(
            next_hop, "--next-hop", lambda: typer.prompt("   The server with the mailboxes (host or host:port)")
        )
    now = _given_or_asked(mx, "--mx", lambda: _choice(MxNow, "4. Who receives the mail of these domains today?"))
    how: Any = recipients
    if where is Mailboxes.HERE:
        how = how or Knowing.FILE
    how = _given_or_asked(how, "--recipients", lambda: _choice(Knowing, "5. How do we know who exists?"))
    senders = sender
    if senders is None and sys.stdin.isatty():
        text = "6. Who may send outwards through us (addresses, networks, certificate names; empty: nobody)"
        senders = _words(typer.prompt(text, default="", show_default=False))
    return Answers(hostname, tuple(domains), where, now, how, tuple(senders or ()), next_hop, address, port)


def _json(answers: Answers, files: dict[str, str], revision: int) -> None:
    show.as_json(
        {
            "revision": revision,
            "files": files,
            "dns": [{**msgspec.to_builtins(line), "line": str(line)} for line in dns_lines(answers)],
            "next": list(next_steps(answers)),
        }
    )


def _told(folder: Path, answers: Answers, files: dict[str, str], revision: int) -> None:
    if revision:
        show.say(f"Written to {folder.resolve()}: {', '.join(files)}, and a certificate in tls/. Revision {revision}.")
    else:
        for name, text in files.items():
            print(f"--- {show.printable(name)}")
            for line in text.splitlines():
                show.say(line)
    print()
    show.say("DNS lines; enter them where the zone is kept:")
    for record in dns_lines(answers):
        _line(record)
    if not answers.address:
        show.say(f"    and an A or AAAA record for {answers.hostname} (say --address to see the lines).")
    print()
    show.say("Next:")
    for number, step in enumerate(next_steps(answers), 1):
        show.say(f"  {number}. {step}")


def _line(line: DnsLine) -> None:
    show.say(f"    {line}")
    show.say(f"        ; {line.why}{', so it comes last' if line.later else ''}")
