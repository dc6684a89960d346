"""An explanation on the terminal: blocks with colour for people, the same lines plain in a pipe."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lockgate.cli import show

_SIGN_STYLES = {"+": "bold green", "-": "dim", "?": "bold yellow"}
_FATE_STYLES = {
    "delivered": "bold green", "refused": "bold red", "put off": "bold yellow", "waits": "bold yellow",
    "held": "bold yellow", "dropped": "bold red", "expanded": "bold green", "resolved": "bold green",
}  # fmt: skip
_STATUS_STYLES = {"Delivered": "bold green", "Refused": "bold red", "Failed": "bold red", "Pending": "bold yellow"}
"""How it stands, where that is known, outdoes what was decided."""

_FACTS = {
    "sender": "sender",
    "peer": "came from",
    "helo": "said hello as",
    "proxied_by": "told by proxy",
    "listener": "arrived at",
    "tls_in": "TLS",
    "certificate_in": "certificate",
    "login": "logged in as",
    "subject": "subject",
    "message_id": "message id",
    "size": "octets",
    "declared_size": "octets declared",
    "require_tls": "REQUIRETLS",
    "at": "at",
}
"""Facts in the order in which they are shown, and what they are called."""


class Line(NamedTuple):
    """One line: `indent` blanks, parts that stand in columns, and the style of each part."""

    indent: int
    parts: tuple[str, ...]
    styles: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()

_TLS_MISSED = re.compile(r"\b[45]\d\d [45]\.7\.(?:5|30|32[1-5]) ")
"""Replies of ours about TLS that was not as demanded (specification 1.20)."""


def tell(explanation: Mapping[str, Any], *, short: bool = False) -> None:
    """Print all parts of an explanation."""
    for number, part in enumerate(explanation.get("parts", ())):
        if number:
            print()
        draw(tuple(_part(part, explanation, short=short)))
    if explanation.get("refused_besides"):
        print()
        draw(tuple(_besides(explanation)))


def _besides(explanation: Mapping[str, Any]) -> Iterator[Line]:
    refused = explanation["refused_besides"]
    yield Line(0, (f"Refused on the same connection; `lockgate explain {explanation.get('connection')}` tells why",),
               ("bold",))  # fmt: skip
    for row in refused[:20]:
        yield Line(2, (row["recipient"] or "everything", row["reply"]))
    if len(refused) > 20:
        yield Line(2, (f"and {len(refused) - 20} more",))


def _part(part: Mapping[str, Any], explanation: Mapping[str, Any], *, short: bool) -> Iterator[Line]:
    facts = dict(part.get("facts", {}))
    yield Line(0, (_title(part, explanation, facts),), ("bold",))
    if short:
        yield from in_three_lines(part)
        yield from _differences(part.get("differs", ()), part.get("judged", {}))
        return
    yield from _facts(facts, part.get("judged", {}))
    if part.get("conversation"):
        yield Line(0, ("",))
        yield Line(0, ("What the sender is told" if explanation.get("kind") == "what-if" else
                       "What the sender was told",), ("bold",))  # fmt: skip
        yield from _conversation(part["conversation"], facts)
    if part.get("everybody"):
        yield Line(0, ("",))
        yield Line(0, ("For everybody",), ("bold",))
        yield from _steps(part["everybody"])
    if refusal := part.get("refusal"):
        yield Line(0, ("",))
        yield Line(0, (f"Everything is {refusal['what']}: {refusal['reply']}",), (_FATE_STYLES[refusal["what"]],))
        yield Line(2, (f"because {refusal['because']}",))
    for row in _worth_telling(part):
        yield Line(0, ("",))
        yield from _recipient(row)
    yield from _differences(part.get("differs", ()), part.get("judged", {}))


def _worth_telling(part: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Where everything is refused at the end of data, nothing more is to be said of those taken before."""
    return [row for row in part.get("recipients", ()) if not part.get("refusal") or row.get("what") != "undecided"]


def _title(part: Mapping[str, Any], explanation: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    whom = facts.get("recipients", [])
    count = f"{len(whom)} recipients" if len(whom) != 1 else str(whom[0])
    to = f" to {count}" if whom else ""
    sender = f" from {facts['sender']}" if facts.get("sender") else f" from {facts.get('peer', '?')}"
    match explanation.get("kind"):
        case "what-if":
            like = f" like {explanation['id']}" if explanation.get("id") != "what-if" else ""
            return f"A supposed message{like}{sender}{to}"
        case "refusals":
            return f"Refused on connection {explanation.get('id')}: mail{sender}{to}"
        case _:
            return f"Message {explanation.get('id')}{sender}{to}"


def _facts(facts: Mapping[str, Any], judged: Mapping[str, Any]) -> Iterator[Line]:
    if "peer" in facts:
        facts = {"tls_in": "none, plain text", **facts}
    rows = [(called, show.moment(name, facts[name])) for name, called in _FACTS.items() if name in facts]
    directory = judged.get("directory_revisions") or []
    by = judged.get("policy") or f"revision {judged.get('revision', '?')}"
    asked = f", directory revision {show.printable(directory)}" if directory else ""
    rows.append(("judged by", f"policy {by}{asked}"))
    if judged.get("note"):
        rows.append(("note", judged["note"]))
    for called, value in rows:
        yield Line(2, (called, show.printable(value)), ("dim", ""), (14,))


def _conversation(said: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Iterator[Line]:
    what = {"connect": "(connect)", "mail": f"MAIL FROM:<{_bare(facts.get('sender'))}>", "data": "(end of data)"}
    told = [(what.get(row["point"]) or f"RCPT TO:<{row['recipient']}>", row["reply"]) for row in said]
    width = min(60, max(len(show.printable(command)) for command, _ in told))
    for command, reply in told:
        style = "green" if reply[:1] in "23" else "yellow" if reply[:1] == "4" else "red"
        yield Line(2, (command, reply), ("", style), (width,))


def _bare(sender: object) -> str:
    return str(sender or "").removeprefix("<").removesuffix(">")


def _steps(rows: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    for row in rows:
        text = f"{row.get('subject', '')}: {row.get('because', '')}"
        if row.get("effect"):
            text += f" -> {row['effect']}"
        sign = row.get("sign", " ")
        style = _SIGN_STYLES.get(sign, "")
        yield Line(2, (sign, row.get("stage", ""), text), (style, "cyan", "" if sign == "+" else style), (1, 9))


def _recipient(row: Mapping[str, Any]) -> Iterator[Line]:
    yield _headline(row)
    if row.get("because"):
        yield Line(2, (f"because {row['because']}",))
    yield from _steps(row.get("steps", ()))
    route = row.get("route") or {}
    if route.get("tls_demanded") and route.get("via") != "mailbox":
        yield Line(2, ("=", "TLS", f"demanded outwards: {route['tls_demanded']}; seen: {_tls_seen(row)}"), ("", "cyan"),
                   (1, 9))  # fmt: skip
    if row.get("attempts"):
        yield Line(2, ("What happened then",), ("bold",))
    for event, times, last in _together(row.get("attempts", ())):
        again = f" ({times} times, the last at {show.moment('at', last.get('at'))})" if times > 1 else ""
        parts = (str(event.get("kind", "")), _happening(event) + again)
        yield Line(4, (str(show.moment("at", event.get("at"))), *parts), ("dim", "bold", ""), (20, 8))


def _together(
    events: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], int, Mapping[str, Any]]]:
    """Events with how often they came in a row, and the last of them; equal but for their time is equal."""
    for _, alike in itertools.groupby(events, lambda event: {**event, "at": 0}):
        group = list(alike)
        yield group[0], len(group), group[-1]


def _headline(row: Mapping[str, Any]) -> Line:
    status = f" [{row['status']}]" if row.get("status") not in (None, "", "Refused") else ""
    style = _FATE_STYLES.get(row.get("what", ""), "bold")
    return Line(0, (f"{_whom(row)}: {row.get('sentence')}{status}",), (style,))


def _whom(row: Mapping[str, Any]) -> str:
    """The recipient, and from whom it is derived."""
    return f"{row.get('recipient')}, {row['derivation']}" if row.get("derivation") else str(row.get("recipient"))


def _tls_seen(row: Mapping[str, Any]) -> str:
    attempts = [event for event in row.get("attempts", ()) if event.get("kind") in ("Send", "Defer", "Fail")]
    if not attempts:
        return "nothing, for nothing was sent yet" if row.get("status") else "nothing, for nothing is sent"
    last = attempts[-1]
    if last.get("tls") or last.get("kind") == "Send":
        return str(last.get("tls") or "plain text")
    reply = str(last.get("reply", ""))
    met = last.get("host") and not _TLS_MISSED.search(reply)
    return "plain text" if met else f"no session that will do ({reply})"


def _happening(event: Mapping[str, Any]) -> str:
    parts = (
        event.get("detail"),
        f"to {event['host']}" if event.get("host") else "",
        f"with {event['tls']}" if event.get("tls") else "",
        event.get("reply"),
    )
    return ", ".join(str(part) for part in parts if part)


def _differences(found: Sequence[Mapping[str, str]], judged: Mapping[str, Any]) -> Iterator[Line]:
    if not found:
        return
    yield Line(0, ("",))
    title = "This is not what was decided" if judged.get("steps") == "judged again" else "What changes"
    yield Line(0, (title,), ("bold yellow",))
    for one in found:
        yield Line(2, (f"{one['recipient'] or 'everybody'}: was {one['before']}; now {one['now']}",))


def in_three_lines(part: Mapping[str, Any]) -> Iterator[Line]:
    """For each recipient: what became of it; the step that decided, and why; the reply, or the last attempt and TLS."""
    if refusal := part.get("refusal"):
        yield Line(2, (f"everything is {refusal['what']}",), (_FATE_STYLES[refusal["what"]],))
        yield Line(4, (f"because {refusal['because']}",))
        yield Line(4, (f"told: {refusal['reply']}",))
    for row in _worth_telling(part):
        said = row.get("reply") if row.get("what") in ("refused", "put off") else ""
        status = f" [{row['status']}]" if row.get("status") else ""
        style = _STATUS_STYLES.get(row.get("status", ""), _FATE_STYLES.get(row.get("what", ""), "bold"))
        yield Line(2, (f"{_whom(row)}{status}: {row['what'] if said else row.get('sentence')}",), (style,))
        if row.get("because"):
            yield Line(4, (f"because {row['because']}",))
        if said:
            yield Line(4, (f"told: {said}",))
        elif row.get("attempts"):
            last = row["attempts"][-1]
            yield Line(4, (f"last: {last.get('kind')} {_happening(last)}{_in_plain(row, last)}",))


def _in_plain(row: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    """Said only where mail left without TLS, because silence would be read as TLS."""
    left = last.get("kind") == "Send" and not last.get("tls") and (row.get("route") or {}).get("tls_demanded")
    return ", in plain text" if left else ""


def lines_of(lines: Iterable[Line]) -> list[str]:
    """Lines as plain text without anything that could move a cursor."""
    return [_plain(line) for line in lines]


def _plain(line: Line) -> str:
    parts = [show.printable(part) for part in line.parts]
    padded = [part.ljust(width) for part, width in zip(parts, line.widths, strict=False)] + parts[len(line.widths):]
    return (" " * line.indent + "  ".join(padded)).rstrip()


def draw(lines: Sequence[Line]) -> None:
    """Print lines, with colour on a terminal."""
    if sys.stdout.isatty():
        _drawn(lines)
        return
    for line in lines:
        print(_plain(line))


def _drawn(lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        grid = Table.grid(padding=(0, 2, 0, 0))
        for number in range(len(line.parts)):
            width = line.widths[number] if number < len(line.widths) else None
            grid.add_column(width=width, overflow="fold")
        styles = [*line.styles, *[""] * len(line.parts)]
        grid.add_row(*(Text(show.printable(part), style) for part, style in zip(line.parts, styles, strict=False)))
        console.print(Padding(grid, (0, 0, 0, line.indent), expand=False))
