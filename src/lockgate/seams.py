"""All that we need from the world, on one page: each need is a Protocol with its promises in prose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from lockgate.mail.authentication import Authenticated
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Known, Members, Said, Unknown
from lockgate.mail.hop import Cargo, NextHop
from lockgate.mail.message import BodyRef
from lockgate.mail.outcome import Outcome
from lockgate.mail.reply import Reply
from lockgate.mail.task import Assigned, Finished, NewMessage, Refusal


class Clock(Protocol):
    """The only source of time. Kept by app/clock.py, faked by testing/clock.py."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; for deadlines."""


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
        """The first octets (at most 256 KiB), for the header parser."""

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

    async def accept(self, new: NewMessage) -> Accepted:
        """Return once body and rows are durable. Raises Unavailable, and then nothing of it remains."""

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


class Directory(Protocol):
    """Who the recipients are. Synchronous: at most 2 microseconds from a memory-mapped table.

    Kept by storage/directory.py, faked by MemoryDirectory in testing/memory.py.
    """

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        """Whose is this address (`Address.key` form)? Unknown if the table cannot be read; never raises."""

    def members_of(self, organisation: str, address: str) -> Members | Unknown:
        """The direct members of the group with this primary address (`Address.key` form); nobody's group has none.

        Unknown if the table cannot be read; never raises. Members that are recipients of the organisation come as such
        (`known`, each once, by whichever of their addresses they are listed), all others as addresses (`others`).
        """


class Difference(msgspec.Struct, frozen=True):
    """What an import would change: recipients `before`, `added`, `changed`, `removed`, `unchanged`.

    `addresses` counts those before, `lost` those of them that the file does not have, `shed` those of them that
    belong to recipients whom the file has; `missing` are the primary addresses of (the first thousand) recipients that
    would be removed.
    """

    before: int
    addresses: int
    added: int
    changed: int
    removed: int
    unchanged: int
    lost: int
    shed: int
    missing: tuple[str, ...] = ()


class Loading(Protocol):
    """One organisation's recipients on their way in. Always ended by `drop`, whatever came before."""

    def add(self, row: RecipientRow, line: int) -> tuple[str, int] | None:
        """Take one recipient; if one of its addresses was taken already: which, and on which line. Raises OSError."""

    def rows(self) -> Iterator[RecipientRow]:
        """All that were taken so far; before `put` only. Raises OSError."""

    def primary(self, address: str) -> str | None:
        """Whose is this address (`Address.key` form) among those taken so far? The key of the primary one."""

    def seal(self) -> Difference:
        """Compare with what is in force; from now on the organisation cannot be changed otherwise. Raises Unavailable.
        """

    def put(self, *, keep_missing: bool) -> int:
        """Put in force, durably and at once; the revision. `keep_missing` removes nobody. Raises Unavailable."""

    def drop(self) -> None:
        """Forget what is not in force."""


class Recipients(Protocol):
    """The directory as those see it who change it. Blocks; kept by storage/recipients.py.

    Promises: every change is durable when its method returns and seen by every `Directory` within a second; a kill
    at any moment leaves the state before or after it.
    """

    def row(self, organisation: str, address: str) -> RecipientRow | None:
        """The recipient with this address (`Address.key` form). Raises Unavailable."""

    def rows(self, organisation: str) -> Iterator[RecipientRow]:
        """All recipients as they are now, whatever changes while they are read. Raises Unavailable."""

    def groups(self, organisation: str) -> Iterator[RecipientRow]:
        """All distribution groups as they are now; quick, however many recipients there are. Raises Unavailable."""

    def filters(self, organisation: str) -> Mapping[str, Mapping[str, str]]:
        """The filters of groups that find their members, by the keys of their primary addresses. Raises Unavailable."""

    def naming(self, organisation: str, keys: Collection[str]) -> Sequence[RecipientRow]:
        """Whose members, managers, forwarding or restriction name one of these addresses (`Address.key` forms).

        Raises Unavailable.
        """

    def change(self, organisation: str, before: Sequence[RecipientRow], after: Sequence[RecipientRow]) -> int:
        """Put `after` in the place of `before`; the revision. Raises Unavailable."""

    def load(self, organisation: str) -> Loading:
        """Begin an import."""


class Unreachable(Exception):
    """No server of the next hop let a transaction begin; the lane backs off. `reply` says why.

    `permanent` is True only for answers that mean "never": null MX (5.1.10), no such domain (5.1.2), a loop (5.4.14).
    """

    def __init__(self, reply: Reply, *, permanent: bool = False, host: str = "", tls: str = "") -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.permanent = permanent
        self.host = host
        self.tls = tls


Taken = Callable[[Sequence[Outcome]], None]
"""Told of delivered recipients in the instant in which the next hop's answer is read, before anything else is done."""


class Courier(Protocol):
    """Carries one message to a next hop over a kept connection. Kept by couriers/smtp.py."""

    async def carry(self, hop: NextHop, cargo: Cargo, taken: Taken) -> tuple[Outcome, ...]:
        """One outcome per recipient, always; those delivered have been told to `taken` by then.

        What dies between the next hop's 250 and `taken` is carried again, so nothing is awaited in between.
        Raises Unreachable when no transaction could begin.
        """

    async def close(self) -> None:
        """Say QUIT on all idle connections."""


class Asked(msgspec.Struct, frozen=True):
    """What a host said to MAIL FROM:<> and to RCPT (None: it did not let it come to that)."""

    mail: Reply
    rcpt: Reply | None
    host: str


class Verifier(Protocol):
    """Asks a next hop whether it would take a recipient; no mail is carried. Kept by couriers/verify.py."""

    async def verify(self, hop: NextHop, address: str) -> Asked:
        """What the next hop says. Raises Unreachable when no transaction could begin."""


class Callout(Protocol):
    """Would the next hop take this recipient? Kept by probes/directory/callout.py."""

    async def ask(self, hop: NextHop, organisation: str, address: str) -> Said | Unknown:
        """Its final answer, perhaps a remembered one; Unknown if it gave none in time. Never raises."""


class MxHost(msgspec.Struct, frozen=True):
    """One mail exchanger, A-label without trailing dot."""

    preference: int
    name: str


class DnsTemporary(Exception):
    """No usable answer: time-out, SERVFAIL, refused, garbage. Never a verdict."""


class DnsNone(Exception):
    """The name does not exist (NXDOMAIN)."""


class Resolver(Protocol):
    """DNS. NXDOMAIN, no such record, and failure are different answers. Kept by probes/trust/resolver.py."""

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """Mail exchangers, best first; the null MX is one host named ""; none published: ().

        Raises DnsNone, DnsTemporary.
        """

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """Textual addresses, IPv6 and IPv4 as `family` allows; () if the name has none.

        Raises DnsNone, DnsTemporary.
        """

    async def txt(self, name: str) -> tuple[str, ...]:
        """TXT records, the strings of each joined (RFC 7208 3.3), octets as Latin-1; () if there are none.

        Raises DnsNone, DnsTemporary.
        """

    async def names(self, address: str) -> tuple[str, ...]:
        """The names an address leads to (PTR), without trailing dot; () if there are none.

        Raises DnsNone, DnsTemporary, ValueError if it is no address.
        """


class Authenticator(Protocol):
    """Who sent this message? Kept by probes/trust/sender.py."""

    async def authenticate(self, peer: str, helo: str, sender: str, octets: bytes) -> Authenticated:
        """What proves the sender; `sender` is the envelope sender ("" for none), `octets` the message as it came.

        Trouble with DNS is the result temperror. Raises ValueError if `peer` is no address.
        """


class Journal(Protocol):
    """Where happenings are told: one line each. Never blocks, never raises. Kept by app/journal.py."""

    def note(self, happening: str, **details: object) -> None:
        """Note one thing, e.g. note("delivered", id=..., to=...). Values are cleaned of control characters."""

    def alarm(self, happening: str, **details: object) -> None:
        """The same, for what a person has to see tonight."""


class Audit(Protocol):
    """Who changed what. Kept by app/audit.py, faked by ListAudit in testing/journal.py."""

    def wrote(
        self, by: str, did: str, *, before: object = None, after: object = None, **details: object
    ) -> None:
        """Note one change: who, what was done, the object before and after (JSON-ready; None: not there).

        `details` are further JSON-ready facts (count, organisation, revision). Secrets are never part of it.
        Never raises.
        """


class Keeping(Protocol):
    """What the desk asks of the keeper: queue commands and stored rows.

    Kept by storage/keeping.py, faked by MemorySpool in testing/memory.py.
    Rows are plain JSON-ready mappings so that every face prints the same.
    """

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes; with a filter (lane, id, sender, recipient) the tasks.

        A task has id, task, lane, sender, recipients, attempts, due and why.
        """

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """retry, hold, release or delete what matches; returns how many tasks. `by` goes into the audit row.

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


class Revision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One published set of documents: the texts as they were written, never the compiled form (house c.7).

    `by` is the caller, `reason` what the caller said, `digest` that of the compiled policy. `mirrored` says that the
    operator's policy folder was to hold these texts afterwards; `before` is the revision that was in force until then.
    """

    number: int
    at: float
    by: str
    files: dict[str, str]
    reason: str = ""
    digest: str = ""
    mirrored: bool = False
    before: int = 0


class RevisionNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A revision without its texts."""

    number: int
    at: float
    by: str
    reason: str = ""
    digest: str = ""


class NoPolicy(Exception):
    """There is no such revision; the message says where one was looked for."""


class Overtaken(Exception):
    """Somebody else published in between, or edited the policy folder; the message says what to do."""


class Revisions(Protocol):
    """The numbered revisions of the policy, and the operator's folder beside them. Synchronous, it reads files.

    Promises: a revision is durable and in force for every process once `publish` returns, and one publication never
    undoes another that it did not know. Kept by app/policies.py, faked by MemoryRevisions in testing/revisions.py.
    """

    def in_force(self) -> Revision:
        """The revision in force. Raises NoPolicy."""

    def at(self, number: int) -> Revision:
        """An earlier revision, by its number. Raises NoPolicy."""

    def known(self, most: int) -> Sequence[RevisionNote]:
        """The last revisions, the newest first."""

    def put(
        self, files: Mapping[str, str], *, after: int, by: str, reason: str, at: float, digest: str, discard: bool
    ) -> tuple[Revision, str]:
        """Put sound texts in force in the place of revision `after` (0: of none), and write the folder if it is ours.

        Returns the new revision, and a sentence if the folder could not be written. Raises Overtaken when another
        revision is in force, or when the folder was edited by hand and does not hold these texts; with `discard` the
        edits are set aside and the folder is written. Raises OSError; then nothing has changed.
        """

    def folder(self) -> dict[str, str]:
        """The texts in the operator's folder. Raises Invalid of the policy's documents when they cannot be read."""

    def folder_edited(self) -> bool:
        """Whether somebody edited the folder since we last read or wrote it, and it does not say what is in force."""
