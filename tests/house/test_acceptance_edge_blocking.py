"""T-HOST-2, T-DBEB-1 through its three steps, and what the next hop says: by documents, commands and real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from house.test_acceptance_directory import FORGOTTEN, LOADED, OUTSIDE
from peers.contoso import contoso
from peers.listening import Down, arrived, recipients
from peers.service import SOURCE, Service, running
from peers.smtp_peer import Script, SmtpPeer

BLOCKED = "5.4.1 Recipient address rejected: Access denied"


def lockgate(service: Service, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of one command."""
    done = subprocess.run(
        [sys.executable, "-m", "lockgate", "--config", str(service.config), *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def asked(service: Service, *recipients: str) -> list[tuple[int, str]]:
    with service.client() as client:
        client.begin(OUTSIDE)
        return [client.to(recipient) for recipient in recipients]


def domain(more: str, host: str) -> str:
    return contoso(host).replace(
        "vouched_by_operator = true\n", f"vouched_by_operator = true\n{more}\n", 1
    )


def test_t_host_2(tmp_path: Path) -> None:
    with SmtpPeer() as store, running(tmp_path / "s", domain("", store.host), recipients=LOADED) as service:
        with service.client() as client:
            client.begin(OUTSIDE)
            code, text = client.to("nobody@contoso.com")
            assert code == 550 and text.startswith(BLOCKED)
            assert client.to("person1@contoso.com")[0] == 250
            assert client.data(b"Subject: x\r\n\r\nHello\r\n")[0] == 250, "DATA for other recipients still works"
        assert recipients(arrived(store)[0]) == ["person1@contoso.com"]


def test_t_dbeb_1_through_the_three_steps(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters:
        observe, estimate, enforce = (
            domain(f'edge_blocking = "{step}"', headquarters.host) for step in ("observe", "estimate", "enforce")
        )
        with running(tmp_path / "s", observe, recipients=LOADED) as service:
            message = service.send(OUTSIDE, FORGOTTEN)
            assert recipients(arrived(headquarters)[0]) == [FORGOTTEN]
            service.settled(message)
            assert "enforced it would be refused" in json.dumps(service.show(message))
            service.send(OUTSIDE, "person5@contoso.com")

            service.reload(estimate)
            time.sleep(1.0)
            service.send("bob@far.test", FORGOTTEN)

            def told() -> dict:
                code, out, err = lockgate(service, "edge-blocking", "estimate", "contoso.com", "--json")
                assert code == 0, err
                return json.loads(out)

            service.until(lambda: told()["messages"] == 2, "both are counted", pause=0.5)
            (row,) = told()["addresses"]
            assert (row["address"], row["count"], row["last_sender"]) == (FORGOTTEN, 2, "bob@far.test")
            assert "would be refused" in service.said(400)

            service.reload(enforce)
            time.sleep(1.0)
            (code, text), (other, _) = asked(service, FORGOTTEN, "person100@contoso.com")
            assert (code, other) == (550, 250) and text.startswith(BLOCKED)
            assert lockgate(service, "recipient", "add", FORGOTTEN, "city=Bonn")[0] == 0
            began = time.monotonic()
            service.until(lambda: asked(service, FORGOTTEN)[0][0] == 250, "the forgotten one is known", pause=0.1)
            assert time.monotonic() - began < 1.5
            assert not told()["addresses"], "who is known by now is not shown"


def test_single_recipients_and_other_domains_by_command(tmp_path: Path) -> None:
    more = '[[accepted_domain]]\ndomain_name = "contoso.net"\nalias_of = "contoso.com"\nvouched_by_operator = true\n'
    with SmtpPeer() as store:
        text = domain('catch_all_recipient_id = "info"', store.host) + more
        file = tmp_path / "people.toml"
        file.write_text('[[recipient]]\naddress = "ann@contoso.com"\naliases = ["a@contoso.com"]\ncity = "Bonn"\n')
        with running(tmp_path / "s", text) as service:
            assert lockgate(service, "recipient", "import", str(file))[0] == 0
            service.until(lambda: asked(service, "a@contoso.com")[0][0] == 250, "ann is known")
            service.settled(service.send(OUTSIDE, "ann@contoso.net"))
            assert recipients(arrived(store)[0]) == ["ann@contoso.com"]
            assert asked(service, "nobody@contoso.com")[0][0] == 550, "the catch-all does not exist yet"
            assert lockgate(service, "recipient", "add", "info@contoso.com")[0] == 0
            service.until(lambda: asked(service, "nobody@contoso.com")[0][0] == 250, "the catch-all takes it")
            service.settled(service.send(OUTSIDE, "whoever@contoso.com"))
            assert recipients(arrived(store, 2)[1]) == ["info@contoso.com"]
            assert lockgate(service, "recipient", "remove", "info@contoso.com")[0] == 0
            service.until(lambda: asked(service, "nobody@contoso.com")[0][0] == 550, "and is gone")
            code, out, _ = lockgate(service, "recipient", "export")
            assert code == 0 and out.splitlines()[1].startswith("ann@contoso.com,mail_user,a@contoso.com,,Bonn")
            assert "recipient import" in service.said(400) and "recipient remove" in service.said(400)


def test_the_next_hop_is_asked_where_there_is_no_directory(tmp_path: Path) -> None:
    refusing = Script(rcpt={"nobody@contoso.com": "550 5.1.1 no such user", "full@contoso.com": "452 4.2.2 full"})
    guess = Script(rcpt=_KnowsOnly({"ann@contoso.com", "full@contoso.com"}, dict(refusing.rcpt)))
    with Down() as hidden, SmtpPeer(guess) as store:
        text = domain('recipient_validation = "call_forward"', store.host)
        with running(tmp_path / "s", text) as service:
            replies = asked(service, "ann@contoso.com", "nobody@contoso.com", "full@contoso.com", "Ann@contoso.com")
            assert [code for code, _ in replies] == [250, 550, 451, 250], replies
            assert replies[1][1].startswith(BLOCKED)
            message = service.send(OUTSIDE, "ann@contoso.com")
            service.settled(message)
            assert "says of ann@contoso.com: 250" in json.dumps(service.show(message))
            assert service.until(lambda: service.trace(recipient="nobody@contoso.com"), "the refusal")[0]["reply"]
            service.reload(domain('recipient_validation = "call_forward"', hidden.host))
            time.sleep(1.0)
            began = time.monotonic()
            assert asked(service, "carl@contoso.com")[0][0] == 451, "an outage is never a verdict"
            assert time.monotonic() - began < 20


class _KnowsOnly(dict):
    """Replies to RCPT: those that are listed, 250 for those who exist, and a no for everybody else."""

    def __init__(self, people: set[str], listed: dict[str, str]) -> None:
        super().__init__(listed)
        self.people = people

    def get(self, key, default=None):
        return super().get(key, default if key in self.people else "550 5.1.1 no such user")
