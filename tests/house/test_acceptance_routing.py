"""T-CMR-1, -2, -3: a rule by the recipient's domain sends copies by the connector of a site, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lockgate.flow.asking import AlertList
from peers.listening import Down, arrived, recipients
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true

[[accepted_domain]]
domain_name = "nola.contoso.com"
vouched_by_operator = true

[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
all_accepted_domains = true
use_mx_record = false
smart_hosts = ["{hq}"]

[[outbound_connector]]
name = "NOLA"
connector_type = "on_premises"
is_transport_rule_scoped = true
{domains}
use_mx_record = false
smart_hosts = ["{nola}"]

[[mail_flow_rule]]
name = "New Orleans"
enabled = {enabled}
recipient_domain_is = ["nola.contoso.com"]
route_message_outbound_connector = "NOLA"
"""
ROSA, SAM, OUTSIDE = "rosa@nola.contoso.com", "sam@contoso.com", "alice@outside.example"
RECIPIENTS = f"address,kind,city\n{ROSA},mail_user,New Orleans\n{SAM},mail_user,Seattle\n"


@dataclass
class World:
    service: Service
    hq: SmtpPeer
    nola: SmtpPeer


def policy(hq: SmtpPeer, nola: SmtpPeer, *, enabled: bool, domains: str = "") -> str:
    return POLICY.format(hq=hq.host, nola=nola.host, enabled=str(enabled).lower(), domains=domains)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with SmtpPeer() as hq, SmtpPeer() as nola:
        text = policy(hq, nola, enabled=True)
        with running(tmp_path / "service", text, recipients=RECIPIENTS) as service:
            yield World(service, hq, nola)


def test_t_cmr_1_one_message_is_forked(world: World) -> None:
    message = world.service.send(OUTSIDE, ROSA, SAM)
    rows = {row["recipient_address"]: row for row in world.service.settled(message)}
    assert (rows[ROSA]["outbound_connector"], rows[SAM]["outbound_connector"]) == ("NOLA", "HQ")
    assert [recipients(mail) for mail in arrived(world.nola)] == [[ROSA]]
    assert [recipients(mail) for mail in arrived(world.hq)] == [[SAM]]
    assert world.nola.mails[0].content == world.hq.mails[0].content, "the same octets both ways"
    events = {row["recipient_address"]: str(row["events"]) for row in world.service.show(message)["rows"]}
    assert "New Orleans" in events[ROSA] + str(world.service.show(message)["explanation"])


def test_t_cmr_2_without_the_rule_nothing_uses_the_scoped_connector(world: World) -> None:
    domains = 'recipient_domains = ["nola.contoso.com"]'
    told = world.service.reload(policy(world.hq, world.nola, enabled=False, domains=domains))
    message = ""

    def by_the_new_policy() -> bool:
        nonlocal message
        message = world.service.send(OUTSIDE, ROSA, SAM)
        return world.service.settled(message)[0]["revision"] == told["revision"]

    world.service.until(by_the_new_policy, "the new policy is in force", pause=0.3)
    rows = world.service.settled(message)
    assert {row["outbound_connector"] for row in rows} == {"HQ"}
    before = len(world.nola.mails)
    world.service.settled(world.service.send(OUTSIDE, ROSA))
    assert len(world.nola.mails) == before
    assert recipients(world.hq.mails[-1]) == [ROSA]


def test_t_cmr_3_a_site_that_is_down_is_waited_for_told_and_never_gone_around(tmp_path: Path) -> None:
    with SmtpPeer() as hq, Down() as nola:
        text = POLICY.format(hq=hq.host, nola=nola.host, enabled="true", domains="")
        with running(
            tmp_path / "service", text, recipients=RECIPIENTS, alerts={"connector_failures": 2}
        ) as service:
            message = service.send(OUTSIDE, ROSA, SAM)
            service.until(lambda: rows_of(service, message)[SAM]["status"] == "Delivered", "sam has it")
            (lane,) = service.until(service.queue, "rosa's copy waits")
            assert (lane["lane"], lane["tasks"]) == ("contoso/NOLA", 1)
            (alert,) = service.until(lambda: service.done(AlertList()), "the alert is raised", 40)
            assert (alert["what"], alert["which"]) == ("a next hop cannot be reached", "contoso/NOLA"), alert
            row = rows_of(service, message)[ROSA]
            assert (row["status"], row["outbound_connector"]) == ("Pending", "NOLA")
            assert [recipients(mail) for mail in hq.mails] == [[SAM]], "HQ never gets rosa's copy"
            site = nola.up()
            service.settled(message)
            assert [recipients(mail) for mail in arrived(site)] == [[ROSA]]


def rows_of(service: Service, message: str) -> dict[str, dict[str, Any]]:
    return {row["recipient_address"]: row for row in service.trace(id=message)}
