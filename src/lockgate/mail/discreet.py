"""What is hidden before it is kept, and before it is shown: the trace's side of the redactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.mail.redaction import Discretion, Redactor, strictest
from lockgate.mail.task import NewMessage, NewTrace, Refusal, Result

_replace = msgspec.structs.replace


def message_as_wished(new: NewMessage, discretion: Discretion) -> tuple[NewMessage, str]:
    """The message as its trace may keep it, and the sender likewise. Tasks stay whole: mail has to be carried.

    What all organisations of a message share (sender, subject, Message-ID) is kept as the strictest of them wishes.
    """
    sender = new.envelope.sender_text
    whose = dict.fromkeys(trace.organisation for trace in new.traces)
    shared = strictest(discretion, whose)
    if shared is None:
        return new, sender
    judged = {task.lane.partition("/")[0] for task in new.tasks if task.route is None}
    return _replace(
        new,
        subject=shared.subject(new.subject),
        message_id=shared.message_id(new.message_id),
        traces=tuple(_trace(trace, discretion(trace.organisation)) for trace in new.traces),
        # What still has to be judged needs its facts; they are dropped once the message is finished.
        stories=tuple(one for one in new.stories if one[0] in judged or _keeps(discretion(one[0]))),
    ), shared.address(sender)


def _keeps(redactor: Redactor | None) -> bool:
    return redactor is None or redactor.keeps_facts


def _trace(trace: NewTrace, redactor: Redactor | None) -> NewTrace:
    if redactor is None:
        return trace
    events = tuple(_replace(e, detail=redactor.text(e.detail), reply=redactor.text(e.reply)) for e in trace.events)
    return _replace(trace, recipient=redactor.address(trace.recipient), events=events)


def result_as_wished(result: Result, redactor: Redactor) -> Result:
    """What became of a recipient, without addresses in the words of the next server."""
    event = result.event
    told = _replace(event, detail=redactor.text(event.detail), reply=redactor.text(event.reply))
    return _replace(result, event=told)


def refusal_as_wished(row: Refusal, discretion: Discretion) -> Refusal:
    """The refusal as it may be kept."""
    redactor = discretion(row.organisation)
    if redactor is None:
        return row
    return _replace(
        row,
        sender=redactor.address(row.sender),
        recipient=redactor.address(row.recipient),
        reply=redactor.text(row.reply),
        reason=redactor.text(row.reason),
        story=row.story if redactor.keeps_facts else b"",
    )


def row_as_wished(row: Mapping[str, Any], discretion: Discretion) -> Mapping[str, Any]:
    """A row of the trace as its organisation wants it seen now, whatever was kept when it was written."""
    redactor = discretion(str(row["organisation"]))
    if redactor is None:
        return row
    return {
        **row,
        "sender_address": redactor.address(row["sender_address"]),
        "recipient_address": redactor.address(row["recipient_address"]),
        "subject": redactor.subject(row["subject"]),
        "message_id": redactor.message_id(row["message_id"]),
        "reply": redactor.text(row["reply"]),
    }


def story_as_wished(found: Mapping[str, Any], discretion: Discretion) -> Mapping[str, Any]:
    """One message's story likewise; facts of those who keep none are left out."""
    redactors = {str(row["organisation"]): discretion(str(row["organisation"])) for row in found["rows"]}
    if not any(redactors.values()):
        return found
    rows = []
    for row in found["rows"]:
        redactor = redactors[row["organisation"]]
        shown = {**row_as_wished(row, discretion)}
        if redactor is not None:
            shown["events"] = [
                {**event, "detail": redactor.text(event["detail"]), "reply": redactor.text(event["reply"])}
                for event in row["events"]
            ]
        rows.append(shown)
    stories = {name: story for name, story in found["stories"].items() if _keeps(discretion(name))}
    shared = strictest(discretion, redactors)
    reasons = found.get("reasons", ())
    hidden = [shared.text(reason) for reason in reasons] if shared is not None else [*reasons]
    told: dict[str, Any] = {**found, "rows": rows, "stories": stories, **({"reasons": hidden} if hidden else {})}
    if "refusals" in found:
        told["refusals"] = [
            {
                **one,
                "story": one["story"] if _keeps(discretion(one["organisation"])) else b"",
                "row": {**one["row"], **row_as_wished(one["row"], discretion)},
            }
            for one in found["refusals"]
        ]
    return told
