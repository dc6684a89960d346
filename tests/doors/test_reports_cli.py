"""`lockgate reports`: tables of what strangers say, harmless on a terminal, and exit codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doors.desk_here import EVIL, FixedClock, Here
from lockgate.app.control import ControlServer
from lockgate.app.reports import ReportOffice
from lockgate.flow.asking import Kind, ReportImport, ReportList, ReportSend, ReportSummary
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.reports import ReportDesk
from lockgate.flow.desk.rights import ROLE_GROUPS, Caller
from lockgate.mail.reports.aggregate import AggregateReport, Checked, Published, Row, write_aggregate
from lockgate.mail.reports.carried import Reading
from lockgate.mail.reports.failure import FailureReport
from lockgate.mail.reports.tls import TlsFailure, TlsPolicy, TlsReport
from lockgate.storage.report_schema import report_file
from lockgate.storage.report_shelf import Shelf
from lockgate.testing.builders import policy_of

ROWS = (
    Row("192.0.2.1", 3, "none", "pass", "fail", "d.test", EVIL, reasons=((EVIL, EVIL),),
        signatures=(Checked(EVIL, EVIL, EVIL),), senders=(Checked("d.test", "fail"),)),
    Row("192.0.2.2", 2, "reject", "fail", "fail", EVIL),
)  # fmt: skip
REPORT = AggregateReport(EVIL, EVIL, EVIL, 1_700_000_000, 1_700_086_399, Published("d.test"), ROWS, contact=EVIL)
FAILURE = FailureReport("far.test", "<1@far.test>", "auth-failure", EVIL, "192.0.2.9", headers=((EVIL, EVIL),))
TLS = TlsReport(
    EVIL, "t", EVIL, EVIL, EVIL, (TlsPolicy("d.test", "sts", 7, 1, (TlsFailure(EVIL, 1, EVIL, EVIL, EVIL, EVIL),)),)
)
POLICY = '[[organisation]]\nname = "contoso"\n'


class Reports(Here):
    """A desk that knows of reports only."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shelf = Shelf(report_file(folder / "reports"))
        policy = policy_of(POLICY)

        def no_queue():
            raise AssertionError("nothing is sent in these tests")

        office = ReportOffice(folder / "reports", lambda: policy, FixedClock(), self.journal, self.resolver, no_queue)
        section = ReportDesk(office, self.audit, FixedClock(), lambda: ("contoso",))
        self.desk = Desk((section,), self.audit, self.journal)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Reports]:
    found = Reports(tmp_path)
    server = ControlServer(found.desk.answer, found.path, found.journal)
    await server.open()
    yield found
    await server.close()


def harmless(text: str) -> None:
    assert "\x1b" not in text and "\u202e" not in text and "\r" not in text
    assert not [line for line in text.splitlines() if line.startswith("FORGED")]


async def test_hostile_words_do_no_harm(here: Reports) -> None:
    numbers = [
        here.shelf.add("contoso", reading, 1_700_000_000.0, EVIL)
        for reading in (Reading(aggregate=REPORT), Reading(failure=FAILURE), Reading(tls=TLS))
    ]
    here.shelf.unread("contoso", 1_700_000_000.0, EVIL, EVIL)
    shown = [("list",), ("list", "--unread"), ("dmarc",), ("tls",), *[("show", str(number)) for number in numbers]]
    for words in shown:
        code, out, err = await here.run("reports", *words)
        assert code == 0, (words, err)
        assert out
        harmless(out)
        code, out, _ = await here.run("reports", *words, "--json")
        assert code == 0
        assert out.isascii()
        json.loads(out)


async def test_tables(here: Reports) -> None:
    here.shelf.add("contoso", Reading(aggregate=REPORT), 1_700_000_000.0, "message m")
    _, out, _ = await here.run("reports", "list")
    head, row = out.splitlines()
    assert head.split()[:3] == ["NUMBER", "KIND", "ABOUT"]
    assert "2023-11-14 22:13:20Z" in row and "aggregate  d.test" in row
    _, out, _ = await here.run("reports", "dmarc", "--domain", "d.test", "--result", "pass")
    assert out.splitlines()[1].split()[:4] == ["d.test", "192.0.2.1", "pass", "3"]
    _, out, _ = await here.run("reports", "show", "1", "--limit", "1")
    assert "1 more rows are not shown" in out


async def test_nothing_is_a_finding_and_nonsense_is_misuse(here: Reports) -> None:
    for words in (("list",), ("list", "--sent"), ("dmarc",), ("tls", "--own"), ("show", "7"), ("show", "20000.abc")):
        assert (await here.run("reports", *words))[0] == 1, words
    for words in (
        ("list", "--kind", "x"), ("dmarc", "--result", "maybe"), ("dmarc", "--source", "here"),
        ("list", "--since", "soon"), ("send", "--day", "today"), ("list", "--organisation", "nobody"),
    ):  # fmt: skip
        assert (await here.run("reports", *words))[0] == 2, words
    assert (await here.run("reports", "send", "--domain", "d.test"))[0] == 1


async def test_import_says_what_became_of_each_file(here: Reports, tmp_path: Path) -> None:
    good, bad, gone = tmp_path / "good.xml", tmp_path / "bad.gz", tmp_path / "gone.eml"
    good.write_bytes(write_aggregate(REPORT, "x"))
    bad.write_bytes(b"\x1f\x8b nonsense")
    code, out, _ = await here.run("reports", "import", "--what-if", str(good))
    assert code == 0 and "would be kept" in out
    assert here.shelf.find() == []
    code, out, _ = await here.run("reports", "import", str(good), str(bad), str(gone))
    assert code == 1
    first, second, third = out.splitlines()
    assert "about d.test, 5 messages: number" in first
    assert "not read: it cannot be unpacked" in second
    assert "not read:" in third
    harmless(out)
    code, out, _ = await here.run("reports", "import", str(good), "--json")
    assert code == 0
    assert json.loads(out)["reports"][0]["known"] is True


@pytest.mark.parametrize(
    ("group", "looks", "writes"),
    [
        ("OrganizationManagement", True, True), ("SecurityAdministrator", True, True), ("SecurityReader", True, False),
        ("MailFlowAdministrator", True, False), ("ViewOnlyOrganizationManagement", True, False),
        ("HelpDesk", False, False),
    ],
)  # fmt: skip
async def test_rights(here: Reports, group: str, looks: bool, writes: bool) -> None:
    caller = Caller("1 ann", ROLE_GROUPS[group])
    for request in (ReportList(), ReportSummary()):
        assert ((await here.desk.answer(request, caller)).kind == Kind.FORBIDDEN) is not looks
    for request in (ReportImport("x", "", what_if=True), ReportSend(day="2023-11-14", what_if=True)):
        assert ((await here.desk.answer(request, caller)).kind == Kind.FORBIDDEN) is not writes
