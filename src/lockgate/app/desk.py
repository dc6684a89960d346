"""The desk process: its control socket, what it watches, and what its sections are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockgate.app.audit import JournalAudit
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.control import ControlServer
from lockgate.app.discreet import DiscreetJournal, trace_key
from lockgate.app.explaining import CompiledRevisions, presented
from lockgate.app.journal import recent_alarms
from lockgate.app.mailboxes import mailbox_desk
from lockgate.app.policies import PolicyInForce
from lockgate.app.policy_desk import policy_sections
from lockgate.app.recipients import RecipientLists
from lockgate.app.watch import Watch, ends_of
from lockgate.app.wiring import Ready, journal_of, policies_of, privacy_of, run_loop, stop_signal
from lockgate.flow.desk.explain import ExplainDesk, Revisions
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.holds import HoldDesk
from lockgate.flow.desk.queue import QueueDesk
from lockgate.flow.desk.recipients import RecipientDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.service import ServiceDesk
from lockgate.flow.desk.traces import TraceDesk
from lockgate.flow.privacy import Privacy
from lockgate.flow.recipients import Entry
from lockgate.seams import Journal
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.kept import write_kept


def run_desk(config: OperatorFile, listening: Sequence[str], ready: Ready) -> None:
    """The desk process: the control socket."""

    async def main() -> None:
        stop = stop_signal()
        plain = journal_of(config, "desk")
        policy = PolicyInForce(policies_of(config), lambda why: plain.alarm("policy not taken up", because=why))
        privacy = privacy_of(config, policy)
        journal = DiscreetJournal(plain, privacy.redactor)
        compiled = CompiledRevisions(policies_of(config))
        desk = desk_of(config, listening, journal, privacy, compiled)
        wishes = asyncio.ensure_future(_pass_wishes_on(config.kept_file, policy, privacy, journal))
        control = ControlServer(
            desk.answer,
            config.control_socket,
            journal,
            mode=int(config.control.mode, 8),
            group=config.control.group,
        )
        await control.open()
        watch = asyncio.ensure_future(watch_of(config, journal).run())
        warm = asyncio.ensure_future(compiled.keep_warm(lambda why: journal.alarm("no policy to explain", because=why)))
        ready()
        await stop.wait()
        watch.cancel()
        warm.cancel()
        wishes.cancel()
        await control.close()
        plain.close()

    run_loop(main())


async def _pass_wishes_on(path: Path, policy: PolicyInForce, privacy: Privacy, journal: Journal) -> None:
    """Tell the keeper what each organisation keeps of its trace, now and whenever the policy changes."""
    changed = True
    while True:
        if changed:
            try:
                await asyncio.to_thread(write_kept, path, privacy.wishes())
            except OSError as trouble:
                journal.alarm("what is kept of the trace cannot be passed on", because=str(trouble))
        await asyncio.sleep(policy.pause)
        changed = await policy.look()


def watch_of(config: OperatorFile, journal: Journal) -> Watch:
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
    config: OperatorFile, listening: Sequence[str], journal: Journal, privacy: Privacy, compiled: CompiledRevisions
) -> Desk:
    """Everything a face may ask of this installation."""
    clock = SystemClock()
    policies = policies_of(config)
    key = trace_key(config.trace_key_file)
    keeping = KeeperKeeping(config.state_directory, discretion=privacy.redactor, key=key)
    lists = RecipientLists(config.recipients_directory)

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

    async def store(organisation: str, entries: Sequence[Entry]) -> int:
        return await asyncio.to_thread(lists.replace, organisation, entries)

    def organisations() -> tuple[str, ...]:
        return tuple(policies.compile(policies.in_force(), advise=False).organisations)

    audit = JournalAudit(journal)
    directory = DirectoryTable(lists.table, clock)
    revisions = Revisions(compiled.in_force, compiled.at, compiled.draft)
    sections: tuple[Section, ...] = (
        QueueDesk(keeping, audit),
        TraceDesk(keeping, clock),
        HoldDesk(keeping, audit, clock),
        *policy_sections(config, policies, audit, clock),
        ExplainDesk(keeping, revisions, directory, clock, presented(config.ca_bundle), config.mark),
        RecipientDesk(directory, audit, store, organisations),
        mailbox_desk(config.mailboxes.directory, directory, organisations),
        ServiceDesk(status, lambda count: recent_alarms(config.alarm_file, count)),
    )
    return Desk(sections, audit, journal)
