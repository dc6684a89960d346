"""Conditions about all recipients on the running service: what is recorded of one refused copy, and every question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peers.contoso import contoso, mail_users
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@outside.example"
ANA, BEN, CARL = (f"{name}@contoso.com" for name in ("ana", "ben", "carl"))
RULES = """
[[mail_flow_rule]]
name = "Board"
either = [
  {subject_contains_words = ["minutes"], any_of_recipient_address_contains_words = ["ana"]},
  {subject_contains_words = ["agenda"]},
]
except_if_either = [{sender_ip_ranges = ["192.0.2.77"]}]
reject_message = {reason_text = "Not to the board"}
"""
HIT = "group 1 hits: ana@contoso.com, a recipient of the message, has 'ana', and the subject has 'minutes'"
MISSED = "group 1: no recipient of the message has any of ana"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with SmtpPeer() as headquarters, running(
        tmp_path_factory.mktemp("all"), contoso(headquarters.host) + RULES, recipients=mail_users("ana", "ben", "carl")
    ) as found:  # fmt: skip
        yield found


def told(service: Service, *command: str) -> Any:
    code, out, err = service.command(*command, "--json")
    assert code in (0, 1), err
    return json.loads(out)


def board(part: dict[str, Any], recipient: str) -> dict[str, str]:
    """What the rule said of this recipient."""
    (row,) = [one for one in part["recipients"] if one["recipient"] == recipient]
    return next(step for step in row["steps"] if step["subject"] == "rule Board")


def test_a_refused_copy_is_explained_without_the_others(service: Service) -> None:
    with service.client() as client:
        code, text = client.letter(OUTSIDE, BEN, ANA, content="minutes of May")
    assert code == 550 and "Not to the board" in text
    connection = text.rpartition(" ")[2].strip("()")
    service.until(lambda: len(service.trace(id=connection)) == 2, "both refusals are told")
    explained = told(service, "explain", connection)
    assert [[one["recipient"] for one in part["recipients"]] for part in explained["parts"]] == [[BEN], [ANA]]
    for part, whom in zip(explained["parts"], (BEN, ANA), strict=True):
        assert part["judged"]["steps"] == "judged again" and not part["differs"]
        assert board(part, whom)["because"] == HIT and part["facts"]["recipients"] == [whom]


def test_of_a_message_that_was_taken_one_recipient_is_explained(service: Service) -> None:
    message = service.send(OUTSIDE, BEN, CARL, content="minutes of June")
    service.settled(message)
    for asked in ((), ("--recipient", BEN)):
        (part,) = told(service, "explain", message, *asked)["parts"]
        assert part["judged"]["steps"] == "judged again" and not part["differs"]
        assert MISSED in board(part, BEN)["because"]


def test_what_if_and_rule_test_look_at_all(service: Service, tmp_path: Path) -> None:
    eml = tmp_path / "m.eml"
    eml.write_bytes(b"From: alice@outside.example\r\nSubject: minutes\r\n\r\nhello\r\n")
    for to, hit in (((BEN, ANA), "hit"), ((BEN, CARL), "miss")):
        asked = [word for one in to for word in ("--to", one)]
        tested = told(service, "rule", "test", str(eml), "--from", OUTSIDE, *asked)
        assert [row["rules"][0]["hit"] for row in tested["recipients"]] == [hit] * 2
        supposed = told(service, "what-if", "--ip", "203.0.113.5", "--from", OUTSIDE, *asked, str(eml))
        assert (HIT if hit == "hit" else MISSED) in board(supposed["parts"][0], BEN)["because"]
    spared = told(service, "rule", "test", str(eml), "--from", OUTSIDE, "--to", ANA, "--ip", "192.0.2.77")
    assert spared["recipients"][0]["rules"][0]["because"].startswith("exception: group 1 hits: 192.0.2.77 is in")


def test_recorded_mail_is_judged_by_a_draft(service: Service, tmp_path: Path) -> None:
    message = service.send(OUTSIDE, CARL, BEN, content="minutes of July")
    service.settled(message)
    with service.client() as client:
        code, text = client.letter(OUTSIDE, BEN, ANA, content="minutes of August")
    assert code == 550
    service.until(lambda: len(service.trace(id=text.rpartition(" ")[2].strip("()"))) == 2, "both refusals are told")
    draft = tmp_path / "draft"
    draft.mkdir()
    policy = (service.folder / "policy").glob("*.toml")
    text = "".join(path.read_text("utf-8") for path in policy)
    (draft / "contoso.toml").write_text(text.replace('["ana"]', '["ana", "carl"]'))
    found = told(service, "replay", "--policy", str(draft))
    (taken,) = found["groups"]
    assert taken["before"].startswith("leaves") and taken["count"] in (2, 4), "ben's copy goes with carl's"
    assert "Not to the board" in taken["now"]
    (doubt,) = found["doubts"]
    assert "not on record" in doubt["why"], "of one refused copy nobody can say who else had carl's address"
    assert found["unknown"] == doubt["count"] >= 2
    (draft / "contoso.toml").write_text(text)
    assert told(service, "replay", "--policy", str(draft))["groups"] == []
