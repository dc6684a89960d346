"""What is known of the message itself: header fields, size and where the bytes lie; never the body."""

from __future__ import annotations

import enum

import msgspec


class BodyRef(msgspec.Struct, frozen=True):
    """Where message bytes lie in the blob store: a segment, offset and length of the content, and its CRC-32."""

    segment: str
    offset: int
    length: int
    crc: int


class Flaw(enum.StrEnum):
    """Why the octets of a message ended without being one: nothing of it was kept, and its header is not known."""

    LINE_ENDS = "line ends"
    SIZE = "size"
    LINE_LENGTH = "line length"


class Message(msgspec.Struct, frozen=True):
    """One received message.

    `id` is the network message id (one per accepted message, shared by all its copies). `fields` are the
    header fields in order as (name, value) with the value unfolded to one line, decoded as UTF-8 with
    surrogate-free replacement; at most 256 KiB and 1,000 fields in all are kept, `cut` tells that more were there,
    `crowded` that it is the fields which are too many. `size` counts the octets as received. `hops` is the number of
    Received fields, `own_hops` how many of them are ours. `claims` counts the fields that might be taken for our word
    about the message (Authentication-Results of any name, and those that only we may write), also the ones that are not
    among `fields`. `internal` tells that there may be fields by which servers of one organisation tell each other what
    they found (mail/internal_headers.py). A message with a `flaw` was not kept: `size` is then what had come when it
    showed. `mended` tells that lines ended in bare CR or LF, which became CRLF because the connector of an old device
    says so.
    """

    id: str
    size: int
    fields: tuple[tuple[str, str], ...]
    message_id: str = ""
    subject: str = ""
    hops: int = 0
    own_hops: int = 0
    cut: bool = False
    eight_bit: bool = False
    flaw: Flaw | None = None
    claims: int = 0
    internal: bool = False
    mended: bool = False
    crowded: bool = False
