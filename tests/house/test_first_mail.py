"""From nothing to the first mail as a new administrator does it: init, serve, import, send; and doctor agrees."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
import time
from pathlib import Path

from peers.client import letter
from peers.listening import arrived
from peers.ports import free_port
from peers.service import SOURCE, Service
from peers.smtp_peer import SmtpPeer


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockgate", *words], cwd=folder, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=False,
    )  # fmt: skip


def test_five_actions_from_a_fresh_machine_to_the_first_mail(tmp_path):
    """1 install (this environment), 2 init, 3 serve, 4 recipient import, 5 DNS (here: a client that knows our port)."""
    sender, recipient = "x@out.test", "postmaster@contoso.test"
    with SmtpPeer() as peer:
        place = tmp_path / "place"
        port = free_port()
        made = command(
            tmp_path, "init", str(place), "--hostname", "mx1.contoso.test", "--domain", "contoso.test", "--mailboxes",
            "there", "--next-hop", peer.host, "--mx", "us", "--recipients", "file", "--port", str(port),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        service = Service(place, place / "lockgate.toml")
        service.start()
        try:
            assert command(place, "recipient", "import", "recipients.csv").returncode == 0
            deadline = time.monotonic() + 20
            while True:
                with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                    try:
                        client.sendmail(sender, [recipient], letter(sender, recipient, "first"))
                        break
                    except smtplib.SMTPRecipientsRefused:
                        assert time.monotonic() < deadline, service.said()
                        time.sleep(0.2)
            (mail,) = arrived(peer)
            assert b"Subject: first" in mail.content
            doctor = json.loads(command(place, "doctor", "--json").stdout)["found"]
            assert {"level": "pass", "subject": "alarms", "what": "there were none", "mend": ""} in doctor
            listener = next(one for one in doctor if one["subject"] == "listener")
            assert listener["level"] == "pass" and "served by Lockgate" in listener["what"]
        finally:
            assert service.stop() == 0
