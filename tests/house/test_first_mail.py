"""From nothing to the first mail as a new administrator does it, by the five actions that README.md shows."""

from __future__ import annotations

import json
import os
import re
import shlex
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

ROOT = SOURCE.parent
ETC = "/etc/lockgate"


def actions(page: str, heading: str) -> list[tuple[str, str]]:
    """The numbered actions below a heading: the words in bold, and the command, if there is one."""
    below = (ROOT / page).read_text("utf-8").partition(heading)[2].partition("\n## ")[0]
    found = re.findall(r"^(\d+)\. \*\*(.+?)\*\*(?:: `([^`]+)`)?", below, re.M)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1))
    return [(words, line) for _, words, line in found]


def words_of(action: tuple[str, str], place: Path) -> list[str]:
    """What is typed after `lockgate`, with our folder in the place of theirs."""
    program, *words = shlex.split(action[1])
    assert program == "lockgate"
    return [word.replace(ETC, str(place)) for word in words]


def test_readme_and_first_steps_show_the_same_five_actions():
    readme = actions("README.md", "## From a fresh machine to the first real mail")
    assert readme == actions("docs/first-steps.md", "# First steps")
    assert len(readme) == 5
    install, *_, dns = readme
    assert "pip install ." in install[1] and dns == ("Enter the DNS lines", "")


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockgate", *words], cwd=folder, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=False,
    )  # fmt: skip


def test_five_actions_from_a_fresh_machine_to_the_first_mail(tmp_path):
    """The commands of README.md; 1 is this environment, 5 a client that knows our port.

    In 2 the questions are answered by options, and the port is a free one.
    """
    _, init, serve, people, _ = actions("README.md", "## From a fresh machine to the first real mail")
    sender, recipient = "x@out.test", "postmaster@contoso.test"
    with SmtpPeer() as peer:
        place = tmp_path / "place"
        port = free_port()
        asked = words_of(init, place)
        assert asked == ["init", str(place), "--port", "25"]
        made = command(
            tmp_path, *asked[:-1], str(port), "--hostname", "mx1.contoso.test", "--domain", "contoso.test",
            "--mailboxes", "there", "--next-hop", peer.host, "--mx", "us", "--recipients", "file",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        assert words_of(serve, place) == ["--config", str(place / "lockgate.toml"), "serve"]
        service = Service(place, place / "lockgate.toml")
        service.start()
        try:
            assert command(place, *words_of(people, place)).returncode == 0
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
