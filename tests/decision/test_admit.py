"""May this peer talk to us?"""

from __future__ import annotations

from decision.judging import fates, ruled
from lockgate.decision.stage import Depth
from lockgate.mail.connection import Load
from lockgate.mail.facts import Point
from lockgate.testing.builders import connection_of, facts_of, policy_of

POLICY = policy_of(
    """
[operator]
ip_block_list = ["192.0.2.0/24", "2001:db8::/32"]
ip_allow_list = ["192.0.2.25"]
limits = { connections = 100, connections_per_peer = 5 }
[[organisation]]
name = "contoso"
"""
)


def at_connect(peer: str, **load: int):
    return ruled(POLICY, facts_of(connection=connection_of(peer, load=Load(**load))), until=Point.CONNECT)


def test_the_operators_block_list_acts_at_connect_and_allow_wins() -> None:
    assert fates(at_connect("192.0.2.66")) == ["all 550 5.7.513"]
    assert fates(at_connect("2001:db8::1")) == ["all 550 5.7.513"]
    assert at_connect("192.0.2.25").refusal is None
    assert at_connect("198.51.100.1").refusal is None
    assert "192.0.2.66 (192.0.2.0/24)" in at_connect("192.0.2.66").steps[-1].because


def test_too_many_connections_are_put_off() -> None:
    assert fates(at_connect("198.51.100.1", from_peer=6)) == ["all 421 4.7.0"]
    assert fates(at_connect("198.51.100.1", from_peer=5, in_all=101)) == ["all 421 4.3.2"]
    assert at_connect("198.51.100.1", from_peer=5, in_all=100).refusal is None


def test_it_acts_again_at_each_mail() -> None:
    blocked = facts_of("x@y.test", connection=connection_of("192.0.2.66"))
    assert fates(ruled(POLICY, blocked, until=Point.MAIL)) == ["all 550 5.7.513"]


def test_full_depth_says_what_was_looked_at() -> None:
    from lockgate.decision.judge import judge

    ruling = judge(POLICY, facts_of(connection=connection_of("192.0.2.25")), Point.CONNECT, None, Depth.FULL)
    assert [step.subject for step in ruling.steps] == ["the operator's allow list", "connection limit"]
