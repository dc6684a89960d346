"""From nothing to the first mail as a new administrator does it, by the five actions that README.md shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from peers.client import letter
from peers.listening import arrived
from peers.ports import free_port
from peers.service import SOURCE, Service
from peers.smtp_peer import Script, SmtpPeer

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


@contextlib.contextmanager
def begun(folder: Path, *answers: str) -> Iterator[Service]:
    """An installation as `lockgate init` makes it of these answers, served."""
    port = str(free_port())
    made = command(
        folder, "init", "place", "--hostname", "mx1.contoso.test", "--domain", "contoso.test", "--mx", "us", "--port",
        port, *answers,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    service = Service(folder / "place", folder / "place" / "lockgate.toml")
    service.start()
    try:
        yield service
    finally:
        assert service.stop() == 0, service.said()


def rcpt(service: Service, *recipients: str) -> list[int]:
    """The reply to each recipient."""
    with smtplib.SMTP("127.0.0.1", service.port, timeout=30) as client:
        client.ehlo("out.test")
        client.mail("x@out.test")
        return [client.rcpt(one)[0] for one in recipients]


def send(service: Service, recipient: str, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", service.port, timeout=30) as client:
        client.sendmail("x@out.test", [recipient], letter("x@out.test", recipient, subject))


def subjects(box: Path) -> list[str]:
    lines = [line for path in sorted(box.glob("new/*")) for line in path.read_text().splitlines()]
    return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]


def test_the_answer_ask_has_the_next_hop_asked_who_exists(tmp_path):
    unknown = Script(rcpt={"nobody@contoso.test": "550 5.1.1 no such user"})
    with SmtpPeer(unknown) as peer, begun(
        tmp_path, "--mailboxes", "there", "--next-hop", peer.host, "--recipients", "ask"
    ) as service:  # fmt: skip
        assert not (service.folder / "recipients.csv").exists()
        assert rcpt(service, "ann@contoso.test", "nobody@contoso.test") == [250, 550]
        send(service, "ann@contoso.test", "asked")
        (mail,) = arrived(peer)
        assert b"Subject: asked" in mail.content


def test_the_answer_here_makes_mailboxes_that_are_served(tmp_path):
    with begun(tmp_path, "--mailboxes", "here") as service:
        checked = command(service.folder, "preflight", "--json")
        found = {one["subject"]: one for one in json.loads(checked.stdout)["found"]}
        assert found["mailboxes"]["level"] == "pass", found
        assert command(service.folder, "recipient", "import", "recipients.csv").returncode == 0
        service.until(lambda: rcpt(service, "postmaster@contoso.test", "nobody@contoso.test") == [250, 550], "is known")
        send(service, "postmaster@contoso.test", "kept here")
        box = service.state / "mail" / "contoso" / "contoso.test" / "postmaster"
        service.until(lambda: subjects(box) == ["kept here"], "it lies in the mailbox")
        listed = json.loads(command(service.folder, "mailbox", "list", "--json").stdout)
        assert "postmaster@contoso.test" in json.dumps(listed)


def test_the_answers_both_and_ask_keep_some_here_and_ask_for_the_others(tmp_path):
    unknown = Script(rcpt={"nobody@contoso.test": "550 5.1.1 no such user"})
    with SmtpPeer(unknown) as peer, begun(
        tmp_path, "--mailboxes", "both", "--next-hop", peer.host, "--recipients", "ask"
    ) as service:  # fmt: skip
        assert command(service.folder, "recipient", "import", "recipients.csv").returncode == 0
        wanted = ["postmaster@contoso.test", "ann@contoso.test", "nobody@contoso.test"]
        service.until(lambda: rcpt(service, *wanted) == [250, 250, 550], "who is here, who is there, who is nowhere")
        box = service.state / "mail" / "contoso" / "contoso.test" / "postmaster"

        def here() -> bool:
            send(service, "postmaster@contoso.test", "here")
            return bool(subjects(box))

        service.until(here, "it lies in the mailbox here once the list is known", pause=0.5)
        send(service, "ann@contoso.test", "there")
        service.until(lambda: any(b"Subject: there" in mail.content for mail in peer.mails), "the other one is there")
        assert set(subjects(box)) == {"here"}


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
