"""What the sections of the desk are made of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from lockgate.app.backup import Backups
from lockgate.app.certificate_desk import certificate_desk
from lockgate.app.clock import SystemClock
from lockgate.app.discreet import trace_key
from lockgate.app.estimates import Estimates
from lockgate.app.explaining import presented
from lockgate.app.imports import RecipientImports
from lockgate.app.journal import recent_alarms
from lockgate.app.mailboxes import mailbox_desk, move_desk
from lockgate.app.policy_desk import policy_sections
from lockgate.app.srs_key import ways_back_of
from lockgate.app.validating import connector_desk, validations_of
from lockgate.app.wiring import policies_of
from lockgate.flow.asking import AuditFind
from lockgate.flow.desk.alerts import AlertDesk
from lockgate.flow.desk.audit import AuditDesk
from lockgate.flow.desk.backup import BackupDesk
from lockgate.flow.desk.directory_writes import DirectoryWrites
from lockgate.flow.desk.estimates import EstimateDesk
from lockgate.flow.desk.explain import ExplainDesk, Revisions
from lockgate.flow.desk.groups import GroupDesk
from lockgate.flow.desk.holds import HoldDesk
from lockgate.flow.desk.queue import QueueDesk
from lockgate.flow.desk.recipients import RecipientDesk
from lockgate.flow.desk.replays import ReplayDesk
from lockgate.flow.desk.reports import ReportDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.service import ServiceDesk
from lockgate.flow.desk.traces import TraceDesk
from lockgate.storage.audits import AuditBook, AuditQuestion
from lockgate.storage.blocks import BlockFile
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.lists import ListFiles
from lockgate.storage.recipients import RecipientStore

if TYPE_CHECKING:
    from lockgate.app.alerts import Alert
    from lockgate.app.config import OperatorFile
    from lockgate.app.office import Office


_NOT_COUNTS = frozenset({"missing", "what_if", "before", "warnings"})


def sections_of(office: Office) -> tuple[Section, ...]:
    """The desk's subjects, each wired to what keeps it."""
    config, audit, compiled = office.config, office.audit, office.compiled
    clock, policies = SystemClock(), policies_of(config)
    key = trace_key(config.trace_key_file)
    keeping = KeeperKeeping(config.state_directory, discretion=office.privacy.redactor, key=key)
    directory = DirectoryTable(RecipientStore(config.recipients_directory).table, clock)

    def organisations() -> tuple[str, ...]:
        return tuple(office.policy().organisations)

    validations = validations_of(config)
    revisions = Revisions(compiled.in_force, compiled.at, compiled.draft)
    return (
        QueueDesk(keeping, audit),
        TraceDesk(keeping, clock),
        HoldDesk(keeping, audit, clock),
        *policy_sections(config, policies, audit, clock, validations, office.rules.notes),
        connector_desk(
            office, revisions, validations, office.sts.keeper if config.mta_sts.fetch else None
        ),
        ExplainDesk(
            keeping, revisions, directory, clock, presented(config.ca_bundle), config.mark,
            ways_back=ways_back_of(config), blocks=BlockFile(config.state_directory),
            lists=ListFiles(config.lists_directory, clock),
        ),
        ReplayDesk(revisions, office.replays, clock),
        *recipient_sections(office, organisations),
        EstimateDesk(directory, clock, office.policy, Estimates(config.recipients_directory / "unlisted").all),
        mailbox_desk(config.mailboxes.directory, directory, organisations),
        audit_desk(config),
        ReportDesk(office.reports, audit, clock, organisations),
        BackupDesk(audit, Backups(config, office.path, clock).make),
        alert_desk(office),
        certificate_desk(office),
        office.keys.desk(office),
        *office.sts.desks(office),
        *office.devices.sections(),
        *office.rules.sections(),
        ServiceDesk(office.health.status, lambda count: recent_alarms(config.alarm_file, count)),
    )


def recipient_sections(office: Office, organisations: Callable[[], tuple[str, ...]]) -> tuple[Section, ...]:
    """The directory's sections: the only writer of the directory is this process."""
    config, audit, journal, clock = office.config, office.audit, office.journal, SystemClock()
    store = RecipientStore(config.recipients_directory)
    loop = asyncio.get_running_loop()

    def loaded(by: str, told: dict[str, Any]) -> None:  # called by the thread that has read the file
        loop.call_soon_threadsafe(note, by, told)

    def note(by: str, told: dict[str, Any]) -> None:
        counts = {name: value for name, value in told.items() if name not in _NOT_COUNTS}
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
    writes = DirectoryWrites(audit, store, organisations, changed)
    moves = move_desk(config, audit, writes, office.policy)
    return RecipientDesk(DirectoryTable(store.table, clock), writes, imports), GroupDesk(writes), moves


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
