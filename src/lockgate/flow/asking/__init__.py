"""What a face may ask of the desk, as data: every verb there is, a file for each subject."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.ask import (
    LONGEST_FRAME,
    PREFIX,
    Answer,
    Ask,
    Kind,
    NotUnderstood,
    read_answer,
    write_frame,
)
from lockgate.flow.asking.policies import Reload
from lockgate.flow.asking.queue import QueueEdit, QueueList
from lockgate.flow.asking.recipients import (
    RecipientAdd,
    RecipientEstimate,
    RecipientExport,
    RecipientFind,
    RecipientImport,
    RecipientLoad,
    RecipientPiece,
    RecipientProgress,
    RecipientRemove,
    RecipientSet,
    RecipientShow,
    RecipientUpload,
)
from lockgate.flow.asking.service import StatusAsk
from lockgate.flow.asking.traces import TraceFind, TraceShow

Request = (
    QueueEdit
    | QueueList
    | RecipientAdd
    | RecipientEstimate
    | RecipientExport
    | RecipientFind
    | RecipientImport
    | RecipientLoad
    | RecipientPiece
    | RecipientProgress
    | RecipientRemove
    | RecipientSet
    | RecipientShow
    | RecipientUpload
    | Reload
    | StatusAsk
    | TraceFind
    | TraceShow
)
"""Every verb; a face that can send these can do everything."""

_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def read_request(data: bytes) -> Request:
    """The request in these octets. Raises NotUnderstood."""
    try:
        return _REQUESTS.decode(data)
    except (msgspec.MsgspecError, RecursionError) as trouble:
        raise NotUnderstood(f"the request is not understood: {trouble}") from None


__all__ = [
    "LONGEST_FRAME",
    "PREFIX",
    "Answer",
    "Ask",
    "Kind",
    "NotUnderstood",
    "QueueEdit",
    "QueueList",
    "RecipientAdd",
    "RecipientEstimate",
    "RecipientExport",
    "RecipientFind",
    "RecipientImport",
    "RecipientLoad",
    "RecipientPiece",
    "RecipientProgress",
    "RecipientRemove",
    "RecipientSet",
    "RecipientShow",
    "RecipientUpload",
    "Reload",
    "Request",
    "StatusAsk",
    "TraceFind",
    "TraceShow",
    "read_answer",
    "read_request",
    "write_frame",
]
