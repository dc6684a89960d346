"""The keeper's end of its connections: bytes in, requests out of them, answers back in one write."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from lockgate.seams import Journal
from lockgate.storage import frames
from lockgate.storage.frames import Accept, Ask, Done, FrameReader, Hello, Torn
from lockgate.storage.lanes import Worker

_ACCEPT = msgspec.msgpack.Decoder(Accept)
_DONE = msgspec.msgpack.Decoder(Done)
_HELLO = msgspec.msgpack.Decoder(Hello)
_ASK = msgspec.msgpack.Decoder(Ask)


class Host(Protocol):
    """The keeper as its connections see it."""

    links: set[Link]
    journal: Journal

    def gather(self, link: Link, kind: int, item: Any) -> None:
        """Take one request."""

    def left(self, link: Link) -> None:
        """A connection is gone."""


class Link(asyncio.Protocol):
    """One connection of a worker or of the desk; `out` holds the answers of the batch under way."""

    def __init__(self, keeper: Host) -> None:
        self._keeper = keeper
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.worker: Worker | None = None
        self.out: list[bytes] = []
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer is there."""
        self._transport = transport  # type: ignore[assignment]
        self._keeper.links.add(self)

    def data_received(self, data: bytes) -> None:
        """Cut into frames and gather them; what cannot be read ends the connection."""
        gather = self._keeper.gather
        try:
            for kind, payload in self._reader.feed(data):
                gather(self, kind, _decode(kind, payload))
        except (Torn, msgspec.MsgspecError) as trouble:
            self._keeper.journal.alarm("a worker sent something unreadable to the keeper", because=str(trouble))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The peer is gone: its requests that were not begun are void."""
        self.lost = True
        self._keeper.links.discard(self)
        self._keeper.left(self)

    def send(self) -> None:
        """Write all answers at once."""
        if self.out and self._transport is not None and not self.lost:
            self._transport.write(b"".join(self.out))
        self.out = []

    def close(self) -> None:
        """Hang up; nothing of this link is looked at any more."""
        self.lost = True
        if self._transport is not None:
            self._transport.close()


def _decode(kind: int, payload: memoryview) -> Any:
    match kind:
        case frames.ACCEPT:
            return _ACCEPT.decode(payload)
        case frames.FINISH:
            return int.from_bytes(payload[:8], "little"), _DONE.decode(payload[8:])
        case frames.HELLO:
            return _HELLO.decode(payload)
        case frames.ASK:
            return _ASK.decode(payload)
        case frames.SEAL | frames.WITHDRAW:
            return str(payload, "utf-8")
        case frames.REFUSE:
            return bytes(payload)
        case frames.STOP:
            return None
        case _:
            raise Torn(f"frames of kind {kind} are not known")
