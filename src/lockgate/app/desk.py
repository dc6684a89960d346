"""The desk process: its control socket, what it watches and tells, and what its sections are made of."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockgate.app.alerts import Alert, AlertBook
from lockgate.app.audit import REFUSED, StoredAudit
from lockgate.app.backup import Backups
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.control import ControlServer
from lockgate.app.counting import CountingJournal
from lockgate.app.exposition import exposition
from lockgate.app.health import Health
from lockgate.app.journal import recent_alarms
from lockgate.app.meters import REFUSED as REFUSALS
from lockgate.app.monitor import Monitor, pages
from lockgate.app.recipients import RecipientLists
from lockgate.app.roles import changed_since, roles_of
from lockgate.app.telling import Tellers
from lockgate.app.watch import Watch, ends_of
from lockgate.app.wiring import Ready, journal_of, meters_of, policies_of, read_secret, run_loop, stop_signal
from lockgate.flow.asking import AuditFind
from lockgate.flow.desk.alerts import AlertDesk
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


class Office:
    """What the desk's process is made of."""

    def __init__(self, config: OperatorFile, path: Path, listening: Sequence[str], journal: Journal) -> None:
        clock = SystemClock()
        self._config = config
        self._path = path
        self._meters = meters_of(config, "desk")
        self.journal = CountingJournal(journal, self._meters)
        self.audit = StoredAudit(AuditBook(config.state_directory), clock, self.journal)
        alerts, policies = config.alerts, policies_of(config)
        self._book = AlertBook(config.state_directory / "alerts.json", repeat=alerts.repeat, settle=alerts.settle)
        self.tellers = Tellers(config, policies, clock, self.journal, listening, read_secret)
        self.health = Health(config, policies, clock, self._meters, listening, self._book.active)
        self.watch = Watch(
            KeeperKeeping(config.state_directory), alerts, clock, self.journal,
            state=config.state_directory, certificates=lambda: ends_of([one.chain for one in config.certificate]),
            refusals=lambda: sum(count for _, count in self._meters.counted(REFUSALS)), book=self._book,
            tell=self.tellers.tell,
        )  # fmt: skip

    def desk(self) -> Desk:
        """Everything a face may ask of this installation."""
        return Desk(sections_of(self._config, self._path, self), self.audit, self.journal)

    def control(self) -> ControlServer:
        """The control socket."""
        control = self._config.control
        return ControlServer(
            self.desk().answer, self._config.control_socket, self.journal, mode=control.file_mode,
            roles=roles_of(control),
            turned_away=lambda name: self.audit.wrote(name, REFUSED, asked="anything", because="it belongs to no role"),
        )  # fmt: skip

    def note_roles(self) -> None:
        """Who belongs to which role group is a change like others, though it is made in the operator's file."""
        file = self._config.state_directory / "audit" / "roles.json"
        if changed := changed_since(file, self._config.control.role):
            self.audit.wrote(f"{os.getuid()} supervisor", "roles", before=changed[0], after=changed[1])

    def alert_desk(self) -> AlertDesk:
        """Alerts at the desk."""
        clock, book = SystemClock(), self._book
        return AlertDesk(
            self.audit,
            lambda: [_row(alert) for alert in book.listed()],
            lambda names, by: [_row(alert) for alert in book.take(names, by, clock.now())],
        )

    def monitor(self) -> Monitor:
        """The listener for monitoring."""

        async def figures() -> bytes:
            return exposition(self._meters, await self.health.gauges())

        return Monitor(pages(figures, self.health.troubles))


def run_desk(config: OperatorFile, path: Path, listening: Sequence[str], ready: Ready) -> None:
    """The desk process: the control socket and the listener for monitoring. `path` is the operator's file."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, "desk")
        office = Office(config, path, listening, journal)
        office.note_roles()
        control, monitor = office.control(), office.monitor()
        await control.open()
        if config.metrics.port is not None:
            where = await monitor.open(config.metrics.address, config.metrics.port)
            (config.run_directory / "metrics.json").write_bytes(msgspec.json.encode(where))
        watch = asyncio.ensure_future(office.watch.run())
        ready()
        await stop.wait()
        watch.cancel()
        await office.tellers.close()
        await monitor.close()
        await control.close()
        journal.close()

    run_loop(main())


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


def sections_of(config: OperatorFile, path: Path, office: Office) -> tuple[Section, ...]:
    """The desk's subjects, each wired to what keeps it."""
    clock, keeping = SystemClock(), KeeperKeeping(config.state_directory)
    audit = office.audit
    lists = RecipientLists(config.recipients_directory)

    async def store(organisation: str, entries: Sequence[Entry]) -> int:
        return await asyncio.to_thread(lists.replace, organisation, entries)

    return (
        QueueDesk(keeping, audit),
        TraceDesk(keeping, clock),
        policy_desk(config, audit),
        audit_desk(config),
        BackupDesk(audit, Backups(config, path, clock).make),
        office.alert_desk(),
        RecipientDesk(DirectoryTable(lists.table, clock), audit, store, lambda: organisations(config)),
        ServiceDesk(office.health.status, lambda count: recent_alarms(config.alarm_file, count)),
    )


def organisations(config: OperatorFile) -> tuple[str, ...]:
    """Those of the policy in force."""
    policies = policies_of(config)
    return tuple(policies.compile(policies.in_force()).organisations)


def policy_desk(config: OperatorFile, audit: Audit) -> PolicyDesk:
    """The policy at the desk."""
    clock, policies = SystemClock(), policies_of(config)

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

    return PolicyDesk(audit, check, reload)
