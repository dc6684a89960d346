"""How an explanation reads: attempts that repeat, the TLS that was seen, and what was decided otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.cli.telling import tell

NO_TLS = "454 4.7.321 TLS is required and hq.test offers no STARTTLS"


def row(*events: dict[str, Any], status: str = "Pending") -> dict[str, Any]:
    return {
        "recipient": "ann@contoso.com", "what": "delivered", "sentence": "leaves by connector HQ", "status": status,
        "because": "connector HQ: it is for all", "steps": [], "route": {"tls_demanded": "encryption_only"},
        "attempts": list(events),
    }  # fmt: skip


def read(capsys: pytest.CaptureFixture[str], part: dict[str, Any], *, short: bool = False) -> list[str]:
    tell({"id": "m1", "kind": "message", "parts": [part]}, short=short)
    return capsys.readouterr().out.splitlines()


def event(at: float, kind: str, **more: str) -> dict[str, Any]:
    return {"at": at, "kind": kind, "detail": "", "reply": "", "host": "", "tls": "", **more}


def test_the_same_answer_again_and_again_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    refused = [event(1_700_000_000.0 + n, "Defer", reply=NO_TLS) for n in range(5)]
    lines = read(capsys, {"recipients": [row(event(1_700_000_000.0, "Receive"), *refused)], "facts": {}})
    assert lines[-1] == f"    2023-11-14 22:13:20Z  Defer     {NO_TLS} (5 times, the last at 2023-11-14 22:13:24Z)"
    assert any(line.endswith(f"encryption_only; seen: no session that will do ({NO_TLS})") for line in lines)


@pytest.mark.parametrize(
    ("events", "seen"),
    [
        ([event(1.0, "Send", host="hq[192.0.2.1]:25", tls="TLSv1.3 X")], "TLSv1.3 X"),
        ([event(1.0, "Send", host="hq[192.0.2.1]:25")], "plain text"),
        ([event(1.0, "Fail", host="hq[192.0.2.1]:25", reply="550 no")], "plain text"),
        ([event(1.0, "Defer", host="hq[192.0.2.1]:25", reply=NO_TLS)], f"no session that will do ({NO_TLS})"),
        ([event(1.0, "Receive")], "nothing, for nothing was sent yet"),
    ],
)
def test_the_tls_that_was_seen(capsys: pytest.CaptureFixture[str], events: list[Any], seen: str) -> None:
    lines = read(capsys, {"recipients": [row(*events)], "facts": {}})
    assert f"  =  TLS        demanded outwards: encryption_only; seen: {seen}" in lines


def test_another_decision_than_was_carried_out_stands_out(capsys: pytest.CaptureFixture[str]) -> None:
    part = {
        "recipients": [], "facts": {}, "judged": {"steps": "judged again"},
        "differs": [{"recipient": "", "before": "let in", "now": "refused"}],
    }  # fmt: skip
    for short in (False, True):
        assert read(capsys, part, short=short)[-2:] == [
            "This is not what was decided", "  everybody: was let in; now refused"
        ]  # fmt: skip


def test_all_refused_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    taken = {**row(), "what": "undecided", "sentence": "nothing is decided"}
    refusal = {"what": "refused", "reply": "552 5.3.4 too large", "because": "size limit: too large"}
    lines = read(capsys, {"recipients": [taken], "facts": {}, "refusal": refusal})
    assert "Everything is refused: 552 5.3.4 too large" in lines and not any("ann@" in line for line in lines)
