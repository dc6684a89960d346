"""The desk process: its control socket, what it watches, and what its sections are made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockgate.app.audit import REFUSED, StoredAudit
from lockgate.app.backup import Backups, restored_from
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.control import ControlServer
from lockgate.app.journal import LineJournal, recent_alarms
from lockgate.app.recipients import RecipientLists
from lockgate.app.roles import roles_of
from lockgate.app.watch import Watch, ends_of
from lockgate.app.wiring import Ready, journal_of, policies_of, run_loop, stop_signal
from lockgate.flow.asking import AuditFind
from lockgate.flow.desk.audit import AuditDesk
from lockgate.flow.desk.backup import BackupDesk
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.policies import PolicyDesk
from lockgate.flow.desk.queue import QueueDesk
from lockgate.flow.desk.recipients import RecipientDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.service import ServiceDesk
from lockgate.flow.desk.traces import TraceDesk
from lockgate.flow.recipients import Entry
from lockgate.policy.policy import Policy
from lockgate.seams import Audit, Journal
from lockgate.storage.audits import AuditBook, AuditQuestion
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.restoring import RESTORED


def run_desk(config: OperatorFile, path: Path, listening: Sequence[str], ready: Ready) -> None:
    """The desk process: the control socket. `path` is the operator's file."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, "desk")
        audit = audit_of(config, journal)
        desk = desk_of(config, path, listening, journal, audit)
        control = ControlServer(
            desk.answer,
            config.control_socket,
            journal,
            mode=config.control.file_mode,
            roles=roles_of(config.control),
            turned_away=lambda name: audit.wrote(name, REFUSED, asked="anything", because="it belongs to no role"),
        )
        await control.open()
        watch = asyncio.ensure_future(watch_of(config, journal).run())
        ready()
        await stop.wait()
        watch.cancel()
        await control.close()
        journal.close()

    run_loop(main())


def audit_of(config: OperatorFile, journal: Journal) -> StoredAudit:
    """Where every write is noted."""
    return StoredAudit(AuditBook(config.state_directory), SystemClock(), journal)


def audit_desk(config: OperatorFile) -> AuditDesk:
    """Searches in the audit."""
    book = AuditBook(config.state_directory)

    async def find(asked: AuditFind, since: float | None, until: float | None) -> Sequence[Mapping[str, Any]]:
        refused = True if asked.refused else None
        question = AuditQuestion(asked.who, asked.what, asked.object, since, until, refused, asked.limit)
        return await asyncio.to_thread(book.find, question)

    return AuditDesk(SystemClock(), find)


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


def desk_of(
    config: OperatorFile, path: Path, listening: Sequence[str], journal: LineJournal, audit: Audit
) -> Desk:
    """Everything a face may ask of this installation."""
    clock = SystemClock()
    policies = policies_of(config)
    keeping = KeeperKeeping(config.state_directory)
    lists = RecipientLists(config.recipients_directory)

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
        held = 0
        if since := restored_from(config.state_directory):
            with contextlib.suppress(Exception):
                held = len(await keeping.queue_list({"held": f"held by {RESTORED}"}))
        restored = f"{held} tasks are held since the restore of {since}; see `lockgate queue release --restored`"
        return {
            "hostname": config.hostname,
            "listening": ", ".join(listening),
            "policy_revision": revision.number,
            "waiting": waiting,
            **({"restored": restored} if held else {}),
        }

    async def store(organisation: str, entries: Sequence[Entry]) -> int:
        return await asyncio.to_thread(lists.replace, organisation, entries)

    def organisations() -> tuple[str, ...]:
        return tuple(policies.compile(policies.in_force()).organisations)

    sections: tuple[Section, ...] = (
        QueueDesk(keeping, audit),
        TraceDesk(keeping, clock),
        PolicyDesk(audit, check, reload),
        audit_desk(config),
        BackupDesk(audit, Backups(config, path, clock).make),
        RecipientDesk(DirectoryTable(lists.table, clock), audit, store, organisations),
        ServiceDesk(status, lambda count: recent_alarms(config.alarm_file, count)),
    )
    return Desk(sections, audit, journal)
