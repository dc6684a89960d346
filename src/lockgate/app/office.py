"""The desk's process: its control socket, what it watches and tells, and what passes the policy's wishes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockgate.app.acme import AcmeRoom
from lockgate.app.alerts import AlertBook
from lockgate.app.audit import REFUSED, StoredAudit
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, resolvers
from lockgate.app.control import ControlServer
from lockgate.app.counting import CountingJournal
from lockgate.app.credentials import Credentials
from lockgate.app.devices import DeviceOffice
from lockgate.app.discreet import DiscreetJournal
from lockgate.app.dkim import key_room
from lockgate.app.explaining import CompiledRevisions
from lockgate.app.exposition import exposition
from lockgate.app.health import Health
from lockgate.app.meters import REFUSED as REFUSALS
from lockgate.app.monitor import Monitor, pages
from lockgate.app.own_post import own_post
from lockgate.app.policies import PolicyInForce
from lockgate.app.replays import ReplayRoom
from lockgate.app.reports import ReportOffice, folder_of
from lockgate.app.roles import changed_since, roles_of
from lockgate.app.rule_counts import RuleOffice
from lockgate.app.sections import sections_of
from lockgate.app.shadow_room import ShadowRoom
from lockgate.app.sts import StsRoom
from lockgate.app.telling import Tellers
from lockgate.app.tls_reports import uploader
from lockgate.app.watch import Watch
from lockgate.app.ways import read_secret
from lockgate.app.wiring import Ready, journal_of, meters_of, policies_of, privacy_of, run_loop, stop_signal
from lockgate.flow.desk.front import Desk
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.seams import Journal
from lockgate.storage.audits import AuditBook
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.kept import write_kept


class Office:
    """What the desk's process is made of. Raises NoPolicy or Invalid while there is no policy to work with."""

    def __init__(self, config: OperatorFile, path: Path, listening: Sequence[str], journal: Journal) -> None:
        clock, policies = SystemClock(), policies_of(config)
        self.config, self.path, self.listening = config, path, tuple(listening)
        self.policy = PolicyInForce(policies, lambda why: journal.alarm("policy not taken up", because=why))
        self.privacy = privacy_of(config, self.policy)
        self._meters = meters_of(config, "desk")
        self.journal = CountingJournal(DiscreetJournal(journal, self.privacy.redactor), self._meters)
        self.compiled = CompiledRevisions(policies)
        self.audit = StoredAudit(AuditBook(config.state_directory), clock, self.journal)
        alerts = config.alerts
        self.book = AlertBook(config.state_directory / "alerts.json", repeat=alerts.repeat, settle=alerts.settle)
        self.tellers = Tellers(config, policies, clock, self.journal, listening, read_secret)
        self.keys = key_room(config, self.audit, self.journal)
        self.sts = StsRoom(config, self.journal, listening)
        self.acme = AcmeRoom(config, self.policy, clock, self.journal, self.audit, listening, read_secret)
        self.credentials = Credentials(config, self.policy, clock)
        self.health = Health(config, policies, clock, self._meters, listening, self.book.active)
        resolver = DnsResolver(resolvers(config), clock, timeout=config.dns.timeout)
        self.reports = ReportOffice(
            folder_of(config), self.policy, clock, self.journal, resolver,
            lambda: own_post(config, clock, self.journal), uploader(config, listening),
        )  # fmt: skip
        self.devices = DeviceOffice(self)
        self.rules = RuleOffice(self)
        self.replays = ReplayRoom(path)
        self.shadow = ShadowRoom(self)
        self.watch = Watch(
            KeeperKeeping(config.state_directory), alerts, clock, self.journal,
            state=config.state_directory,
            refusals=lambda: sum(count for _, count in self._meters.counted(REFUSALS)), book=self.book,
            tell=self.tellers.tell,
            others=(self.keys.wrong, self.acme.wrong, self.credentials.wrong, self.devices.watch.wrong),
        )  # fmt: skip

    def desk(self) -> Desk:
        """Everything a face may ask of this installation."""
        return Desk(sections_of(self), self.audit, self.journal)

    def control(self) -> ControlServer:
        """The control socket."""
        control = self.config.control
        return ControlServer(
            self.desk().answer, self.config.control_socket, self.journal, mode=control.file_mode,
            roles=roles_of(control),
            turned_away=lambda name: self.audit.wrote(name, REFUSED, asked="anything", because="it belongs to no role"),
        )  # fmt: skip

    def note_roles(self) -> None:
        """Who belongs to which role group is a change like others, though it is made in the operator's file."""
        file = self.config.state_directory / "audit" / "roles.json"
        if changed := changed_since(file, self.config.control.role):
            self.audit.wrote(f"{os.getuid()} supervisor", "roles", before=changed[0], after=changed[1])

    def monitor(self) -> Monitor:
        """The listener for monitoring."""

        async def figures() -> bytes:
            return exposition(self._meters, await self.health.gauges(), self.rules.figures())

        return Monitor(pages(figures, self.health.troubles))

    async def pass_wishes_on(self) -> None:
        """Tell the keeper what each organisation keeps of its trace, now and whenever the policy changes."""
        changed = True
        while True:
            if changed:
                try:
                    await asyncio.to_thread(write_kept, self.config.kept_file, self.privacy.wishes())
                except OSError as trouble:
                    self.journal.alarm("what is kept of the trace cannot be passed on", because=str(trouble))
            await asyncio.sleep(self.policy.pause)
            changed = await self.policy.look()

    async def keep_warm(self) -> None:
        """Have the policy in force compiled before somebody asks for an explanation."""
        await self.compiled.keep_warm(lambda why: self.journal.alarm("no policy to explain", because=why))


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
        chores = (
            office.watch.run(),
            office.pass_wishes_on(),
            office.keep_warm(),
            office.keys.caretaker.run(),
            office.reports.run(),
            office.sts.refresh(),
            office.acme.run(),
            office.devices.run(),
            office.rules.run(),
            office.shadow.run(),
        )
        under_way = [asyncio.ensure_future(chore) for chore in chores]
        ready()
        await stop.wait()
        for chore in under_way:
            chore.cancel()
        await office.replays.close()
        await office.tellers.close()
        await monitor.close()
        await control.close()
        journal.close()

    run_loop(main())
