"""The trace for other programs: whole as CSV or JSON, page by page, and live, row by row."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered, asked_again
from lockgate.cli.trace_filters import searching
from lockgate.flow.asking import TraceFind, TraceFollow

PAGE = 1000
PAUSE = 0.3
"""Seconds between two looks of `trace follow`."""

COLUMNS = (
    "received", "organisation", "sender_address", "recipient_address", "subject", "status", "from_ip", "to_ip", "size",
    "message_id", "network_message_id", "inbound_connector", "outbound_connector", "rules", "tls", "pool", "reply",
    "revision",
)  # fmt: skip
"""Columns of the CSV form (docs/trace.md)."""

_ACTIVE = tuple("=+-@\t\r\n|%＝＋－＠")
"""What a spreadsheet may take for the beginning of a formula, full-width forms included."""


def cell(value: object) -> str:
    """A value as text that no spreadsheet acts on: an apostrophe stands before what could begin a formula."""
    if isinstance(value, bool | int | float):
        return str(value)
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value or "")
    active = text.lstrip().startswith(_ACTIVE) or text.startswith(_ACTIVE)
    text = show.printable(text)
    return f"'{text}" if active else text


def csv_row(row: Mapping[str, Any]) -> list[str]:
    """One line of the CSV form; times are RFC 3339 in UTC."""
    at = dt.datetime.fromtimestamp(float(row.get("received") or 0), dt.UTC).isoformat(timespec="milliseconds")
    return [at if name == "received" else cell(row.get(name)) for name in COLUMNS]


@searching
def export(
    context: typer.Context,
    filters: dict[str, str],
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a heading; no cell is ever a formula.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of rows as `trace find --json` has.")] = False,
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output if none is named.")] = None,
) -> None:
    """Write everything that matches, newest first; code 1 if there is nothing. A file appears only when it is whole."""
    if as_csv == as_json:
        show.complain("Say --csv or --json.")
        raise typer.Exit(show.MISUSE)
    count = 0
    with _out(file) as out:
        write = csv.writer(out, lineterminator="\r\n") if as_csv else None
        if write is not None:
            write.writerow(COLUMNS)
        for page in _pages(context, filters):
            for row in page:
                if write is not None:
                    write.writerow(csv_row(row))
                else:
                    out.write(("[\n" if not count else ",\n") + json.dumps(row))
                count += 1
        if write is None:
            out.write("\n]\n" if count else "[]\n")
    if file is not None:
        show.say(f"{count} rows in {file}.")
    if not count:
        raise typer.Exit(show.FINDING)


def _pages(context: typer.Context, filters: Mapping[str, str]) -> Iterator[Sequence[Mapping[str, Any]]]:
    after = ""
    while True:
        page = answered(context, TraceFind(dict(filters), PAGE, after), as_json=False)
        yield page
        if len(page) < PAGE:
            return
        after = page[-1]["cursor"]


@contextmanager
def _out(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        return
    fresh = file.with_name(f".{file.name}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
            yield out
        fresh.replace(file)
    except OSError as trouble:
        show.complain(f"{file} cannot be written: {trouble.strerror or trouble}")
        raise typer.Exit(show.MISUSE) from None
    finally:
        fresh.unlink(missing_ok=True)


@searching
def follow(
    context: typer.Context,
    filters: dict[str, str],
    count: Annotated[int, typer.Option(min=0, help="End after so many rows; 0: go on until stopped.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show each matching row when it is new and whenever it changes, until stopped (Ctrl-C).

    While the service is away it waits, and goes on where it was.
    """
    mark, away, told = "", False, 0
    try:
        while True:
            result = asked_again(context, TraceFollow(filters, mark))
            if result is None:
                if not away:
                    show.complain("The service is away; waiting for it.")
                away = True
            else:
                if not mark:
                    show.complain("Following the trace; Ctrl-C ends it.")
                away, mark = False, result["mark"]
                for row in result["rows"]:
                    _tell(row, as_json=as_json)
                    told += 1
                    if told == count:
                        return
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        return


def _tell(row: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    parts = (
        show.moment("received", row.get("received")), row.get("status"), row.get("id"),
        f"<{row.get('sender_address', '')}> -> <{row.get('recipient_address', '')}>",
        row.get("outbound_connector") or row.get("inbound_connector"), row.get("reply"),
    )  # fmt: skip
    print("  ".join(show.printable(part) for part in parts if part), flush=True)
