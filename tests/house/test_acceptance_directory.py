"""T-DBEB-1: unknown recipients of an internal relay domain are passed on, of an authoritative one refused."""

from __future__ import annotations

import time
from pathlib import Path

from peers.contoso import contoso, mail_users
from peers.listening import arrived, recipients
from peers.service import running
from peers.smtp_peer import SmtpPeer

LOADED = mail_users(*[f"person{number}" for number in range(1, 101)])
OUTSIDE, FORGOTTEN = "alice@outside.example", "person101@contoso.com"


def test_t_dbeb_1(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters:
        relay, authoritative = (
            contoso(headquarters.host, domain_type=kind) for kind in ("internal_relay", "authoritative")
        )
        with running(tmp_path / "service", relay, recipients=LOADED) as service:
            message = service.send(OUTSIDE, FORGOTTEN)
            assert recipients(arrived(headquarters)[0]) == [FORGOTTEN]
            assert service.settled(message)[0]["outbound_connector"] == "Headquarters"

            told = service.reload(authoritative)
            time.sleep(1.0)  # what is promised: in force everywhere within a second
            with service.client() as client:
                client.begin(OUTSIDE)
                code, text = client.to(FORGOTTEN)
                assert code == 550 and text.startswith("5.4.1 Recipient address rejected: Access denied"), text
                assert client.to("person100@contoso.com")[0] == 250, "those who are loaded still receive"
                assert client.to("postmaster@contoso.com")[0] == 250, "RFC 5321 4.5.1"
            row = service.until(lambda: service.trace(recipient=FORGOTTEN, status="Refused"), "the refusal")[0]
            assert row["sender_address"] == OUTSIDE and row["revision"] == told["revision"]
            assert len(headquarters.mails) == 1
