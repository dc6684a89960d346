"""Reads a log of system calls: was everything a 250 promises on the disk before the 250 was said?

A log as `strace -f -ttt -y` writes it. For each "Queued as ID": the record with that id was written to a segment, the
segment was synced after that write, its name was synced after it was made; the id was written to the queue's
write-ahead log, and that was synced after the write; all of it completed before the first octet of the 250.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CALLS = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,openat,rename"
"""What the log must hold."""

_LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<at>\d+\.\d+) (?P<rest>.*)$", re.DOTALL)
_UNFINISHED = re.compile(r"^(?P<call>\w+)\((?P<words>.*) <unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. (?P<call>\w+) resumed>(?P<words>.*)$", re.DOTALL)
_WHOLE = re.compile(r"^(?P<call>\w+)\((?P<words>.*)$", re.DOTALL)
_RESULT = re.compile(r"\)\s+= (?P<result>-?\d+)(?:<(?P<made>[^>]*)>)?[^)]*$")
_FILE = re.compile(r"^\d+<(?P<path>[^>]*)>")
_QUEUED = re.compile(r'"250 2\.0\.0 Queued as (?P<id>[0-9a-f-]{36})')
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Call:
    """One system call that succeeded: line numbers of the log at which it began and ended, its file and its words."""

    began: int
    ended: int
    name: str
    path: str
    words: str


def calls(lines: Iterable[str]) -> list[Call]:
    """The successful calls in the order in which they ended."""
    open_calls: dict[str, tuple[int, str, str]] = {}
    found: list[Call] = []
    for number, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if not match:
            continue
        pid, rest = match["pid"], match["rest"]
        if part := _UNFINISHED.match(rest):
            open_calls[pid] = (number, part["call"], part["words"])
            continue
        began, name, words = number, "", ""
        if part := _RESUMED.match(rest):
            if pid not in open_calls:
                continue
            began, name, words = open_calls.pop(pid)
            words += part["words"]
        elif part := _WHOLE.match(rest):
            name, words = part["call"], part["words"]
        result = _RESULT.search(words)
        if not name or result is None or int(result["result"]) < 0:
            continue
        file = _FILE.match(words)
        path = (result["made"] or "") if name == "openat" else file["path"] if file else ""
        found.append(Call(began, number, name, path, words))
    return found


@dataclass(frozen=True)
class Verdict:
    """How many 250s were looked at, and what was wrong: one sentence each."""

    replies: int
    wrong: tuple[str, ...]


def judge_log(lines: Iterable[str]) -> Verdict:
    """Check every 250 of the log."""
    everything = calls(lines)
    syncs: dict[str, list[Call]] = {}
    bodies: dict[str, list[Call]] = {}
    rows: dict[str, list[Call]] = {}
    made: dict[str, Call] = {}
    for call in everything:
        if call.name in ("fsync", "fdatasync"):
            syncs.setdefault(call.path, []).append(call)
        elif call.name == "openat" and "O_CREAT" in call.words:
            made.setdefault(call.path, call)
        elif "/queue/segments/" in call.path:
            for one in set(_ID.findall(call.words)):
                bodies.setdefault(one, []).append(call)
        elif call.path.endswith("/queue/keeper.sqlite-wal"):
            for one in set(_ID.findall(call.words)):
                rows.setdefault(one, []).append(call)
    replies, wrong = 0, []
    for call in everything:
        if call.path.startswith("socket:") and (queued := _QUEUED.search(call.words)):
            replies += 1
            wrong += _check(queued["id"], call, bodies, rows, syncs, made)
    return Verdict(replies, tuple(wrong))


def _check(
    one: str,
    reply: Call,
    bodies: dict[str, list[Call]],
    rows: dict[str, list[Call]],
    syncs: dict[str, list[Call]],
    made: dict[str, Call],
) -> list[str]:
    wrong = []
    body = next((call for call in bodies.get(one, ()) if call.ended < reply.began), None)
    if body is None:
        wrong.append(f"{one}: no body was written before its 250")
    else:
        if not _synced(body, reply, syncs):
            wrong.append(f"{one}: its segment was not synced between write and 250")
        folder = body.path.rpartition("/")[0]
        if body.path in made and not _synced(made[body.path], reply, {body.path: syncs.get(folder, [])}):
            wrong.append(f"{one}: the name of its segment was not synced before the 250")
    written = [call for call in rows.get(one, ()) if call.ended < reply.began]
    if not written:
        wrong.append(f"{one}: its row was not written before its 250")
    elif not any(_synced(call, reply, syncs) for call in written):
        wrong.append(f"{one}: its row was not synced between write and 250")
    return wrong


def _synced(write: Call, reply: Call, syncs: dict[str, list[Call]]) -> bool:
    """Whether a sync of the same file began after the write had ended and ended before the reply began."""
    return any(sync.began > write.ended and sync.ended < reply.began for sync in syncs.get(write.path, ()))
