"""The desk process: its control socket, what it watches, and what its sections are made of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lockgate.app.audit import JournalAudit
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.control import ControlServer
from lockgate.app.estimates import Estimates
from lockgate.app.imports import RecipientImports
from lockgate.app.journal import LineJournal, recent_alarms
from lockgate.app.watch import Watch, ends_of
from lockgate.app.wiring import Ready, journal_of, policies_of, run_loop, stop_signal
from lockgate.flow.desk.estimates import EstimateDesk
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.policies import PolicyDesk
from lockgate.flow.desk.queue import QueueDesk
from lockgate.flow.desk.recipients import RecipientDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.service import ServiceDesk
from lockgate.flow.desk.traces import TraceDesk
from lockgate.policy.policy import Policy
from lockgate.seams import Audit
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.recipients import RecipientStore


def run_desk(config: OperatorFile, listening: Sequence[str], ready: Ready) -> None:
    """The desk process: the control socket."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, "desk")
        desk = desk_of(config, listening, journal)
        control = ControlServer(
            desk.answer,
            config.control_socket,
            journal,
            mode=int(config.control.mode, 8),
            group=config.control.group,
        )
        await control.open()
        watch = asyncio.ensure_future(watch_of(config, journal).run())
        ready()
        await stop.wait()
        watch.cancel()
        await control.close()
        journal.close()

    run_loop(main())


def watch_of(config: OperatorFile, journal: LineJournal) -> Watch:
    """What alarms when a threshold is crossed."""
    return Watch(
        KeeperKeeping(config.state_directory),
        config.alerts,
        SystemClock(),
        journal,
        state=config.state_directory,
        certificates=lambda: ends_of([one.chain for one in config.certificate]),
    )


def desk_of(config: OperatorFile, listening: Sequence[str], journal: LineJournal) -> Desk:
    """Everything a face may ask of this installation."""
    clock = SystemClock()
    policies = policies_of(config)
    keeping = KeeperKeeping(config.state_directory)

    def described(policy: Policy) -> dict[str, Any]:
        return {
            "revision": policy.revision,
            "digest": policy.digest,
            "organisations": len(policy.organisations),
            "warnings": [f"{one.file}:{one.line}: {one.message}" for one in policy.warnings],
        }

    async def check() -> Mapping[str, Any]:
        return described(await asyncio.to_thread(policies.check, config.policy_directory))

    async def reload() -> Mapping[str, Any]:
        _, policy = await asyncio.to_thread(
            policies.publish, config.policy_directory, by="reload", at=clock.now()
        )
        return described(policy)

    async def status() -> Mapping[str, Any]:
        waiting: object
        try:
            waiting = sum(int(lane.get("tasks", 0)) for lane in await keeping.queue_list({}))
        except Exception as trouble:
            waiting = f"unknown: {trouble}"
        revision = policies.in_force()
        return {
            "hostname": config.hostname,
            "listening": ", ".join(listening),
            "policy_revision": revision.number,
            "waiting": waiting,
        }

    def organisations() -> tuple[str, ...]:
        return tuple(policies.compile(policies.in_force()).organisations)

    audit = JournalAudit(journal)
    sections: tuple[Section, ...] = (
        QueueDesk(keeping, audit),
        TraceDesk(keeping, clock),
        PolicyDesk(audit, check, reload),
        recipient_desk(config, journal, audit, organisations),
        EstimateDesk(
            DirectoryTable(RecipientStore(config.recipients_directory).table, clock),
            clock,
            lambda: policies.compile(policies.in_force()),
            Estimates(config.recipients_directory / "unlisted").all,
        ),
        ServiceDesk(status, lambda count: recent_alarms(config.alarm_file, count)),
    )
    return Desk(sections, audit, journal)


def recipient_desk(
    config: OperatorFile, journal: LineJournal, audit: Audit, organisations: Callable[[], tuple[str, ...]]
) -> RecipientDesk:
    """The directory's section: the only writer of the directory is this process."""
    clock = SystemClock()
    store = RecipientStore(config.recipients_directory)

    loop = asyncio.get_running_loop()

    def loaded(by: str, told: dict[str, Any]) -> None:  # called by the thread that has read the file
        loop.call_soon_threadsafe(note, by, told)

    def note(by: str, told: dict[str, Any]) -> None:
        counts = {name: value for name, value in told.items() if name not in ("missing", "what_if", "before")}
        before, after = {"recipients": told["before"]}, {"recipients": told["recipients"] + told["kept"]}
        audit.wrote(by, "recipient import", before=before, after=after, **counts)
        changed()

    def merge() -> None:
        try:
            store.merge()
        except Exception as trouble:
            journal.alarm("recipients not merged", because=str(trouble))

    def changed() -> None:
        if store.crowded:
            threading.Thread(target=merge, name="recipient merge", daemon=True).start()

    imports = RecipientImports(store, config.recipients_directory / "incoming", clock, journal, loaded)
    return RecipientDesk(DirectoryTable(store.table, clock), audit, store, imports, organisations, changed)
