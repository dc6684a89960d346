"""Hostile reports cost a bounded amount of memory and time, and never the process that keeps the reports."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.app.report_reading import NotRead, read_apart
from lockgate.mail.reports.aggregate import AggregateReport, Published, Row
from lockgate.mail.reports.carried import Reading
from lockgate.mail.reports.letter import packed_report

ROW = Row("192.0.2.1", 3, "", "", "", "d.test")
REPORT = AggregateReport("Us", "a@us.test", "1", 1, 2, Published("d.test"), (ROW,))
MIB = 1024 * 1024


def zipped(size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.xml", "w") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    return out.getvalue()


def nested() -> bytes:
    return b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(3000)
    )


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip": (lambda: gzip.compress(bytes(200 * MIB)), "20 MiB"),
    "zip": (lambda: zipped(200 * MIB), "20 MiB"),
    "elements": (lambda: gzip.compress(b"<feedback>" + b"<a/>" * (4 * MIB) + b"</feedback>"), "more elements"),
    "depth": (lambda: gzip.compress(b"<a>" * (4 * MIB)), "deeper"),
    "entities": (
        lambda: b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><feedback>&b;</feedback>', "document type",
    ),
    "external": (lambda: b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><feedback/>', "document type"),
    "nesting": (nested, "too deep"),
    "json": (lambda: b'{"policies":' + b"[" * (2 * MIB), "JSON is broken"),
    "size": (lambda: b"From: x\r\n" + bytes(26 * MIB), "larger than"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_refused_within_bounds(name: str) -> None:
    make, why = BOMBS[name]
    octets = make()
    began, own = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = await read_apart(octets)
    except NotRead as trouble:
        found = (Reading(why=str(trouble)),)
    assert [one.why for one in found if why in one.why], found
    assert time.monotonic() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own < 64 * 1024, "our own process has grown"


async def test_what_needs_too_much_memory_is_given_up() -> None:
    with pytest.raises(NotRead, match="memory"):
        await read_apart(BOMBS["elements"][0](), memory=160 * MIB)


async def test_what_needs_too_much_time_is_given_up() -> None:
    headers = b"X: y\r\n" * 2_000_000
    with pytest.raises(NotRead, match="seconds"):
        await read_apart(headers, seconds=1)


async def test_who_waits_no_longer_leaves_nothing_behind() -> None:
    octets = b"X: y\r\n" * 2_000_000
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await read_apart(octets)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                status = (folder / "status").read_text()
                if f"PPid:\t{os.getpid()}\n" in status:
                    assert b"report_reading" not in (folder / "cmdline").read_bytes()


async def test_a_report_comes_out_as_it_was() -> None:
    (reading,) = await read_apart(packed_report(REPORT, "x"))
    assert reading.aggregate is not None
    assert (reading.aggregate.published.domain, reading.aggregate.rows[0].count) == ("d.test", 3)
