"""A desk over rows in a list, served on a real control socket, for tests of the command line."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lockgate.app.config import check_files, read_config
from lockgate.app.control import ControlServer
from lockgate.app.folder import read_documents
from lockgate.app.imports import RecipientImports
from lockgate.app.mailboxes import mailbox_desk
from lockgate.app.origins import settings
from lockgate.cli.asked import Places, Switchboard
from lockgate.cli.commands import main
from lockgate.flow.desk.audit import AuditDesk
from lockgate.flow.desk.directory_writes import DirectoryWrites
from lockgate.flow.desk.domains import DomainDesk
from lockgate.flow.desk.estimates import EstimateDesk
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.groups import GroupDesk
from lockgate.flow.desk.holds import HoldDesk
from lockgate.flow.desk.lists import ListDesk
from lockgate.flow.desk.mailbox_moves import MoveDesk
from lockgate.flow.desk.objects import ObjectDesk
from lockgate.flow.desk.policies import Around, PolicyDesk
from lockgate.flow.desk.queue import QueueDesk
from lockgate.flow.desk.recipients import RecipientDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.service import ServiceDesk
from lockgate.flow.desk.traces import TraceDesk
from lockgate.flow.listed import ListNotes
from lockgate.flow.revising import Revising
from lockgate.flow.unlisted import Estimate
from lockgate.mail.findings import Known, Members, Unknown, Who
from lockgate.seams import Recipients
from lockgate.testing.builders import policy_of
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.keeping import ListedKeeping
from lockgate.testing.lists import MemoryListKeeper
from lockgate.testing.recipients import MemoryRecipients
from lockgate.testing.revisions import MemoryRevisions
from policies import CONTOSO

EVIL = "\x1b[2J\x1b]0;owned\x07[bold red]x[/] \u202evil\r\nFORGED"

TASKS = [
    {"id": "m1", "task": 1, "lane": "contoso/HQ", "sender": "x@out.test", "recipients": ["ann@contoso.test"],
     "attempts": 3, "due": 1_700_000_000.0, "why": "451 4.4.1 no connection", "state": "waiting"},
    {"id": "m2", "task": 2, "lane": "contoso/mx:far.test", "sender": "bob@contoso.test", "recipients": ["y@far.test"],
     "attempts": 0, "due": 1_700_000_600.0, "why": EVIL, "state": "waiting"},
]  # fmt: skip

ROWS = [
    {"id": "m1", "received": 1_700_000_000.5, "organisation": "contoso", "sender_address": "x@out.test",
     "recipient_address": "ann@contoso.test", "subject": EVIL, "status": "Pending", "from_ip": "192.0.2.1", "to_ip": "",
     "size": 4096, "reply": EVIL, "revision": 3},
    {"id": "K2", "received": 1_700_000_001.0, "organisation": "contoso", "sender_address": "y@out.test",
     "recipient_address": "nobody@contoso.test", "status": "Refused", "from_ip": "192.0.2.2",
     "reply": "550 5.4.1 Recipient address rejected: Access denied", "revision": 3},
]  # fmt: skip


POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
edge_blocking = "observe"
vouched_by_operator = true
"""
ALARMS = [{"time": "2023-11-14T22:13:20Z", "happening": EVIL, "n": 1}]


class FixedClock:
    """A clock that stands still."""

    def now(self) -> float:
        return 1_700_010_000.0

    def monotonic(self) -> float:
        return 0.0


class DictDirectory:
    """seams.Directory over a dict."""

    def __init__(self) -> None:
        self.known: dict[str, Who] = {}
        self.broken = False

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        return Unknown("the table is damaged") if self.broken else Known(self.known.get(address), 7)

    def members_of(self, organisation: str, address: str) -> Members | Unknown:
        return Unknown("the table is damaged") if self.broken else Members((), (), 7)


class Here:
    """The desk and everything it stands on, in the open."""

    def __init__(self, folder: Path, recipients: Recipients | None = None) -> None:
        self.path = folder / "control.sock"
        self.keeping = ListedKeeping(TASKS, ROWS)
        self.directory = DictDirectory()
        self.journal = ListJournal()
        self.audit = ListAudit()
        self.recipients = recipients or MemoryRecipients()
        self.imports = RecipientImports(
            self.recipients, folder / "incoming", FixedClock(), self.journal,
            lambda by, told: self.audit.wrote(by, "recipient import", **told),
        )  # fmt: skip
        self.writes = DirectoryWrites(self.audit, self.recipients, lambda: self.names)
        self.counted: list[Estimate] = []
        self.left: dict[str, dict[str, Any]] = {}
        self.policy = policy_of(POLICY)
        self.names: tuple[str, ...] = ("contoso",)
        self.revisions = MemoryRevisions({"contoso.toml": CONTOSO})
        self.resolver = ZoneResolver()
        self.served: list[Path] = []
        self.around: Around | None = None
        revising = Revising(self.revisions, self.audit, FixedClock(), "mx.lockgate.test")
        self.lists = MemoryListKeeper()
        objects = ObjectDesk(revising, lambda: "lockgate-proof=1234", ListNotes(self.lists).of)
        self.audited: list[dict[str, Any]] = []
        self.audit_asked: list[tuple[Any, ...]] = []
        self.policies = PolicyDesk(revising, self._around)
        sections: tuple[Section, ...] = (
            AuditDesk(FixedClock(), self._audited),
            QueueDesk(self.keeping, self.audit),
            TraceDesk(self.keeping, FixedClock()),
            HoldDesk(self.keeping, self.audit, FixedClock()),
            self.policies,
            ListDesk(revising, self.audit, self.lists),
            objects,
            DomainDesk(objects, self.resolver, FixedClock()),
            RecipientDesk(self.directory, self.writes, self.imports),
            GroupDesk(self.writes),
            EstimateDesk(self.directory, FixedClock(), lambda: self.policy, lambda: self.counted),
            mailbox_desk(folder / "mail", self.directory, lambda: self.names),
            MoveDesk(self.audit, self.writes, self.keeping, lambda: self.policy, self._left, lag=0),
            ServiceDesk(self._status, lambda count: ALARMS[:count]),
        )
        self.desk = Desk(sections, self.audit, self.journal)

    async def _around(self, understood):
        return await self.around(understood) if self.around is not None else ()

    async def _audited(self, asked, since, until):
        self.audit_asked.append((asked, since, until))
        return self.audited

    async def _left(self, organisation, address):
        return self.left.get(address)

    async def _status(self):
        return {"version": "0.1.0", "listeners": ["127.0.0.1:2525"], "policy_revision": 3}

    def _serve(self, config: Path) -> int:
        self.served.append(config)
        return 0

    async def run(self, *arguments: str, control: bool = True) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of one command."""
        before = ["--control", str(self.path)] if control else []
        return await asyncio.to_thread(self._run, [*before, *arguments])

    def _run(self, arguments: list[str]) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        board = Switchboard(
            self._serve, places, lambda path: check_files(read_config(path), path), read_documents,
            lambda folder, files, hostname: 0, lambda path: (), lambda path: (), settings,
        )  # fmt: skip
        code: object = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(board, arguments)
            except SystemExit as ended:
                code = ended.code
        return int(code or 0), out.getvalue(), err.getvalue()  # type: ignore[call-overload]


def places(path: Path) -> Places:
    """What __main__ hands down."""
    found = read_config(path)
    return Places(found.hostname, found.control_socket, found.policy_directory, found.mailboxes.kept)


@contextlib.asynccontextmanager
async def desk_here(folder: Path, recipients: Recipients | None = None) -> AsyncIterator[Here]:
    """A desk that listens; over the recipients in this store if one is given."""
    here = Here(folder, recipients)
    server = ControlServer(here.desk.answer, here.path, here.journal)
    await server.open()
    try:
        yield here
    finally:
        await server.close()
