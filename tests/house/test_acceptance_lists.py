"""T-IPA-3: an organisation's block list refuses its own recipients at RCPT, the operator's everybody at connect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from peers.client import Raw
from peers.listening import arrived, recipients
from peers.service import SOURCE, Service, running
from peers.smtp_peer import SmtpPeer

POLICY = """
[operator]
ip_block_list = ["192.0.2.66"]

[[organisation]]
name = "contoso"

[[organisation]]
name = "fabrikam"

[[accepted_domain]]
domain_name = "contoso.com"
organisation = "contoso"
vouched_by_operator = true

[[accepted_domain]]
domain_name = "fabrikam.example"
organisation = "fabrikam"
vouched_by_operator = true

[[connection_filter]]
organisation = "contoso"
ip_block_list = ["192.0.2.25"]

[[outbound_connector]]
name = "Contoso"
organisation = "contoso"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]

[[outbound_connector]]
name = "Fabrikam"
organisation = "fabrikam"
recipient_domains = ["fabrikam.example"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
OURS, THEIRS, OUTSIDE = "ben@contoso.com", "fay@fabrikam.example", "alice@outside.example"


@dataclass
class World:
    service: Service
    sink: SmtpPeer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tables = {
        "contoso": f"address,kind\n{OURS},mail_user\n",
        "fabrikam": f"address,kind\n{THEIRS},mail_user\n",
    }
    with (
        SmtpPeer() as sink,
        running(tmp_path_factory.mktemp("lists"), POLICY.format(host=sink.host), recipients=tables) as service,
    ):
        yield World(service, sink)


def found_by_address(service: Service, address: str) -> list[dict[str, object]]:
    """What the command line says."""
    command = [sys.executable, "-m", "lockgate", "--config", str(service.config), "trace", "find"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [*command, "--ip", address, "--json"], env=environment, capture_output=True, timeout=30, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: nothing found (yet)
    return json.loads(done.stdout)


def test_t_ipa_3_the_organisations_list_speaks_at_rcpt_and_for_its_recipients_only(world: World) -> None:
    with world.service.client("192.0.2.25") as client:
        assert client.begin(OUTSIDE)[0] == 250
        code, text = client.to(OURS)
        assert code == 550 and text.startswith("5.7.513 "), text
        assert "192.0.2.25" in text and "contoso.com" in text
        assert client.to(THEIRS)[0] == 250
        code, text = client.content(b"Subject: t-ipa-3\r\n\r\nhello\r\n")
        assert code == 250, text
    world.service.settled(text.rpartition(" ")[2])
    assert recipients(arrived(world.sink)[-1]) == [THEIRS]
    rows = world.service.until(
        lambda: [row for row in found_by_address(world.service, "192.0.2.25") if row["status"] == "Refused"],
        "the refusal is found by its address",
    )
    assert [(row["sender_address"], row["recipient_address"], row["organisation"]) for row in rows] == [
        (OUTSIDE, OURS, "contoso")
    ]
    assert "5.7.513" in rows[0]["reply"]


def test_t_ipa_3_other_addresses_are_welcome(world: World) -> None:
    world.service.settled(world.service.send(OUTSIDE, OURS, THEIRS, peer="192.0.2.26"))


def test_t_ipa_3_the_operators_list_speaks_at_connect(world: World) -> None:
    with Raw(world.service.proxied, "192.0.2.66") as peer:
        line = peer.reply()
        assert line.startswith("550 5.7.513 ") and "192.0.2.66" in line, line
        assert peer.reply() == "", "and hangs up"
    rows = world.service.until(lambda: found_by_address(world.service, "192.0.2.66"), "the refusal is found")
    assert [(row["status"], row["from_ip"]) for row in rows] == [("Refused", "192.0.2.66")]
    assert "5.7.513" in rows[0]["reply"]
