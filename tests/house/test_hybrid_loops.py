"""T-HYB-4: mail that would go round is recognised at once, or stopped within the hop limits; one report, no more."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from peers.hybrid import OUTSIDE, Hybrid, hybrid, text
from peers.listening import arrived, recipients, sender
from peers.service import HOSTNAME

GHOST = "ghost@contoso.com"
"""Nobody here; the domain is an internal relay domain."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hybrid]:
    with hybrid(tmp_path_factory.mktemp("loops"), domain_type="internal_relay") as made:
        yield made


def reports(world: Hybrid) -> list[tuple[str, list[str], bytes]]:
    """The delivery reports that reached the Internet: sender, recipients, content."""
    mails = [mail for mail in world.internet.mails if b"message/delivery-status" in mail.content]
    return [(sender(mail), recipients(mail), mail.content) for mail in mails]


def test_t_hyb_4_an_mx_that_leads_back_is_not_dialled(world: Hybrid) -> None:
    world.names.exchangers["contoso.com"] = [HOSTNAME]
    world.names.hosts[HOSTNAME] = ["192.0.2.1"]
    draft = world.service.folder / "draft"
    draft.mkdir()
    (draft / "0.toml").write_text(text({**world.policy, "by_mx": "true", "host": ""}))
    (warning,) = [one for one in world.service.told("plan", str(draft))["warnings"] if "contoso.com" in one["message"]]
    assert warning["new"] and f"the MX of contoso.com is {HOSTNAME}, which is this server itself" in warning["message"]
    world.reload(by_mx="true", host="")
    before, dialled = len(reports(world)), world.service.said(2000).count("connected: lane=contoso/HQ")
    message = world.from_internet(OUTSIDE, GHOST, mark="by mx")
    (row,) = world.service.settled(message, "Failed")
    assert row["reply"].startswith("554 5.4.14") and row["outbound_connector"] == "HQ"
    arrived(world.internet, len(world.internet.mails) + (len(reports(world)) == before))
    world.quiet()
    ((source, to, content),) = reports(world)[before:]
    assert (source, to) == ("", [OUTSIDE])
    assert b"Status: 5.4.14" in content and b"Action: failed" in content
    assert world.service.said(2000).count("connected: lane=contoso/HQ") == dialled
    assert len(world.service.trace(subject="by mx")) == 1, "one pass"


@pytest.mark.parametrize("strips", ["", "Received", "X-Lockgate-Hop"])
def test_t_hyb_4_a_second_server_that_sends_it_back(world: Hybrid, strips: str) -> None:
    world.reload()
    world.onprem.sends_back(world.service.port, strips=strips)
    before = len(reports(world))
    mark = f"round without {strips or 'nothing'}"
    world.from_internet(OUTSIDE, GHOST, mark=mark)

    def told() -> bool:
        return len(reports(world)) > before

    world.service.until(told, "the sender is told", 60)
    world.quiet()
    ((_, to, content),) = reports(world)[before:]
    assert to == [OUTSIDE] and b"5.4.14" in content
    passes = [row for row in world.service.trace(subject=mark) if row["status"] == "Delivered"]
    assert 5 < len(passes) <= 20, len(passes)
    refused = [row for row in world.service.trace(sender=OUTSIDE) if row["status"] == "Refused"]
    assert "554 5.4.14" in refused[0]["reply"], "of the whole message, at the end of its data"
    assert re.search(rb"Hop count exceeded", content)
