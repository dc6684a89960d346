"""What the sections of the desk are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from lockgate.app.backup import Backups
from lockgate.app.clock import SystemClock
from lockgate.app.discreet import trace_key
from lockgate.app.explaining import presented
from lockgate.app.journal import recent_alarms
from lockgate.app.mailboxes import mailbox_desk
from lockgate.app.policy_desk import policy_sections
from lockgate.app.recipients import RecipientLists
from lockgate.app.wiring import policies_of
from lockgate.flow.asking import AuditFind
from lockgate.flow.desk.alerts import AlertDesk
from lockgate.flow.desk.audit import AuditDesk
from lockgate.flow.desk.backup import BackupDesk
from lockgate.flow.desk.explain import ExplainDesk, Revisions
from lockgate.flow.desk.holds import HoldDesk
from lockgate.flow.desk.queue import QueueDesk
from lockgate.flow.desk.recipients import RecipientDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.service import ServiceDesk
from lockgate.flow.desk.traces import TraceDesk
from lockgate.flow.recipients import Entry
from lockgate.storage.audits import AuditBook, AuditQuestion
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeping import KeeperKeeping

if TYPE_CHECKING:
    from lockgate.app.alerts import Alert
    from lockgate.app.config import OperatorFile
    from lockgate.app.office import Office


def sections_of(office: Office) -> tuple[Section, ...]:
    """The desk's subjects, each wired to what keeps it."""
    config, audit, compiled = office.config, office.audit, office.compiled
    clock, policies = SystemClock(), policies_of(config)
    key = trace_key(config.trace_key_file)
    keeping = KeeperKeeping(config.state_directory, discretion=office.privacy.redactor, key=key)
    lists = RecipientLists(config.recipients_directory)
    directory = DirectoryTable(lists.table, clock)

    async def store(organisation: str, entries: Sequence[Entry]) -> int:
        return await asyncio.to_thread(lists.replace, organisation, entries)

    def organisations() -> tuple[str, ...]:
        return tuple(office.policy().organisations)

    revisions = Revisions(compiled.in_force, compiled.at, compiled.draft)
    return (
        QueueDesk(keeping, audit),
        TraceDesk(keeping, clock),
        HoldDesk(keeping, audit, clock),
        *policy_sections(config, policies, audit, clock),
        ExplainDesk(keeping, revisions, directory, clock, presented(config.ca_bundle), config.mark),
        RecipientDesk(directory, audit, store, organisations),
        mailbox_desk(config.mailboxes.directory, directory, organisations),
        audit_desk(config),
        BackupDesk(audit, Backups(config, office.path, clock).make),
        alert_desk(office),
        ServiceDesk(office.health.status, lambda count: recent_alarms(config.alarm_file, count)),
    )


def alert_desk(office: Office) -> AlertDesk:
    """Alerts at the desk."""
    clock, book = SystemClock(), office.book
    return AlertDesk(
        office.audit,
        lambda: [_row(alert) for alert in book.listed()],
        lambda names, by: [_row(alert) for alert in book.take(names, by, clock.now())],
    )


def _row(alert: Alert) -> dict[str, Any]:
    return {**msgspec.structs.asdict(alert), "active": alert.active}


def audit_desk(config: OperatorFile) -> AuditDesk:
    """Searches in the audit."""
    book = AuditBook(config.state_directory)

    async def find(asked: AuditFind, since: float | None, until: float | None) -> Sequence[Mapping[str, Any]]:
        refused = True if asked.refused else None
        question = AuditQuestion(asked.who, asked.what, asked.object, since, until, refused, asked.limit)
        return await asyncio.to_thread(book.find, question)

    return AuditDesk(SystemClock(), find)
