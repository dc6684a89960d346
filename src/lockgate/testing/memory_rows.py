"""The rows of the queue in memory: tasks, traces and refusals as `seams.Keeping` gives them, and what matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.mail.address import ip_text, kept_spelling
from lockgate.mail.events import Event, Status
from lockgate.mail.redaction import Redactor
from lockgate.mail.task import NewMessage, NewTask, Refusal, TaskRecipient


class MemoryTask(msgspec.Struct):
    """One task of the fake queue; `owner` tells that the worker has it, `orders` (by recipient: action and by whom)
    what is to be done when it comes back."""

    number: int
    message: NewMessage
    task: NewTask
    left: dict[int, TaskRecipient]
    recipients: tuple[TaskRecipient, ...]
    owner: bool = False
    due: float = 0.0
    held: str = ""
    held_at: float = 0.0
    held_until: float = 0.0
    attempts: int = 0
    warned: bool = False
    last_reply: str = ""
    expires: float = 0.0
    orders: dict[TaskRecipient, dict[str, str]] = {}


class MemoryTrace(msgspec.Struct):
    """One trace row of the fake queue; `message` and `sender` are what may be kept of them."""

    place: int
    message: NewMessage
    sender: str
    number: int
    organisation: str
    recipient: str
    status: Status
    events: list[Event]
    inbound: str = ""
    outbound: str = ""
    rules: tuple[str, ...] = ()


def recipients_meant(entry: MemoryTask, filters: Mapping[str, str]) -> list[int]:
    """Which recipients of the task are meant; none if the task is not."""
    if not _means(entry, filters):
        return []
    wanted = {kept_spelling(text).casefold() for text in filters.get("recipient", "").split("\n") if text}
    return [n for n, r in entry.left.items() if not wanted or wanted & {r.target.key, r.id.original.key}]


def _means(entry: MemoryTask, filters: Mapping[str, str]) -> bool:
    return all(_has(entry, name, value) for name, value in filters.items())


def _has(entry: MemoryTask, name: str, value: str) -> bool:
    if name in ("since", "until"):
        return (entry.message.received >= float(value)) == (name == "since")
    lane = entry.task.lane
    tests = {
        "lane": lane == value,
        "id": entry.message.id == value,
        "task": str(entry.number) == value,
        "sender": entry.message.envelope.sender_text.casefold() == kept_spelling(value).casefold(),
        "recipient": True,
        "organisation": lane.startswith(f"{value}/"),
        "why": value.casefold() in (entry.held or entry.last_reply).casefold(),
        "held": bool(entry.held) and entry.held.startswith("" if value == "yes" else value),
        "state": _state(entry) == value,
    }
    if name not in tests:
        raise ValueError(f"tasks have no {name}")
    return tests[name]


def _state(entry: MemoryTask) -> str:
    if entry.held:
        return "held"
    return "pending" if entry.task.lane.endswith("/pending") else ""


def task_json(t: MemoryTask) -> dict[str, Any]:
    """A task as queue_list has it."""
    return {
        "id": t.message.id, "task": t.number, "lane": t.task.lane, "sender": t.message.envelope.sender_text,
        "recipients": [r.target.text for r in t.left.values()], "attempts": t.attempts, "due": t.due,
        "held": t.held, "why": t.held or t.last_reply, "received": t.message.received, "size": t.message.size,
        "with_worker": t.owner,
    }  # fmt: skip


def held_json(t: MemoryTask, kept: NewMessage) -> dict[str, Any] | None:
    """A task as hold_list has it; None if nobody has to decide about it."""
    state = _state(t)
    if not state:
        return None
    return {
        "id": t.message.id, "task": t.number, "organisation": t.task.lane.partition("/")[0], "state": state,
        "why": t.held or t.last_reply or "judged again as soon as what is asked can be answered",
        "received": t.message.received, "held_at": t.held_at or None, "held_until": t.held_until or None,
        "due": None if t.held else t.due or None, "sender_address": t.message.envelope.sender_text,
        "recipients": [r.id.original.text for r in t.left.values()], "subject": kept.subject,
        "message_id": kept.message_id, "size": t.message.size, "from_ip": t.message.from_ip, "lane": t.task.lane,
        "attempts": t.attempts, "with_worker": t.owner,
        "next": "judged on from where it stopped" if t.task.route is None else f"carried to {t.task.lane}",
    }  # fmt: skip


def trace_json(t: MemoryTrace) -> dict[str, Any]:
    """A trace row as docs/trace.md has it, but for the cursor."""
    new, sent = t.message, [e for e in t.events if e.host or e.pool]
    return {
        "id": new.id, "received": new.received, "organisation": t.organisation, "sender_address": t.sender,
        "recipient_address": t.recipient, "subject": new.subject, "status": t.status.value, "from_ip": new.from_ip,
        "to_ip": "", "size": new.size, "message_id": new.message_id, "network_message_id": new.network_id or new.id,
        "inbound_connector": t.inbound, "outbound_connector": t.outbound, "tls": new.tls,
        "pool": sent[-1].pool if sent else "", "reply": next((e.reply for e in reversed(t.events) if e.reply), ""),
        "revision": new.revision, "rules": [*t.rules],
    }  # fmt: skip


def refusal_json(r: Refusal) -> dict[str, Any]:
    """A refusal in the same form."""
    subject = r.reason.partition(": ")[0]
    return {
        "id": r.id, "received": r.at, "organisation": r.organisation, "sender_address": r.sender,
        "recipient_address": r.recipient, "subject": "", "status": Status.REFUSED.value, "from_ip": r.peer,
        "to_ip": "", "size": 0, "message_id": "", "network_message_id": "", "inbound_connector": r.connector,
        "outbound_connector": "", "tls": r.tls, "pool": "", "reply": r.reply, "revision": r.revision,
        "rules": [subject.removeprefix("rule ")] if subject.startswith("rule ") else [],
    }  # fmt: skip


def fits(row: Mapping[str, Any], filters: Mapping[str, str], masks: tuple[Redactor, ...]) -> bool:
    """Whether a trace row matches every filter."""
    return all(_fits(row, name, value, masks) for name, value in filters.items())


def _fits(row: Mapping[str, Any], name: str, value: str, masks: tuple[Redactor, ...]) -> bool:
    bare = value.strip("<>").casefold()
    match name:
        case "sender" | "recipient":
            bare = kept_spelling(value).casefold()
            spelled = {bare, *(mask.address(bare) for mask in masks)}
            return str(row[f"{name}_address"]).casefold() in spelled
        case "sender_domain" | "recipient_domain":
            return str(row[name.replace("domain", "address")]).casefold().endswith("@" + bare.lstrip("@"))
        case "id" | "message_id":
            spelled = {value.strip("<>"), *(mask.message_id(value) for mask in masks)}
            have = {str(row["message_id"]).strip("<>")}
            return bool(spelled & have) or (name == "id" and str(row["id"]).casefold() == value.casefold())
        case "ip":
            return ip_text(value) in (row["from_ip"], row["to_ip"])
        case "from_ip" | "to_ip":
            return str(row[name]) == ip_text(value)
        case "connector":
            return bare in (row["inbound_connector"].casefold(), row["outbound_connector"].casefold())
        case "rule":
            return value in row["rules"]
        case "subject":
            return value.casefold() in str(row["subject"]).casefold()
        case "since":
            return float(row["received"]) >= float(value)
        case "until":
            return float(row["received"]) < float(value)
        case _:
            return str(row[name]).casefold() == value.casefold()
