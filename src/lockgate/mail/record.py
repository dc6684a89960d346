"""Facts and rulings as plain versioned data, and back."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import zstandard

from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Answer, Findings, Question
from lockgate.mail.message import Message
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Defer, Refuse, Ruling

FORMAT = 1
"""Version of the recorded form; a reader refuses newer ones."""

JUDGE = 4
"""Version of the judge: raised whenever the same policy and facts may be ruled on differently."""


class UnreadableStory(ValueError):
    """The recorded facts are damaged or were written by a newer version; the message says which."""


class Story(msgspec.Struct, frozen=True):
    """What was known and what was decided, with the version of the judge that decided."""

    judge_version: int
    facts: Facts
    ruling: Ruling


class Kept(NamedTuple):
    """A story as it lies in the store: of which message (or connection, for a refusal), when, whose, and its octets."""

    id: str
    at: float
    organisation: str
    data: bytes


class _Written(msgspec.Struct, frozen=True, omit_defaults=True):
    format: int
    judge: int
    at: float
    connection: Connection
    envelope: Envelope | None
    recipients: tuple[RecipientId, ...]
    message: Message | None
    findings: tuple[tuple[Question, Answer], ...]
    ruling: Ruling
    before: int = 0
    excerpt: bool | None = None


class _Version(msgspec.Struct, frozen=True):
    format: int


class Recorder:
    """Writes and reads stories; one per worker, because it keeps its encoder and compressor."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Written)
        self._version = msgspec.msgpack.Decoder(_Version)
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def write_story(self, facts: Facts, ruling: Ruling) -> bytes:
        """One story as compressed msgpack."""
        written = _Written(
            FORMAT,
            JUDGE,
            facts.at,
            facts.connection,
            facts.envelope,
            facts.recipients,
            facts.message,
            tuple(facts.findings.items()),
            ruling,
            facts.before,
            facts.excerpt,
        )
        return self._compressor.compress(self._encoder.encode(written))

    def read_story(self, data: bytes) -> Story:
        """The story back. Raises UnreadableStory."""
        try:
            plain = self._decompressor.decompress(data, max_output_size=64 * 1024 * 1024)
            version = self._version.decode(plain).format
            if version > FORMAT:
                raise UnreadableStory(f"the record has format {version}, this version reads up to {FORMAT}")
            w = self._decoder.decode(plain)
        except (zstandard.ZstdError, msgspec.MsgspecError) as trouble:
            raise UnreadableStory(f"the record is damaged: {trouble}") from None
        excerpt = _is_excerpt(w) if w.excerpt is None else w.excerpt
        facts = Facts(
            w.at, w.connection, w.envelope, w.recipients, w.message, Findings(dict(w.findings)), w.before, excerpt
        )
        return Story(w.judge, facts, w.ruling)


def _is_excerpt(written: _Written) -> bool:
    """Whether others may be left out of a record that does not say so: one that is about one refused recipient."""
    told = written.ruling.recipients
    return len(told) == 1 and isinstance(told[0].disposition, Refuse | Defer)
