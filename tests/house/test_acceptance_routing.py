"""T-CMR-1, T-CMR-2: a rule by the recipient's domain sends copies by the connector of a site, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers.listening import arrived, recipients
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
