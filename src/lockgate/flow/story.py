"""A recorded story told: what was known, and the steps that led to what was decided, as rows for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lockgate.mail.record import JUDGE, Recorder, UnreadableStory
from lockgate.mail.ruling import Hit, Step

SIGNS = {Hit.YES: "+", Hit.NO: "-", Hit.UNKNOWN: "?"}
"""How a step reads at a glance: it hit, it did not, nobody knows."""


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
            "judge": f"version {story.judge_version}, today's is {JUDGE}" if story.judge_version != JUDGE else "",
            "policy_digest": story.ruling.digest,
        }
        steps += _rows(organisation, story.ruling.steps)
        for verdict in story.ruling.recipients:
            steps += _rows(organisation, verdict.steps, verdict.recipient.original.text)
    return {name: value for name, value in known.items() if value}, steps


def _rows(organisation: str, steps: Iterable[Step], recipient: str = "") -> list[dict[str, Any]]:
    return [
        {
            "organisation": organisation,
            "stage": step.stage,
            "sign": SIGNS[step.hit],
            "subject": step.subject,
            "because": step.because,
            "effect": step.effect,
            "recipient": step.recipient or recipient,
        }
        for step in steps
    ]
