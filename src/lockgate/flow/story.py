"""A recorded story told: what was known, and the steps that led to what was decided, as rows for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockgate.decision.explain import certificate, step_rows
from lockgate.mail.record import JUDGE, Recorder, UnreadableStory


def told(recorder: Recorder, stories: Mapping[str, bytes]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was known of the connection, and every kept step, of all organisations' stories. Never raises.

    A step's row has organisation, stage, sign (+ hit, - missed, ? unknown), subject, because, effect and recipient.
    """
    known: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    for organisation, data in stories.items():
        if not data:
            continue
        try:
            story = recorder.read_story(data)
        except UnreadableStory as trouble:
            steps.append({"organisation": organisation, "stage": "record", "sign": "?", "because": str(trouble)})
            continue
        connection = story.facts.connection
        known = known or {
            "peer": connection.peer,
            "listener": connection.listener,
            "helo": connection.helo,
            "proxied_by": connection.proxied_by,
            "tls_in": f"{connection.tls.version} {connection.tls.cipher}" if connection.tls else "",
            "certificate_in": certificate(connection.tls),
            "judge": f"version {story.judge_version}, today's is {JUDGE}" if story.judge_version != JUDGE else "",
            "policy_digest": story.ruling.digest,
        }
        kept = step_rows(story.ruling.steps)
        for verdict in story.ruling.recipients:
            kept += step_rows(verdict.steps, verdict.recipient.text)
        steps += [{"organisation": organisation, **row} for row in kept]
    return {name: value for name, value in known.items() if value}, steps
