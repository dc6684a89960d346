"""What every request is made of, and how requests and answers are framed on the control socket."""

from __future__ import annotations

from typing import Any

import msgspec

LONGEST_FRAME = 256 * 1024 * 1024
"""Octets of one request or answer (a directory of a million recipients fits)."""

PREFIX = 4
"""Octets of the length before each frame, most significant first."""


class Ask(msgspec.Struct, frozen=True, tag_field="verb", forbid_unknown_fields=True, omit_defaults=True):
    """One verb; a subclass names it by its tag and holds what is asked."""


class Kind:
    """How an answer went: these words go over the socket and become exit codes."""

    OK = "ok"
    FINDING = "finding"
    MISUSE = "misuse"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "unreachable"
    UNFORESEEN = "unforeseen"


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`result` is JSON-ready; `sentence` says in words what went wrong or what was found ("" for nothing)."""

    kind: str = Kind.OK
    result: Any = None
    sentence: str = ""


class NotUnderstood(ValueError):
    """The octets are no request or no answer; the message says why."""


_ANSWERS = msgspec.json.Decoder(Answer)


def write_frame(value: Ask | Answer) -> bytes:
    """The length and the JSON text."""
    data = msgspec.json.encode(value)
    return len(data).to_bytes(PREFIX, "big") + data


def read_answer(data: bytes) -> Answer:
    """The answer in these octets. Raises NotUnderstood."""
    try:
        return _ANSWERS.decode(data)
    except (msgspec.MsgspecError, RecursionError) as trouble:
        raise NotUnderstood(f"the answer is not understood: {trouble}") from None
