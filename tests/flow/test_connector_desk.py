"""`connector validate` at the desk: who may, what is asked for, what is kept and noted."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.flow.asking import ConnectorValidate, Kind
from lockgate.flow.departure import Departure
from lockgate.flow.desk.connectors import ConnectorDesk
from lockgate.flow.desk.explain import Revisions
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.rights import ROLE_GROUPS, Caller
from lockgate.flow.hops import Pool, plan
from lockgate.flow.settle import local_answers
from lockgate.flow.validated import ValidationNotes, fingerprint
from lockgate.flow.validating import Validating
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.validation import StepName, Validation, failed, passed
from lockgate.policy.compile import compile_policy, understand
from lockgate.testing.clock import HandClock
from lockgate.testing.courier import RecordingCourier
from lockgate.testing.examining import ListedExaminer, MemoryValidations
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.memory import MemoryDirectory

POLICY = """
[[organisation]]
name = "contoso"
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
domain_name = "contoso.com"
organisation = "contoso"
vouched_by_operator = true
[[outbound_connector]]
name = "HQ"
organisation = "contoso"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["hq.contoso.com"]
validation_recipients = ["written@contoso.com"]
[[outbound_connector]]
name = "Twice"
organisation = "contoso"
recipient_domains = ["x.example"]
[[outbound_connector]]
name = "Twice"
organisation = "fabrikam"
recipient_domains = ["x.example"]
"""
POOLS = {"default": Pool("default", "", "", "out.lockgate.test")}
FAILED = failed(StepName.DIAL, "no answer", "See that it runs.", server="hq[192.0.2.1]:25")


class Here:
    def __init__(self, *steps: Any) -> None:
        self.look = ListedExaminer(steps)
        self.kept = MemoryValidations()
        self.audit, self.journal = ListAudit(), ListJournal()
        clock = HandClock(1_800_000_000.0)
        validating = Validating(
            self.look, RecordingCourier, lambda policy, route: plan(policy, route, POOLS, str), Departure(()).dress,
            local_answers(MemoryDirectory({})), clock, lambda: "id-1",
        )  # fmt: skip

        async def in_force() -> Any:
            return compile_policy({"p.toml": POLICY}, hostname="mx.test", revision=7)

        async def at(number: int) -> Any:
            raise AssertionError("no earlier revision is asked for")

        async def draft(files: Any) -> Any:
            return compile_policy(files, hostname="mx.test", revision=0)

        desk = ConnectorDesk(
            Revisions(in_force, at, draft), validating, self.kept, self.audit, clock, self.journal
        )
        self.desk = Desk((desk,), self.audit, self.journal)

    async def ask(self, *args: Any, group: str = "MailFlowAdministrator", **more: Any) -> Any:
        return await self.desk.answer(ConnectorValidate(*args, **more), Caller("7 ann", ROLE_GROUPS[group]))


async def test_who_may_change_connectors_may_validate_them() -> None:
    here = Here(FAILED)
    for group in ROLE_GROUPS:
        answer = await here.ask("HQ", ("a@contoso.com",), group=group)
        may = group in ("OrganizationManagement", "MailFlowAdministrator")
        assert (answer.kind == Kind.OK) is may, group
        if not may:
            assert answer.kind == Kind.FORBIDDEN and "domains_and_connectors" in answer.sentence


async def test_a_failure_is_an_answer_and_is_kept_and_noted() -> None:
    here = Here(FAILED)
    answer = await here.ask("hq", ("a@contoso.com",))
    assert answer.kind == Kind.OK and answer.result["success"] is False and answer.result["kept"] is True
    kept = here.kept.last("contoso", "HQ")
    assert (kept.by, kept.at, kept.policy, kept.success) == ("7 ann", 1_800_000_000.0, "revision 7", False)
    assert kept.sender == "connectorvalidation@contoso.com" and FAILED in kept.steps
    (row,) = [one for one in here.audit.rows if one["did"] == "connector validate"]
    assert row["by"] == "7 ann" and "no answer" in str(row)


async def test_whom_to_send_to() -> None:
    here = Here(FAILED)
    assert (await here.ask("HQ")).result["recipients"] == ["written@contoso.com"], "whom the documents name"
    await here.ask("HQ", ("a@contoso.com", "a@contoso.com", "<b@contoso.com>"))
    assert (await here.ask("HQ")).result["recipients"] == ["a@contoso.com", "b@contoso.com"], "those of the last time"
    for wrong in (("no address",), tuple(f"a{n}@contoso.com" for n in range(21))):
        assert (await here.ask("HQ", wrong)).kind == Kind.MISUSE
    assert (await here.ask("Twice", ("a@x.example",))).kind == Kind.MISUSE, "of two organisations"
    assert (await here.ask("Twice", ("a@x.example",), organisation="fabrikam")).kind == Kind.OK
    assert (await here.ask("Twice", ("a@x.example",), organisation="nobody")).kind == Kind.MISUSE
    assert (await here.ask("None", ("a@x.example",))).kind == Kind.FINDING
    answer = await here.ask("HQ", ("a@contoso.com",), sender="<>")
    assert answer.result["sender"] == "" and here.look.examined[-1][1].sender is None
    assert (await here.ask("HQ", ("a@contoso.com",), sender="no address")).kind == Kind.MISUSE


async def test_a_draft_with_mistakes_and_a_dry_run_leave_nothing_behind() -> None:
    here = Here(FAILED)
    answer = await here.ask("HQ", ("a@contoso.com",), documents={"a.toml": "nonsense = 1"})
    assert answer.kind == Kind.FINDING and answer.result["problems"][0]["file"] == "a.toml"
    answer = await here.ask("HQ", ("a@contoso.com",), what_if=True)
    assert answer.kind == Kind.OK and here.look.examined == []
    assert here.kept.kept == {} and not [one for one in here.audit.rows if one["did"] == "connector validate"]


async def test_a_result_that_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(FAILED)

    def full(validation: Validation) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(here.kept, "put", full)
    answer = await here.ask("HQ", ("a@contoso.com",))
    assert answer.kind == Kind.UNREACHABLE and "no space left" in answer.sentence and "no answer" in answer.sentence


def test_what_is_shown_beside_the_documents() -> None:
    documents = understand({"p.toml": POLICY}, hostname="mx.test", revision=1).documents
    written = next(one for one in documents.outbound if one.value.name == "HQ")
    store = MemoryValidations()
    notes = ValidationNotes(store)
    assert notes.of(written) == {}
    print_ = fingerprint(written.value)
    good = Validation("contoso", "HQ", 1e9, "7 ann", True, "", ("a@b.test",), True, "revision 7", print_, ())
    store.put(good)
    row = notes.of(written)
    assert row["is_validated"] is True and row["last_validation_timestamp"] == "2001-09-09T01:46:40Z"
    assert row["validation_recipients"] == ["a@b.test"] and row["validation"]["stale"] is False
    comment = written.value.model_copy(update={"comment": "for people", "is_validated": True})
    assert fingerprint(comment) == print_, "what changes nothing about mail leaves the result as it is"
    for change in ({"smart_hosts": ("other.test",)}, {"tls_settings": TlsLevel.ENCRYPTION_ONLY}, {"enabled": False}):
        assert fingerprint(written.value.model_copy(update=change)) != print_
    moved = Validation("contoso", "HQ", 1e9, "7 ann", True, "", ("a@b.test",), True, "revision 7", "else", (
        passed(StepName.SCOPE, "x"),))  # fmt: skip
    store.put(moved)
    assert notes.of(written)["is_validated"] is False and notes.of(written)["validation"]["stale"] is True
    inbound = an_inbound_connector()
    assert notes.of(inbound) == {}


def an_inbound_connector() -> Any:
    text = '[[organisation]]\nname = "c"\n[[inbound_connector]]\nname = "In"\nsender_domains = ["x.test"]\n'
    return understand({"p.toml": text}, hostname="mx.test", revision=1).documents.inbound[0]
