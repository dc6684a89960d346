"""The one place that knows every class: what each process of the service is made of."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, resolvers
from lockgate.app.estimates import PAUSE, Estimates
from lockgate.app.journal import LineJournal, start_journal
from lockgate.app.policies import Policies, PolicyInForce
from lockgate.couriers.settings import CourierSettings, Patience
from lockgate.couriers.smtp import SmtpCourier
from lockgate.couriers.verify import SmtpVerifier
from lockgate.decision.judge import judge
from lockgate.edge.certificates import PUBLIC, CertificateFiles, Certificates
from lockgate.edge.listener import Door
from lockgate.edge.load import LoadTable
from lockgate.edge.settings import DoorSettings
from lockgate.flow.bounce import Bounce
from lockgate.flow.commit import Commit
from lockgate.flow.delivery import Carriage, Delivery
from lockgate.flow.hops import Pool, plan
from lockgate.flow.inquire import Inquiries
from lockgate.flow.intake import Reception
from lockgate.flow.reconsider import Reconsider
from lockgate.flow.retry import Schedule
from lockgate.flow.settle import Ask, Judge, local_answers
from lockgate.mail.facts import Facts
from lockgate.mail.identity import network_id
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Verdict
from lockgate.policy.policy import Policy
from lockgate.probes.directory.callout import NextHopCallout
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.storage.client import KeeperSpool, SpoolSettings
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeper import KeeperSettings
from lockgate.storage.keeper import serve as keep
from lockgate.storage.lanes import Pace
from lockgate.storage.recipients import RecipientStore

Ready = Callable[[], None]


def journal_of(config: OperatorFile, role: str) -> LineJournal:
    """The journal of one process."""
    log = config.log
    return start_journal(
        SystemClock(), role=role, form=log.format, destination=log.destination, alarms=config.alarm_file
    )


def policies_of(config: OperatorFile) -> Policies:
    """The published revisions of this installation."""
    return Policies(config.state_directory / "policy", config.hostname)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run the life of one process in its loop."""
    # Mail makes no cycles; looking for them after every 700 objects would cost a tenth of a message.
    gc.set_threshold(50_000, 20, 100)
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
        kept = asyncio.ensure_future(keep(settings, SystemClock(), journal, stop))
        await _once_there(config.run_directory / "keeper.sock", kept)
        if not kept.done():
            ready()
        try:
            await kept
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
        journal: LineJournal,
        judge_with: Judge = judge,
    ) -> None:
        self._config = config
        self._clock = clock = SystemClock()
        self._journal = journal
        self.policy = PolicyInForce(
            policies_of(config), lambda why: journal.alarm("policy not taken up", because=why)
        )
        self._recorder = Recorder()
        self.spool = KeeperSpool(SpoolSettings(config.state_directory, slot), clock, journal)
        self._ask = local_answers(DirectoryTable(RecipientStore(config.recipients_directory).table, clock))
        settings = courier_settings(config, listening)
        resolver = DnsResolver(resolvers(config), clock, timeout=config.dns.timeout)
        self._courier = SmtpCourier(resolver, settings, clock, journal)
        self._verifier = SmtpVerifier(resolver, settings, clock)
        pools = pools_of(config)
        self._inquire = Inquiries(
            lambda policy, route: plan(policy, route, pools, read_secret),
            NextHopCallout(self._verifier, clock, journal, lambda: f"lockgate-{secrets.token_hex(8)}"),
        )
        self._slot = slot
        self._estimates = Estimates(config.recipients_directory / "unlisted")
        self._counter = self._estimates.counter(slot)
        self._counted_at = 0.0
        self._load = LoadTable(load, slot, config.worker_count)
        self._certificates = certificates_of(config, journal)
        self._judge = judge_with
        self.delivery = self._delivery(self._ask)
        self._doors: list[Door] = []

    def _delivery(self, ask: Ask) -> Delivery:
        config, clock, journal = self._config, self._clock, self._journal
        schedule = Schedule(config.retry_steps, config.delivery.message_life, config.delivery.delay_notice)
        pools = pools_of(config)
        bounce = Bounce(
            spool=self.spool,
            ask=ask,
            recorder=self._recorder,
            clock=clock,
            journal=journal,
            new_id=self._new_id,
            take=lambda tasks: self.delivery.take(tasks),
            installation=config.mark,
            life=config.delivery.report_life,
        )
        reconsider = Reconsider(self.policy, self._judge, ask, self.spool, self._recorder, self._inquire)
        return Delivery(
            Carriage(
                spool=self.spool,
                courier=self._courier,
                policy=self.policy,
                plan=lambda policy, route: plan(policy, route, pools, read_secret),
                bounce=bounce,
                reconsider=reconsider,
                schedule=schedule,
                clock=clock,
                journal=journal,
            )
        )

    def _new_id(self) -> str:
        return network_id(secrets.token_bytes(10), self._clock.now())

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
            commit=Commit(self._recorder, life, config.delivery.first_retry),
            recorder=self._recorder,
            clock=self._clock,
            journal=self._journal,
            new_id=self._new_id,
            take=self.delivery.take,
            installation=config.mark,
            inquire=self._inquire,
            unlisted=self._unlisted,
        )

    def _unlisted(self, policy: Policy, facts: Facts, verdict: Verdict) -> None:
        """Count a recipient whom edge blocking would refuse; at the step "estimate" the log tells of each."""
        standing, sender = verdict.standing, facts.envelope.sender_text if facts.envelope is not None else ""
        recipient = verdict.recipient.original
        domain = policy.accepted(recipient.domain)
        self._counter.note(
            standing.organisation, standing.accepted_domain, recipient.key, sender, self._clock.now()
        )
        if domain is not None and domain.edge_blocking == "estimate":
            self._journal.note("would be refused", id=facts.connection.id, sender=sender, recipient=recipient.text)

    def _keep_counts(self) -> None:
        now = self._clock.monotonic()
        if now - self._counted_at < PAUSE:
            return
        self._counted_at = now
        try:
            self._estimates.keep(self._slot, self._counter)
        except OSError as trouble:
            self._journal.note("counts of edge blocking not kept", because=str(trouble))

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Connect to the keeper, then let people in."""
        self.spool.receive_with(self.delivery.take)
        self._trust()
        await self.spool.open()
        reception = self.reception()
        for listener, one in zip(self._config.listener, sockets, strict=True):
            settings = door_settings(self._config, self.policy(), listener.implicit_tls, listener.proxies)
            door = Door(
                (one,), settings, reception.visit, self._certificates, self._load, self._journal, self._clock
            )
            await door.open()
            self._doors.append(door)

    def _trust(self) -> None:
        """The CA stores that chains are tried under: the operator's bundle, and those that connectors name."""
        files = {PUBLIC: str(self._config.ca_bundle)} if self._config.ca_bundle else {}
        for mine in self.policy().organisations.values():
            files.update({one.ca_file: one.ca_file for one in mine.inbound.values() if one.enabled and one.ca_file})
        self._certificates.trust_files(files)

    async def look_after(self) -> None:
        """Take up new policy for as long as the worker lives."""
        while True:
            await asyncio.sleep(self.policy.pause)
            self._keep_counts()
            if self.policy.look():
                self._trust()
                self._journal.note("policy taken up", revision=self.policy().revision)

    async def close(self) -> None:
        """Doors first, then what is under way, then the goodbyes."""
        patience = self._config.deadlines.drain
        self.spool.stop_taking()
        await asyncio.gather(*(door.drain(patience) for door in self._doors))
        await self.delivery.close(patience)
        await self._courier.close()
        await self._verifier.close()
        self._counted_at = 0.0
        self._keep_counts()
        await self.spool.close()


def run_worker(
    config: OperatorFile,
    slot: int,
    sockets: Sequence[socket.socket],
    listening: Sequence[str],
    load: Path,
    ready: Ready,
) -> None:
    """A worker process."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, f"worker-{slot}")
        worker = Worker(config, slot, listening, load, journal)
        await worker.open(sockets)
        caretaker = asyncio.ensure_future(worker.look_after())
        ready()
        await stop.wait()
        caretaker.cancel()
        await worker.close()
        journal.close()

    run_loop(main())


def certificates_of(config: OperatorFile, journal: LineJournal) -> Certificates:
    """The certificates we show."""
    return Certificates([CertificateFiles(str(one.chain), str(one.key)) for one in config.certificate], journal)


def door_settings(config: OperatorFile, policy: Policy, implicit_tls: bool, proxies: Sequence[str]) -> DoorSettings:
    """How one listener behaves."""
    deadlines = config.deadlines
    return DoorSettings(
        hostname=config.hostname,
        size_limit=policy.limits.message_size,
        implicit_tls=implicit_tls,
        proxies=tuple(proxies),
        max_errors=policy.limits.errors_per_connection,
        proxy_timeout=deadlines.handshake,
        handshake_timeout=deadlines.handshake,
        command_timeout=deadlines.command,
        data_timeout=deadlines.whole_message,
        rate_window=min(60.0, deadlines.data),
        min_rate=float(deadlines.minimum_rate),
    )


def courier_settings(config: OperatorFile, listening: Sequence[str]) -> CourierSettings:
    """What all next hops have in common."""
    delivery = config.delivery
    reply = delivery.reply_timeout
    return CourierSettings(
        mx_port=delivery.mx_port,
        ca_bundle=str(config.ca_bundle or ""),
        allowed=config.outgoing.allow,
        own_names=(config.hostname,),
        own_addresses=tuple(listening),
        patience=Patience(
            connect=delivery.connect_timeout,
            greeting=reply,
            hello=reply,
            handshake=min(60.0, reply),
            login=min(120.0, reply),
            mail=reply,
            rcpt=reply,
            data=min(120.0, reply),
            block=min(180.0, reply),
            final=delivery.data_timeout,
            idle=delivery.idle_connection,
        ),
    )


def pools_of(config: OperatorFile) -> Mapping[str, Pool]:
    """Source addresses and names for outgoing mail, the first one first."""
    return {
        one.name: Pool(one.name, one.source_address_v4, one.source_address_v6, one.helo_name or config.hostname)
        for one in config.pool
    }


def read_secret(reference: str) -> str:
    """The secret behind "file:PATH" or "env:NAME". Raises OSError or KeyError when it is not there."""
    scheme, _, where = reference.partition(":")
    if scheme == "env":
        return os.environ[where]
    return Path(where).read_text("utf-8").rstrip("\r\n")
