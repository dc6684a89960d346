"""The durable queue, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from lockgate.mail.message import BodyRef
from lockgate.mail.task import Assigned, Finished, NewMessage, Refusal


class Unavailable(Exception):
    """The keeper cannot make anything durable now (disk full, failed sync, keeper away): answer 4xx, try later."""


class BodyWriter(Protocol):
    """The body of one message on its way in."""

    @property
    def size(self) -> int:
        """Octets written so far, the prefix included."""

    def write(self, chunk: bytes) -> None:
        """Take more octets. Memory is bounded: large bodies go to a file of their own. Raises Unavailable."""

    def head(self) -> bytes:
        """The first octets (at most HEAD of mail/headers.py), for the header parser."""

    def finish(self) -> BodyRef:
        """Append to the segment; durable only once `Spool.accept` has returned. Raises Unavailable."""

    def content(self) -> bytes | None:
        """All octets if they are in memory, else None."""

    def octets(self) -> bytes:
        """All octets, read back if they are in a file; before `finish` only. Blocks. Raises Unavailable."""

    def abort(self) -> None:
        """Forget them."""


class Accepted(msgspec.Struct, frozen=True):
    """The message is durable. One (task id, owned) per new task in order; an owned one is for this worker to carry."""

    tasks: tuple[tuple[int, bool], ...]


class Spool(Protocol):
    """The durable queue as one worker sees it. Kept by storage/client.py, faked by testing/memory.py.

    Promises: what `accept` has returned for survives kill -9 and power cuts; two owners never hold one task; a
    worker's death gives its tasks to another, after the outcomes it noted; order within a lane is by arrival.
    """

    def begin(self, prefix: bytes) -> BodyWriter:
        """Start a body; `prefix` (our trace header fields) is stored before it."""

    async def accept(self, new: NewMessage, letters: Sequence[NewMessage] = ()) -> Accepted:
        """Return once body and rows are durable. Raises Unavailable, and then nothing of it remains.

        `letters` are messages of ours that are kept together with it, all or nothing; others carry them.
        """

    def finish(self, done: Finished) -> None:
        """Note the end of an attempt: written to the completion log before this returns, to the queue soon after."""

    def receive_with(self, take: Callable[[Sequence[Assigned]], None]) -> None:
        """Have tasks handed to `take` whenever the keeper assigns some to this worker."""

    async def read(self, body: BodyRef) -> bytes:
        """The octets, their CRC checked. Raises FileNotFoundError or ValueError when they are not there whole."""

    async def story(self, message: str, organisation: str) -> bytes | None:
        """The recorded facts and ruling of a waiting message, for judging again."""

    def refused(self, row: Refusal, story: Callable[[], bytes] | None = None) -> None:
        """Note a refusal: bounded, never synced, never blocks, never raises.

        `story` gives the recorded facts and ruling; it is asked only where the row is kept in full.
        """


MOST_TASKS = 5000
"""Tasks that `Keeping.queue_list` gives at most."""


class Keeping(Protocol):
    """What the desk asks of the keeper: queue commands and stored rows.

    Kept by storage/keeping.py, faked by MemorySpool in testing/memory.py.
    Rows are plain JSON-ready mappings so that every face prints the same.
    """

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes; with a filter (lane, id, sender, recipient) the tasks, MOST_TASKS of them at most.

        A task has id, task, lane, sender, recipients, attempts, due and why. Addresses may stand in angle brackets.
        """

    async def queue_count(self, filters: Mapping[str, str]) -> int:
        """How many tasks match, however many those are."""

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """retry, hold, release, delete or reroute what matches; returns how many tasks. `by` goes into the audit row.

        reroute takes away the way that was chosen for waiting and held tasks, so that the judge is asked for another.
        With a recipient (several: one a line) all but a retry concern these recipients of a task only.
        """

    async def trace_find(
        self, filters: Mapping[str, str], limit: int, after: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Rows as docs/trace.md has them, newest first, refusals included; `after`: the cursor of an earlier row."""

    async def trace_follow(self, filters: Mapping[str, str], since: str) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Matching rows that are new or have changed since this mark, oldest first, and the next mark.

        The mark "" means from now on. A mark outlives the keeper; then some rows may be told twice, none is left out.
        """

    async def trace_show(self, message: str) -> Mapping[str, Any] | None:
        """One message: `id`, `connection`, `rows` with events, and `stories` ({organisation: recorded story}).

        By the id of a connection what was refused on it: `refusals`, the newest first, each with organisation, story
        and its own row.
        """

    async def hold_list(
        self, filters: Mapping[str, str], limit: int, below: int = 0
    ) -> Sequence[Mapping[str, Any]]:
        """Tasks that are held, and those that wait for the judge, newest first; `below`: only lower task numbers.

        Filters: id, task, sender, recipient (several: one a line), organisation, why, state (held, pending), since,
        until. docs/trace.md describes the rows.
        """

    async def hold_show(self, message: str) -> Mapping[str, Any] | None:
        """One message's held tasks (rows), the first octets of its body (head), and its recorded stories."""

    async def hold_body(self, task: int) -> bytes | None:
        """The body of a held task as it is stored; None if there is none, or it cannot be read."""
