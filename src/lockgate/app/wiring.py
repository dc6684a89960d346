"""The one place that knows every class: what each process of the service is made of."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop

from lockgate.app.children import CannotRun
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.counting import CountingJournal, CountingLoad, timing
from lockgate.app.departures import departure_of
from lockgate.app.devices import DeviceCounts
from lockgate.app.discreet import DiscreetJournal, trace_key
from lockgate.app.estimates import Estimates, Unlisted
from lockgate.app.garbage import search_seldom
from lockgate.app.journal import LineJournal, start_journal
from lockgate.app.local import known_here
from lockgate.app.meters import COMMIT, Meters
from lockgate.app.names import resolver_of, sender_check_of
from lockgate.app.pages import gather
from lockgate.app.policies import Policies, PolicyInForce
from lockgate.app.report_counts import ReportCounts
from lockgate.app.rule_counts import RuleCounts
from lockgate.app.showing import certificates_of
from lockgate.app.srs_key import srs_secrets, ways_back_of
from lockgate.app.sts import courier_sts
from lockgate.app.ways import courier_settings, door_settings, keeps_of, pools_of, read_secret
from lockgate.couriers.mailbox import MailboxCourier
from lockgate.couriers.smtp import SmtpCourier
from lockgate.couriers.sorting import Sorting
from lockgate.couriers.verify import SmtpVerifier
from lockgate.decision.judge import judge
from lockgate.edge.certificates import PUBLIC
from lockgate.edge.chance import Chance
from lockgate.edge.listener import Door
from lockgate.edge.load import LoadTable
from lockgate.edge.settings import DoorSettings
from lockgate.flow.bounce import Bounce
from lockgate.flow.commit import Commit
from lockgate.flow.delivery import Carriage, Delivery
from lockgate.flow.hops import plan
from lockgate.flow.inquire import Inquiries
from lockgate.flow.intake import Reception
from lockgate.flow.letter import Authentication
from lockgate.flow.own_mail import OwnMail
from lockgate.flow.privacy import Privacy, Wishes
from lockgate.flow.reconsider import Reconsider
from lockgate.flow.retry import Schedule
from lockgate.flow.rule_letters import RuleLetters
from lockgate.flow.settle import Ask, Judge
from lockgate.mail.identity import network_id
from lockgate.mail.record import Recorder
from lockgate.mail.redaction import Kept, Masking
from lockgate.policy.policy import Policy
from lockgate.probes.directory.callout import NextHopCallout
from lockgate.seams import Journal
from lockgate.storage.client import KeeperSpool, SpoolSettings
from lockgate.storage.keeper import AlreadyKept, KeeperSettings
from lockgate.storage.keeper import serve as keep
from lockgate.storage.kept import KeptFile
from lockgate.storage.lanes import Pace
from lockgate.storage.lists import ListFiles
from lockgate.storage.tables import NewerSchema

Ready = Callable[[], None]

_LARGE_AT_ONCE = 2
"""Large messages whose signatures one worker verifies at the same time."""

_LOOK_FOR_SIBLINGS = 0.2
"""Seconds between two looks at whether another worker is down."""

_TIMED = 0.2
"""Seconds between two looks at how late a worker comes to what is due."""

_LAST_COUNTS = 0.3
"""How much of how late a worker is counted to be is how late it was the last time: about a second counts in all."""


def journal_of(config: OperatorFile, role: str) -> LineJournal:
    """The journal of one process."""
    log = config.log
    return start_journal(
        SystemClock(),
        role=role,
        form=log.format,
        destination=log.destination,
        alarms=config.alarm_file,
        host=config.hostname,
    )


def meters_of(config: OperatorFile, role: str) -> Meters:
    """The counters of one process."""
    return Meters(config.run_directory / "meters.table", role, config.worker_count)


def policies_of(config: OperatorFile) -> Policies:
    """The published revisions of this installation."""
    folder = config.state_directory / "policy"
    return Policies(folder, config.hostname, config.policy_directory, keeps_mailboxes=config.mailboxes.kept)


def privacy_of(config: OperatorFile, policy: Callable[[], Policy]) -> Privacy:
    """What is kept of people. Raises OSError when the secret for hidden addresses cannot be read or made."""
    said = config.trace
    wishes = Wishes(said.retention, Masking(said.masking), said.facts, said.subjects, said.hold_retention)
    return Privacy(policy, wishes, trace_key(config.trace_key_file))


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run the life of one process in its loop."""
    search_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    return stop


# --- the keeper ------------------------------------------------------------------------------------------------------


def run_keeper(config: OperatorFile, ready: Ready) -> None:
    """The keeper process."""
    settings = KeeperSettings(
        config.state_directory,
        Pace(steps=config.retry_steps, delay_notice=config.delivery.delay_notice),
    )

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, "keeper")
        said = config.trace
        lives = KeptFile(config.kept_file, Kept(said.retention, said.facts and said.masking == "none"))
        meters = meters_of(config, "keeper")
        took = meters.counts(COMMIT)
        counting = CountingJournal(journal, meters)
        kept = asyncio.ensure_future(keep(settings, SystemClock(), counting, stop, lives, took))
        await _once_there(config.run_directory / "keeper.sock", kept)
        if not kept.done():
            gather()
            ready()
        try:
            await kept
        except (AlreadyKept, NewerSchema) as trouble:
            journal.alarm("the queue cannot be kept", why=str(trouble))
            raise CannotRun(f"The keeper cannot begin: {trouble}") from None
        finally:
            journal.close()

    run_loop(main())


async def _once_there(path: Path, kept: asyncio.Future[None]) -> None:
    """Wait until somebody answers on the socket, or `kept` has ended."""
    while not kept.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.close()
            return
        await asyncio.sleep(0.02)


# --- workers ---------------------------------------------------------------------------------------------------------


def create_load_table(path: Path, slots: int) -> None:
    """Make the table of open connections before anybody needs it."""
    LoadTable(path, 0, slots).close()


def clear_load(path: Path, slot: int, slots: int) -> None:
    """Forget the connections of a worker that has died."""
    LoadTable(path, slot, slots).close()


class Worker:
    """One worker: doors, judge, queue and couriers in one loop."""

    def __init__(
        self,
        config: OperatorFile,
        slot: int,
        listening: Sequence[str],
        load: Path,
        journal: Journal,
        judge_with: Judge = judge,
    ) -> None:
        self._config = config
        self._clock = clock = SystemClock()
        self._meters = meters = meters_of(config, f"worker-{slot}")
        counting = CountingJournal(journal, meters)
        self.policy = PolicyInForce(policies_of(config), lambda why: counting.alarm("policy not taken up", because=why))
        self._privacy = privacy_of(config, self.policy)
        self._journal = discreet = DiscreetJournal(counting, self._privacy.redactor)
        self._recorder = Recorder()
        self._chance = Chance()
        settings = SpoolSettings(config.state_directory, slot)
        self.spool = KeeperSpool(settings, clock, discreet, self._privacy.redactor)
        self._ways_back = ways_back_of(config)
        lists = ListFiles(config.lists_directory, clock)
        self._ask = known_here(config, clock, self._ways_back, lists)
        resolver = resolver_of(config, clock)
        carrying = courier_settings(config, listening)
        self._reports = ReportCounts(config, slot, clock, discreet, self._privacy.redactor)
        self._sts = courier_sts(config, clock, discreet, listening)
        self._network = SmtpCourier(resolver, carrying, clock, discreet, sts=self._sts, results=self._reports.results)
        self._courier = sorting_of(config, self._network, clock, discreet)
        self._verifier = SmtpVerifier(resolver, carrying, clock, sts=self._sts, results=self._reports.results)
        self._inquire = self._inquiries()
        self._authentication = Authentication(
            sender_check_of(config, clock), asyncio.Semaphore(_LARGE_AT_ONCE), clock, lists
        )
        estimates = Estimates(config.recipients_directory / "unlisted")
        self._unlisted = Unlisted(estimates, slot, clock, discreet)
        self._devices = DeviceCounts(config, slot, clock, discreet, self._privacy.redactor)
        self._rules = RuleCounts(config, slot, clock, discreet)
        self._table = LoadTable(load, slot, config.worker_count)
        self._load = CountingLoad(self._table, meters)
        self._certificates = certificates_of(config, counting)
        self._judge = timing(judge_with, meters)
        secret = srs_secrets(config.state_directory / "srs.key")[0]
        self._letters = RuleLetters(
            self._own_mail(self._ask), discreet, secret, lambda tasks: self.delivery.take(tasks)
        )
        self.delivery = self._delivery(self._ask)
        self._doors: list[Door] = []
        self._sockets: tuple[Sequence[socket.socket], ...] = ()
        self._slot = slot

    def _delivery(self, ask: Ask) -> Delivery:
        config, clock, journal = self._config, self._clock, self._journal
        schedule = Schedule(config.retry_steps, config.delivery.message_life, config.delivery.delay_notice)
        pools, keeps = pools_of(config), keeps_of(config)
        own_mail = self._own_mail(ask)
        bounce = Bounce(own_mail, journal, take=lambda tasks: self.delivery.take(tasks))
        reconsider = Reconsider(
            self.policy, self._judge, ask, self.spool, self._recorder, self._privacy.hold_life, self._inquire,
            self._authentication, self._letters, self._rules.watch,
        )  # fmt: skip
        return Delivery(
            Carriage(
                spool=self.spool,
                courier=self._courier,
                policy=self.policy,
                plan=lambda policy, route: plan(policy, route, pools, read_secret, keeps),
                bounce=bounce,
                reconsider=reconsider,
                schedule=schedule,
                clock=clock,
                journal=journal,
                departure=departure_of(config, self.policy, self._ways_back, journal),
            )
        )

    def _own_mail(self, ask: Ask) -> OwnMail:
        """A way into the queue for what this worker writes itself."""
        config = self._config
        return OwnMail(
            spool=self.spool,
            ask=ask,
            recorder=self._recorder,
            clock=self._clock,
            new_id=self._new_id,
            installation=config.mark,
            life=config.delivery.report_life,
        )

    def _inquiries(self) -> Inquiries:
        """Whom to ask about recipients that only the next hop knows."""
        config, pools = self._config, pools_of(self._config)
        return Inquiries(
            lambda policy, route: plan(policy, route, pools, read_secret, keeps_of(config)),
            NextHopCallout(self._verifier, self._clock, self._journal, lambda: f"lockgate-{secrets.token_hex(8)}"),
        )

    def _new_id(self) -> str:
        return network_id(self._chance.octets(10), self._clock.now())

    def reception(self) -> Reception:
        """What every visit of this worker shares."""
        config = self._config

        def life(policy: Policy, organisation: str) -> float:
            longest = config.delivery.message_life
            known = policy.organisations.get(organisation)
            wished = known.organisation.message_expiration if known is not None else None
            return longest if wished is None else min(longest, float(wished))

        return Reception(
            policy=self.policy,
            judge=self._judge,
            ask=self._ask,
            spool=self.spool,
            commit=Commit(self._recorder, life, config.delivery.first_retry, self._privacy.hold_life),
            recorder=self._recorder,
            clock=self._clock,
            journal=self._journal,
            new_id=self._new_id,
            take=self.delivery.take,
            installation=config.mark,
            inquire=self._inquire,
            unlisted=self._unlisted.note,
            authentication=self._authentication,
            observer=self._reports.observer,
            devices=self._devices.watch,
            letters=self._letters,
            rules=self._rules.watch,
        )

    async def open(self, sockets: Sequence[Sequence[socket.socket]]) -> None:
        """Connect to the keeper, then let people in. `sockets` are those of each listener, of all slots."""
        self.spool.receive_with(self.delivery.take)
        self._trust()
        await self.spool.open()
        reception = self.reception()
        self._sockets = tuple(sockets)
        for settings, by_slot in zip(self._door_settings(), sockets, strict=True):
            own = (by_slot[self._slot],)
            door = Door(
                own, settings, reception.visit, self._certificates, self._load, self._journal, self._clock,
                between=self._network.look,
            )  # fmt: skip
            await door.open()
            self._doors.append(door)
        self._table.serve()

    def _door_settings(self) -> list[DoorSettings]:
        """How each listener behaves under the policy of now."""
        config, policy = self._config, self.policy()
        return [door_settings(config, policy, one.implicit_tls, one.proxies) for one in config.listener]

    def _trust(self) -> None:
        """The CA stores that chains are tried under: the operator's bundle, and those that connectors name."""
        files = {PUBLIC: str(self._config.ca_bundle)} if self._config.ca_bundle else {}
        for mine in self.policy().organisations.values():
            files.update({one.ca_file: one.ca_file for one in mine.inbound.values() if one.enabled and one.ca_file})
        self._certificates.trust_files(files, str(self._config.delivery.crl_file or ""))

    async def look_after(self) -> None:
        """Take up new policy for as long as the worker lives."""
        while True:
            self._meters.beat(self._clock.monotonic())
            await asyncio.sleep(self.policy.pause)
            self._unlisted.keep()
            self._reports.keep()
            self._devices.keep()
            self._rules.keep()
            try:
                if await self.policy.look():
                    self._trust()
                    for door, settings in zip(self._doors, self._door_settings(), strict=True):
                        door.behave(settings)
                    self._journal.note("policy taken up", revision=self.policy().revision)
            except Exception as trouble:  # whatever is wrong with one revision, the next one must be taken up
                self._journal.alarm("policy not taken up", because=trouble)

    async def stand_in(self) -> None:
        """Accept for workers that are down: nobody waits before a door behind which there is nobody."""
        while True:
            await asyncio.sleep(_LOOK_FOR_SIBLINGS)
            down = self._table.unserved()
            for door, by_slot in zip(self._doors, self._sockets, strict=True):
                try:
                    await door.stand_in({slot: by_slot[slot] for slot in down})
                except OSError as trouble:
                    self._journal.alarm("cannot accept for a worker that is down", because=str(trouble))

    async def time_itself(self) -> None:
        """Tell the supervisor how late this worker comes to what is due, by how late it comes back here."""
        late = 0.0
        while True:
            due = self._clock.monotonic() + _TIMED
            await asyncio.sleep(_TIMED)
            late += _LAST_COUNTS * (self._clock.monotonic() - due - late)
            self._table.late(max(0.0, late))

    async def close(self) -> None:
        """Doors first, then what is under way, then the goodbyes."""
        patience = self._config.deadlines.drain
        self.spool.stop_taking()
        for door in self._doors:
            door.shut()
        for by_slot in self._sockets:
            for one in by_slot:  # those of the others too: while one process has it, the kernel takes connections
                one.close()
        await asyncio.gather(*(door.drain(patience) for door in self._doors))
        await self.delivery.close(patience)
        await self._courier.close()
        await self._verifier.close()
        if self._sts is not None:
            await self._sts.close()
        self._unlisted.keep(at_once=True)
        self._reports.keep(at_once=True)
        self._devices.keep(at_once=True)
        self._rules.keep(at_once=True)
        await self.spool.close()


def run_worker(
    config: OperatorFile,
    slot: int,
    sockets: Sequence[Sequence[socket.socket]],
    listening: Sequence[str],
    load: Path,
    ready: Ready,
) -> None:
    """A worker process; `sockets` are those of each listener by slot."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, f"worker-{slot}")
        worker = Worker(config, slot, listening, load, journal)
        gather()
        await worker.open(sockets)
        cares = (worker.look_after(), worker.stand_in(), worker.time_itself())
        caretakers = [asyncio.ensure_future(care) for care in cares]
        ready()
        await stop.wait()
        for caretaker in caretakers:
            caretaker.cancel()
        await worker.close()
        journal.close()

    run_loop(main())


def sorting_of(config: OperatorFile, network: SmtpCourier, clock: SystemClock, journal: Journal) -> Sorting:
    """Who carries: `network` to other servers, and into the mailboxes of this machine where there are any."""
    directory = config.mailboxes.directory
    return Sorting(network, MailboxCourier(directory, config.hostname, clock, journal) if directory else None)
