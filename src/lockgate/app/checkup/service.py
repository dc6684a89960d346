"""The running service as its own desk describes it, for `lockgate doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lockgate.app.config import OperatorFile
from lockgate.cli.client import NotReachable, ask
from lockgate.flow.asking import Kind, QueueList, StatusAsk
from lockgate.flow.checkup import Found, blocked, passed, warned


class _Running(msgspec.Struct):
    listeners: tuple[str, ...] = ()


def listening(config: OperatorFile) -> frozenset[str]:
    """What the running service listens on; nothing if it does not run."""
    try:
        found = msgspec.json.decode((config.run_directory / "service.json").read_bytes(), type=_Running)
        ask(config.control_socket, StatusAsk(), 10.0)
    except (OSError, msgspec.MsgspecError, NotReachable):
        return frozenset()
    return frozenset(found.listeners)


async def service(config: OperatorFile, config_path: Path) -> list[Found]:
    """Whether it runs, what it works with, and what it complains of."""
    start = f"lockgate --config {config_path} serve"
    try:
        answer = await asyncio.to_thread(ask, config.control_socket, StatusAsk(20), 30.0)
        lanes = await asyncio.to_thread(ask, config.control_socket, QueueList(), 30.0)
    except NotReachable as trouble:
        return [blocked("service", str(trouble), start)]
    if answer.kind != Kind.OK:
        return [blocked("service", answer.sentence, "lockgate status; the log says more")]
    status = answer.result
    found = [passed("service", f"runs with policy revision {status.get('policy_revision')}")]
    found += _alarms(status.get("alarms") or [])
    found += _lanes(lanes.result if lanes.kind == Kind.OK else None, lanes.sentence)
    return found


def _alarms(alarms: list[dict[str, Any]]) -> Iterator[Found]:
    if not alarms:
        yield passed("alarms", "there were none")
    for alarm in alarms[-5:]:
        details = {k: v for k, v in alarm.items() if k not in {"time", "happening", "alarm", "origin"}}
        told = ", ".join(f"{name} {value}" for name, value in details.items())
        what = f"{alarm.get('time')} {alarm.get('happening')}: {told}"
        yield warned("alarm", what[:400], "lockgate status --alarms 50")


def _lanes(lanes: Any, sentence: str) -> Iterator[Found]:
    if not isinstance(lanes, list):
        yield blocked("queue", sentence or "the keeper does not answer", "look at the log for the keeper's last words")
        return
    failing = [lane for lane in lanes if lane.get("fails")]
    waiting = sum(int(lane.get("tasks") or 0) for lane in lanes)
    if not failing:
        yield passed("queue", f"{waiting} messages wait, every next server answers")
    for lane in failing[:10]:
        name = lane.get("lane")
        count, fails = lane.get("tasks"), lane.get("fails")
        what = f"{count} messages wait for {name}, which failed {fails} times: {lane.get('why')}"
        yield warned("queue", what[:400], f"lockgate queue list --lane '{name}'")
