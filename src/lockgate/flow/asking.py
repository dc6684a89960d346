"""What a face may ask of the desk, as data: requests, answers, and how they are framed on the control socket."""

from __future__ import annotations

from typing import Any

import msgspec

LONGEST_FRAME = 256 * 1024 * 1024
"""Octets of one request or answer (a directory of a million recipients fits)."""

PREFIX = 4
"""Octets of the length before each frame, most significant first."""


class _Ask(msgspec.Struct, frozen=True, tag_field="verb", forbid_unknown_fields=True, omit_defaults=True):
    pass


class QueueList(_Ask, frozen=True, tag="queue_list"):
    """Lanes; with a filter (lane, id, task, sender, recipient) the tasks that match."""

    filters: dict[str, str] = {}


class QueueEdit(_Ask, frozen=True, tag="queue_edit"):
    """Do `action` (retry, hold, release, delete) to the tasks that match; with `what_if` only say which they are."""

    action: str
    filters: dict[str, str]
    what_if: bool = False


class TraceFind(_Ask, frozen=True, tag="trace_find"):
    """Trace rows, newest first; filters: sender, recipient, id, ip, status, organisation, since, until, subject."""

    filters: dict[str, str] = {}
    limit: int = 100


class TraceShow(_Ask, frozen=True, tag="trace_show"):
    """One message with its events and its explanation."""

    id: str


class StatusAsk(_Ask, frozen=True, tag="status"):
    """How the service is, and the last `alarms` alarms."""

    alarms: int = 10


class Reload(_Ask, frozen=True, tag="reload"):
    """Read the policy documents again and put them in force; with `what_if` only check them."""

    what_if: bool = False


class RecipientImport(_Ask, frozen=True, tag="recipient_import"):
    """Put these recipients in the place of all the organisation has; `form` is "csv" or "toml"."""

    text: str
    form: str
    name: str
    organisation: str = ""
    what_if: bool = False


class RecipientFind(_Ask, frozen=True, tag="recipient_find"):
    """Who has this address?"""

    address: str
    organisation: str = ""


Request = (
    QueueList | QueueEdit | TraceFind | TraceShow | StatusAsk | Reload | RecipientImport | RecipientFind
)
"""Every verb; a face that can send these can do everything."""


class Kind:
    """How an answer went: these words go over the socket and become exit codes."""

    OK = "ok"
    FINDING = "finding"
    MISUSE = "misuse"
    UNREACHABLE = "unreachable"
    UNFORESEEN = "unforeseen"


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`result` is JSON-ready; `sentence` says in words what went wrong or what was found ("" for nothing)."""

    kind: str = Kind.OK
    result: Any = None
    sentence: str = ""


_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_ANSWERS = msgspec.json.Decoder(Answer)


class NotUnderstood(ValueError):
    """The octets are no request or no answer; the message says why."""


def write_frame(value: Request | Answer) -> bytes:
    """The length and the JSON text."""
    data = msgspec.json.encode(value)
    return len(data).to_bytes(PREFIX, "big") + data


def read_request(data: bytes) -> Request:
    """The request in these octets. Raises NotUnderstood."""
    try:
        return _REQUESTS.decode(data)
    except (msgspec.MsgspecError, RecursionError) as trouble:
        raise NotUnderstood(f"the request is not understood: {trouble}") from None


def read_answer(data: bytes) -> Answer:
    """The answer in these octets. Raises NotUnderstood."""
    try:
        return _ANSWERS.decode(data)
    except (msgspec.MsgspecError, RecursionError) as trouble:
        raise NotUnderstood(f"the answer is not understood: {trouble}") from None
