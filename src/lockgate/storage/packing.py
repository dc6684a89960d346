"""From the nouns of mail to the rows that travel to the keeper, which then only moves bytes about."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from lockgate.mail.discreet import message_as_wished
from lockgate.mail.redaction import Discretion
from lockgate.mail.task import NewMessage, NewTask, Result, TaskRecipient
from lockgate.storage.frames import Accept, ResultRow, TaskRow, TraceRow, What, pack_event

_ENCODE = msgspec.msgpack.Encoder().encode
_IP = re.compile(r"\[([0-9A-Fa-f:.]+)\]")


def whats_of(new: NewMessage) -> list[What]:
    """What the keeper moves about, for each task."""
    return [What(new.id, task.route, new.envelope, new.size, task.recipients, task.stamp) for task in new.tasks]


def pack_together(
    request: int, new: NewMessage, letters: Sequence[NewMessage], whats: list[What], discretion: Discretion
) -> Accept:
    """The message as the keeper takes it, and the letters that are kept with it, all as its trace may keep them."""
    kept, sender = message_as_wished(new, discretion)
    row = pack_accept(request, kept, whats, sender)
    if not letters:
        return row
    return msgspec.structs.replace(
        row, letters=tuple(pack_together(request, one, (), whats_of(one), discretion) for one in letters)
    )


def pack_accept(request: int, new: NewMessage, whats: list[What], sender: str) -> Accept:
    """The message as the keeper takes it; `whats` has one entry per task, `sender` is the one of the trace."""
    tasks = tuple([
        TaskRow(task.lane, task.due, task.held, _ENCODE(what), task.until)
        for task, what in zip(new.tasks, whats, strict=True)
    ])  # fmt: skip
    traces = tuple([
        TraceRow(t.number, t.organisation, t.recipient, t.status.value,
                 b"".join([pack_event(_ENCODE(event)) for event in t.events]), t.inbound_connector,
                 t.outbound_connector, "\n".join(t.rules))
        for t in new.traces
    ])  # fmt: skip
    body = new.body
    return Accept(
        request, new.id, new.received, new.expires, body.segment, body.offset, body.length, body.crc, new.size,
        sender, new.subject, new.message_id, new.from_ip, new.tls, new.revision, new.connection_id,
        _ENCODE(new.stories), tasks, traces, new.network_id, (), new.once,
    )  # fmt: skip


def pack_task(task: NewTask, what: What) -> TaskRow:
    """A task that takes the place of one whose What this was."""
    part = msgspec.structs.replace(what, route=task.route, recipients=task.recipients, stamp=task.stamp)
    return TaskRow(task.lane, task.due, task.held, _ENCODE(part), task.until)


def pack_result(recipient: TaskRecipient, result: Result) -> ResultRow:
    """What happened to one recipient, by the number of its trace row."""
    event = result.event
    ip = _IP.search(event.host) if event.host else None
    return ResultRow(
        recipient.trace, result.status.value if result.status is not None else "", pack_event(_ENCODE(event)),
        ip[1] if ip else "", event.tls, event.reply, event.pool,
        result.connector,
    )  # fmt: skip
