"""What worker and keeper say to each other: length-prefixed msgpack frames over a Unix socket."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from lockgate.mail.envelope import Envelope
from lockgate.mail.ruling import Route
from lockgate.mail.task import PLAIN, Stamp, TaskRecipient

HELLO = 1
ACCEPT = 2
FINISH = 3
SEAL = 4
ASK = 5
REFUSE = 6
STOP = 7
WITHDRAW = 8
WELCOME = 20
ACCEPTED = 21
ASSIGNED = 22
APPLIED = 23
ANSWER = 24
FAILED = 25

LARGEST = 256 * 1024 * 1024
"""A frame announced as larger than this is nonsense, and its connection is closed."""

NEVER = 1e18
"""A due time that does not come: the task is held."""

_HEAD = struct.Struct("<IB")
_EVENT = struct.Struct("<I")


class What(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of a task that the keeper moves about without looking into it."""

    id: str
    route: Route | None
    envelope: Envelope
    size: int
    recipients: tuple[TaskRecipient, ...]
    stamp: Stamp = PLAIN


class TaskRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task to be made; `what` is an encoded What; a held one is deleted at `until` (0: never)."""

    lane: str
    due: float
    held: str
    what: bytes
    until: float = 0.0


class TraceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first state of one recipient's trace row; `events` as `pack_event` makes them, one after the other."""

    number: int
    organisation: str
    recipient: str
    status: str
    events: bytes
    inbound: str
    outbound: str
    rules: str = ""


class Accept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message to be made durable; `request` is answered in ACCEPTED or FAILED. `stories` is a packed list.

    `letters` are kept with it, all or nothing; what is there already is not kept again if it says `once`.
    """

    request: int
    id: str
    received: float
    expires: float
    segment: str
    offset: int
    length: int
    crc: int
    size: int
    sender: str
    subject: str
    message_id: str
    from_ip: str
    tls: str
    revision: int
    connection: str
    stories: bytes
    tasks: tuple[TaskRow, ...]
    traces: tuple[TraceRow, ...]
    network_id: str = ""
    letters: tuple[Accept, ...] = ()
    once: bool = False

    @property
    def segments(self) -> set[str]:
        """The files in which the bodies lie."""
        return {self.segment, *(letter.segment for letter in self.letters)}

    @property
    def ids(self) -> tuple[str, ...]:
        """What must not go out once it has been said that it was not kept: nothing that will be kept again as it is."""
        return tuple([one.id for one in (self, *self.letters) if not one.once])


class ResultRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to one trace row; an empty `status` leaves the word as it is."""

    number: int
    status: str
    event: bytes
    to_ip: str = ""
    tls: str = ""
    reply: str = ""
    pool: str = ""
    outbound: str = ""


class Done(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The end of an attempt, as it lies in the completion log.

    `gone`: no recipient is left. `rest`: the new What of the recipients that remain, if some were taken off.
    `reached` tells that the next hop spoke to us, so that the lane is healthy again.
    """

    task: int
    results: tuple[ResultRow, ...]
    gone: bool = False
    keep: bool = False
    rest: bytes | None = None
    due: float = 0.0
    lane_down: str = ""
    warned: bool = False
    reached: bool = False
    replace: tuple[TaskRow, ...] = ()


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """A worker names itself, the tasks it holds, and ids it has refused although their outcome was unknown."""

    incarnation: int
    slot: int
    held: tuple[int, ...] = ()
    withdrawn: tuple[str, ...] = ()


class AssignedRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One task on its way to a worker."""

    task: int
    lane: str
    what: bytes
    segment: str
    offset: int
    length: int
    crc: int
    received: float
    expires: float
    attempts: int
    warned: bool
    expired: bool
    last_reply: str
    lane_down: str = ""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A question or an order that is answered by ANSWER with the same number."""

    request: int
    kind: str
    words: tuple[str, ...] = ()


def frame(kind: int, payload: bytes) -> bytes:
    """One frame: length of the payload (32 bits, little endian), kind, payload."""
    return _HEAD.pack(len(payload), kind) + payload


class Torn(Exception):
    """The other side sent what cannot be a frame."""


class FrameReader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """The frames that are whole now. Raises Torn on an impossible length."""
        buffer = self._rest + data if self._rest else data
        view, at, end = memoryview(buffer), 0, len(buffer)
        while end - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(view, at)
            if length > LARGEST:
                raise Torn(f"a frame of {length} octets was announced")
            stop = at + _HEAD.size + length
            if stop > end:
                break
            yield kind, view[at + _HEAD.size : stop]
            at = stop
        self._rest = bytes(view[at:])


def pack_event(encoded: bytes) -> bytes:
    """One encoded event with its length before it, so that events can be strung together in a column."""
    return _EVENT.pack(len(encoded)) + encoded


def unpack_events(column: bytes) -> list[bytes]:
    """The encoded events of a column."""
    found, at = [], 0
    while at + _EVENT.size <= len(column):
        (length,) = _EVENT.unpack_from(column, at)
        at += _EVENT.size
        found.append(column[at : at + length])
        at += length
    return found
