"""rule stats and shadow at the terminal: figures for people and as JSON, codes, and harmless whatever a name says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doors.desk_here import EVIL, FixedClock, Here
from lockgate.app.control import ControlServer
from lockgate.app.policies import read_documents
from lockgate.cli.asked import Switchboard
from lockgate.flow.compared import Compared, Example
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.policies import PolicyDesk
from lockgate.flow.desk.rule_stats import RuleStatsDesk
from lockgate.flow.desk.shadow import ShadowDesk
from lockgate.flow.revising import Revising
from lockgate.flow.shadow import Draft, ShadowTally
from lockgate.mail.rule_hits import RuleHits, RuleMode
from lockgate.seams import Overtaken
from lockgate.testing.builders import policy_of
from policies import CONTOSO

AT = 1_700_000_000.0
RULE = '[[mail_flow_rule]]\nname = "Watch"\nmode = "audit"\nsubject_contains_words = ["x"]\ndelete_message = true\n'


class MemoryShelf:
    """A flow.desk.shadow.Shelf in memory."""

    def __init__(self) -> None:
        self.kept: Draft | None = None
        self.found: ShadowTally | None = None

    def draft(self) -> Draft | None:
        return self.kept

    def put(self, draft: Draft) -> None:
        self.kept = draft

    def clear(self) -> None:
        self.kept = self.found = None

    def tally(self) -> ShadowTally | None:
        return self.found


class Watched(Here):
    """The desk's sections over memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shelf = MemoryShelf()
        self.hits: list[RuleHits] = []
        self.policy = policy_of(CONTOSO + RULE)
        revising = Revising(self.revisions, self.audit, FixedClock(), "mx.lockgate.test")
        sections = (
            PolicyDesk(revising, self._around),
            ShadowDesk(revising, self.shelf, self.audit, FixedClock()),
            RuleStatsDesk(self._counted, lambda: self.policy),
        )
        self.desk = Desk(sections, self.audit, self.journal)

    async def _counted(self) -> list[RuleHits]:
        return self.hits


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    def board(*given) -> Switchboard:
        return Switchboard(*given)._replace(read_documents=read_documents)

    monkeypatch.setattr("doors.desk_here.Switchboard", board)
    watched = Watched(tmp_path)
    server = ControlServer(watched.desk.answer, watched.path, watched.journal)
    await server.open()
    try:
        yield watched
    finally:
        await server.close()


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.fixture
def draft(tmp_path: Path) -> str:
    folder = tmp_path / "draft"
    folder.mkdir()
    (folder / "contoso.toml").write_text(CONTOSO + RULE)
    return str(folder)


async def test_hits_are_told_of_rules_there_are_and_of_those_that_are_no_more(here: Watched) -> None:
    here.hits = [
        RuleHits("contoso", "Watch", RuleMode.AUDIT, 3, 5, 1, AT, AT, 4, 10_000, [(AT, "m1"), (AT + 1, "m2")]),
        RuleHits("contoso", EVIL, RuleMode.ENFORCED, 2, 2, 0, AT, AT + 60, 0, 0, [(AT, EVIL)]),
    ]
    code, out, _ = await here.run("rule", "stats")
    assert code == 0 and harmless(out)
    head, watch, gone = out.splitlines()
    assert head.split()[:4] == ["ORGANISATION", "NAME", "STATE", "MODE"]
    assert watch.split() == ["contoso", "Watch", "enabled", "audit", "0", "(0)", "3", "(5)", "1",
                             "2023-11-14T22:13:20Z", "2.5"]  # fmt: skip
    assert "no more" in gone and "2 (2)" in gone
    code, out, _ = await here.run("rule", "stats", "Watch")
    assert [line.split()[-1] for line in out.splitlines()[-2:]] == ["m2", "m1"]
    code, out, _ = await here.run("rule", "stats", "Watch", "--json")
    (row,) = json.loads(out)
    assert row["hits"] == 3 and row["audit"] == {"messages": 3, "recipients": 5} and row["microseconds"] == 2.5
    code, _, err = await here.run("rule", "stats", "--organisation", "Contoso")
    assert code == 2 and "There is no organisation 'Contoso'; there are contoso" in err


async def test_a_draft_is_begun_shown_and_stopped(here: Watched, draft: str) -> None:
    for arguments in (("show",), ("stop",), ("promote",)):
        code, _, err = await here.run("shadow", *arguments)
        assert code == 1 and "no draft is in the shadow" in err.casefold()
    code, out, _ = await here.run("shadow", "start", "--policy", draft, "--what-if")
    assert code == 0 and "nothing was begun" in out and here.shelf.kept is None
    code, out, _ = await here.run("shadow", "start", "--policy", draft, "--share", "10%", "--note", "try")
    assert code == 0 and "+ mail_flow_rule 'Watch'" in out and "for 10 % of the mail" in out
    assert here.shelf.kept is not None and (here.shelf.kept.share, here.shelf.kept.note) == (0.1, "try")
    code, out, _ = await here.run("shadow", "show")
    assert code == 0 and "nothing would have gone otherwise" in out
    compared = Compared(messages=2, recipients=2)
    compared.change(f"leaves {EVIL}", "dropped: rule Watch", "k", EVIL, Example(EVIL, EVIL))
    compared.rule("contoso", EVIL).newly += 1
    here.shelf.found = ShadowTally(here.shelf.kept.at, 5, 0, AT, 18, 3, "", compared)
    code, out, _ = await here.run("shadow", "show")
    assert code == 1 and harmless(out)
    assert "1 recipient would have fared otherwise" in out and "passed over, too busy  3" in out
    told = json.loads((await here.run("shadow", "show", "--json"))[1])
    assert (told["passed"], told["dropped"], told["changed"]) == (18, 3, 1)
    assert (await here.run("shadow", "stop", "--what-if"))[0] == 0 and here.shelf.kept is not None
    assert (await here.run("shadow", "stop"))[0] == 0 and here.shelf.kept is None
    assert [row["did"] for row in here.audit.rows] == ["shadow start", "shadow stop"]


@pytest.mark.parametrize("share", ["0%", "101%", "-5%", "most", "0"])
async def test_a_share_that_is_none_is_misuse(here: Watched, draft: str, share: str) -> None:
    code, _, err = await here.run("shadow", "start", "--policy", draft, "--share", share)
    assert code == 2 and "share" in err and here.shelf.kept is None


async def test_a_draft_with_mistakes_is_not_begun(here: Watched, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "a.toml").write_text('[[organisation]]\nname = "contoso"\ncolour = "red"\n')
    code, _, err = await here.run("shadow", "start", "--policy", str(tmp_path / "wrong"))
    assert code == 1 and "a.toml:3: organisation[0].colour" in err and here.shelf.kept is None


async def test_promote_is_an_apply_of_the_very_draft(here: Watched, draft: str) -> None:
    await here.run("shadow", "start", "--policy", draft, "--note", "because")
    code, out, _ = await here.run("shadow", "promote", "--what-if")
    assert code == 0 and "Nothing was changed" in out and here.shelf.kept is not None
    Path(draft, "contoso.toml").write_text("edited since")
    code, out, _ = await here.run("shadow", "promote")
    assert code == 0 and "is in force" in out and here.shelf.kept is None
    revision = here.revisions.in_force()
    assert revision.files == {"contoso.toml": CONTOSO + RULE} and revision.reason == "because"


async def test_what_was_changed_meanwhile_is_not_undone_unasked(here: Watched, draft: str) -> None:
    await here.run("shadow", "start", "--policy", draft)
    other = Path(draft).with_name("other")
    other.mkdir()
    (other / "contoso.toml").write_text(CONTOSO + RULE.replace("Watch", "Other"))
    assert (await here.run("apply", str(other)))[0] == 0
    number = here.revisions.in_force().number
    code, _, err = await here.run("shadow", "promote")
    assert code == 1 and f"revision {number} is in force" in err.casefold() and "--expect" in err
    code, _, err = await here.run("shadow", "promote", "--expect", "77")
    assert code == 1 and "not 77" in err and here.shelf.kept is not None
    assert (await here.run("shadow", "promote", "--expect", str(number)))[0] == 0
    assert here.revisions.in_force().files["contoso.toml"] == CONTOSO + RULE


async def test_two_who_begin_at_once_do_not_get_in_each_others_way(here: Watched, draft: str) -> None:
    answers = await asyncio.gather(*(here.run("shadow", "start", "--policy", draft) for _ in range(3)))
    assert sorted(code for code, _, _ in answers) == [0, 1, 1]
    assert [row["did"] for row in here.audit.rows] == ["shadow start"] and here.shelf.kept is not None


async def test_edits_by_hand_are_no_reason_to_say_that_another_revision_is_expected(
    here: Watched, draft: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.run("shadow", "start", "--policy", draft)

    def edited(*_: object, **__: object) -> None:
        raise Overtaken("the documents were edited by hand")

    monkeypatch.setattr(here.revisions, "put", edited)
    code, _, err = await here.run("shadow", "promote")
    assert code == 1 and "edited by hand" in err and "--expect" not in err
