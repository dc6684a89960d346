"""Work in the queue: one task per message and lane, with its recipients inside."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.envelope import Envelope
from lockgate.mail.events import Event, Status
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.message import BodyRef
from lockgate.mail.octets import SeenOctets
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Route

MOVED_LANE = "moved"
"""Waiting mail of a mailbox that lives elsewhere now: only where it goes is decided again."""


class Incoming(enum.StrEnum):
    """What becomes of internal header fields: there are none, they are a stranger's, or those of an own server."""

    NONE = ""
    STRIP = "strip"
    PROMOTE = "promote"


class Stamp(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What the copies of a task are to be given on their way out, besides our trace fields.

    `results` are the parts of the Authentication-Results field (mail/authentication_results.py: `results`), () where
    nobody asked who sent it; `foreign` tells that the message came with such fields in our name, which are taken out;
    `chain` is what was found of its ARC chain ("none", "pass", "fail"; "": not looked at), to be sealed; `sign` tells
    that the organisation answers for the message, so that it gets our DKIM signature.
    `incoming` says what becomes of internal header fields that it came with (mail/internal_headers.py); `internal` are
    those that we write for mailboxes and the other side of a hybrid, `source` those that tell own servers of the true
    source behind a gateway, as (name, value).
    """

    results: tuple[str, ...] = ()
    foreign: bool = False
    chain: str = ""
    sign: bool = False
    incoming: Incoming = Incoming.NONE
    internal: tuple[tuple[str, str], ...] = ()
    source: tuple[tuple[str, str], ...] = ()


PLAIN = Stamp()


class TaskRecipient(msgspec.Struct, frozen=True):
    """One recipient of a task: who, the address to carry it to, and the number of its trace row.

    `proven` tells that the sender is known to be who it says, so that it may be told of success (specification 2.1 P7);
    `forged` that it is known not to be, so that it is told of nothing (DESIGN 2). `rewrite` as in `Deliver`.
    `edits` are what mail flow rules do to the header of this copy.
    """

    id: RecipientId
    target: Address
    trace: int
    proven: bool = False
    forged: bool = False
    rewrite: str = ""
    edits: tuple[HeaderEdit, ...] = ()


class NewTask(msgspec.Struct, frozen=True):
    """A task to be made. `route` None means that the judge has to be asked (again) when it comes due.

    `held` is not empty while a person or policy holds it (the reason); a held task is never due, and deleted at
    `until` (0: never). Times are seconds since the epoch.
    """

    lane: str
    route: Route | None
    recipients: tuple[TaskRecipient, ...]
    due: float
    held: str = ""
    until: float = 0.0
    stamp: Stamp = PLAIN


class NewTrace(msgspec.Struct, frozen=True):
    """The trace row of one recipient as it is first written; the JSON object of the amendments is made of it.

    `rules` are the names of the mail flow rules that applied.
    """

    number: int
    organisation: str
    recipient: str
    status: Status
    events: tuple[Event, ...]
    inbound_connector: str = ""
    outbound_connector: str = ""
    rules: tuple[str, ...] = ()


class NewMessage(msgspec.Struct, frozen=True):
    """A message to be made durable together with everything that follows from it, all or nothing.

    `stories` is one (organisation, recorded facts and ruling) per organisation, see mail/record.py.
    Times are seconds since the epoch. `network_id` is the network message id that the other side of a hybrid gave it,
    "" where `id` is the only one. `once`: a message of this very id that is there already is not kept again, and is
    no mistake.
    """

    id: str
    received: float
    expires: float
    envelope: Envelope
    body: BodyRef
    size: int
    tasks: tuple[NewTask, ...]
    traces: tuple[NewTrace, ...]
    stories: tuple[tuple[str, bytes], ...]
    subject: str = ""
    message_id: str = ""
    from_ip: str = ""
    tls: str = ""
    revision: int = 0
    connection_id: str = ""
    network_id: str = ""
    once: bool = False


class Assigned(msgspec.Struct, frozen=True):
    """A task that this worker owns now and must finish, give back, or die owning.

    `attempts` counts finished attempts; `warned` tells that the delay notice has gone out; `expired` that its life
    is over and a last word is due. `lane_down` is why the lane may not be dialled yet ("": it may): the task is handed
    out only because its sender is owed a word. `content` is the stored octets if they are still in memory; `seen` is
    what is known of them.
    """

    task: int
    id: str
    lane: str
    route: Route | None
    envelope: Envelope
    body: BodyRef
    size: int
    recipients: tuple[TaskRecipient, ...]
    received: float
    expires: float
    attempts: int = 0
    warned: bool = False
    expired: bool = False
    last_reply: str = ""
    lane_down: str = ""
    content: bytes | None = None
    stamp: Stamp = PLAIN
    seen: SeenOctets | None = None


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What became of one recipient of a task: its trace row gets `event`, and `status` unless that is None.

    `recipient` is the index within the task; `done` takes the recipient off the task. `connector` is the outbound
    connector if one has been chosen now.
    """

    recipient: int
    done: bool
    status: Status | None
    event: Event
    connector: str = ""


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt came to. Recipients not done stay on the task.

    `due` above 0 counts the attempt and gives the task up until then; `due` 0 gives it back untouched: same place in
    line, attempt not counted. With `keep` the task stays with this worker, which has more to say about it later.
    `replace` puts new tasks in the place of the remaining recipients (after the judge was asked again).
    `lane_down` tells that no connection could be had: the lane backs off as a whole (once per failure, however many
    tasks come back), the task stays first in line, its attempt counts for the lane only. `warned` records that the
    delay notice went out. A task without recipients left is gone.
    """

    task: int
    results: tuple[Result, ...]
    due: float = 0.0
    lane_down: str = ""
    warned: bool = False
    replace: tuple[NewTask, ...] = ()
    keep: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """A refusal before 250, for the bounded refusal rows: who was told what, at which point."""

    at: float
    id: str
    organisation: str
    point: str
    peer: str
    helo: str
    sender: str
    recipient: str
    reply: str
    reason: str
    connector: str = ""
    tls: str = ""
    revision: int = 0
    story: bytes = b""
