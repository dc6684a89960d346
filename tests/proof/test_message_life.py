"""T-EOP-4 with the times of its wording: a life of 60 seconds, first retry after 2, one report for each message."""

from __future__ import annotations

import os
import time
from email import message_from_bytes
from pathlib import Path

from peers.contoso import contoso, mail_users
from peers.listening import Down, arrived, recipients, subject
from peers.names import Names
from peers.service import running
from peers.smtp_peer import SmtpPeer

LIFE = float(os.environ.get("LOCKGATE_MESSAGE_LIFE", "6"))
MESSAGES = 20


def test_t_eop_4_every_message_is_returned_once_when_its_life_is_over(tmp_path: Path) -> None:
    with (
        Down() as headquarters,
        SmtpPeer(address="127.0.0.61") as outside,
        Names({"outside.example": ["mx.outside.example"]}, {"mx.outside.example": ["127.0.0.61"]}) as names,
        running(
            tmp_path / "service", contoso(headquarters.host), recipients=mail_users("ben"), dns=names.settings,
            delivery={
                "mx_port": outside.port, "message_life": f"{LIFE:g}s", "first_retry": "2s", "retry_steps": ["2s"],
                "delay_notice": "0s",
            },
        ) as service,
    ):  # fmt: skip
        started = time.time()
        ids = [service.send(f"s{n}@outside.example", "ben@contoso.com", content=f"no {n}") for n in range(MESSAGES)]
        time.sleep(max(0.0, started + LIFE - 1 - time.time()))
        assert {row["status"] for row in service.trace(recipient="ben@contoso.com")} == {"Pending"}
        assert not outside.mails, "nobody is told before the life is over"
        arrived(outside, MESSAGES, patience=LIFE + 30)
        tried = 0
        for message in ids:
            row, = service.settled(message, "Failed")
            tried += sum(event["kind"] == "Defer" for event in service.show(message)["rows"][0]["events"])
            assert row["reply"].startswith("550 5.4.300 Message expired; last answer: 451 4.4.316 ")
        assert tried >= min(2, LIFE // 3), "the lane is dialled again, and the first in line says so"
        service.until(lambda: not service.queue(), "nothing waits any more")
        reports = list(outside.mails)
    told = sorted(recipients(report)[0] for report in reports)
    assert told == sorted(f"s{n}@outside.example" for n in range(MESSAGES)), "one report for each, no more"
    for report in reports:
        assert subject(report) == "Your message was not delivered"
        fields = message_from_bytes(report.content).get_payload()[1].get_payload()[1]
        assert (fields["Action"], fields["Status"]) == ("failed", "5.4.300")
        assert " ".join(fields["Diagnostic-Code"].split()).startswith("smtp; 451 4.4.316 No connection to 127.0.0.1")
        assert fields["Remote-MTA"] is None, "no server has said that"
