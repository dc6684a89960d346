"""The operator's file: defaults, paths, units, and all mistakes at once with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.app.config import check_files, parse_config, read_config, resolvers
from lockgate.app.units import octets, seconds
from lockgate.policy.problems import Invalid

WHOLE = """
hostname = "MX1.Contoso.test."
workers = 2
state_directory = "/var/lib/lockgate"

[[listener]]
address = "127.0.0.1"
port = 0
proxies = ["127.0.0.0/8"]

[[listener]]
address = "::1"
port = 4650
implicit_tls = true

[[certificate]]
chain = "tls/chain.pem"
key = "tls/key.pem"

[[pool]]
name = "bulk"
source_address_v4 = "192.0.2.7"
helo_name = "bulk.contoso.test"

[dns]
resolvers = ["127.0.0.1"]
port = 5353

[delivery]
mx_port = 2526
first_retry = "2s"
retry_steps = ["3s", "1m30s"]
message_life = "60s"
delay_notice = "0s"

[outgoing]
allow = ["127.0.0.0/8"]

[control]
mode = "0660"
group = "mail"

[log]
format = "json"
destination = "log/lockgate.jsonl"
"""


def mistakes(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(Invalid) as caught:
        parse_config(text, Path("/etc/lockgate/lockgate.toml"))
    assert all(problem.file == "/etc/lockgate/lockgate.toml" for problem in caught.value.problems)
    return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]


def test_defaults_are_unprivileged():
    config = parse_config('hostname = "mx.contoso.test"', Path("/srv/lockgate.toml"))
    assert config.listener[0].port > 1024
    assert config.retry_steps == (300.0, 600.0, 900.0, 1800.0, 3600.0)
    assert config.delivery.message_life == 86400.0
    assert config.mark == "mx.contoso.test"
    assert config.worker_count >= 1
    assert config.control_socket == Path("/srv/state/run/control.sock")
    assert config.queue_directory == Path("/srv/state/queue")
    assert config.outgoing.allow == ()


def test_everything_is_read():
    config = parse_config(WHOLE, Path("/srv/lockgate.toml"))
    assert config.hostname == "mx1.contoso.test"
    assert [entry.port for entry in config.listener] == [0, 4650]
    assert config.certificate[0].chain == Path("/srv/tls/chain.pem")
    assert config.state_directory == Path("/var/lib/lockgate")
    assert config.retry_steps == (2.0, 3.0, 90.0)
    assert config.delivery.message_life == 60.0
    assert resolvers(config) == (("127.0.0.1", 5353),)
    assert config.log.destination == "/srv/log/lockgate.jsonl"
    with pytest.raises(ValueError, match="frozen"):
        config.workers = 3


def test_all_mistakes_at_once_with_line_and_path():
    text = """hostname = "localhost"
worker = 3

[delivery]
first_retry = 5
retry_steps = [
  "5m",
  "soon",
]

[[listener]]
port = 25

[[listener]]
adress = "::"
port = 99999
"""
    found = mistakes(text)
    assert [(line, path) for line, path, _ in found] == [
        (1, "hostname"),
        (2, "worker"),
        (5, "delivery.first_retry"),
        (8, "delivery.retry_steps[2]"),
        (15, "listener[2].adress"),
        (16, "listener[2].port"),
    ]
    assert found[1][2] == "this key is unknown"
    assert "15m" in found[2][2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hostname = 'a.test'\n[[pool]]\nname='x'\n[[pool]]\nname='x'", "two pools called x"),
        ("hostname = 'a.test'\n[[listener]]\nport=2525\n[[listener]]\nport=2525", "two listeners want"),
        ("hostname = 'a.test'\n[[listener]]\nimplicit_tls=true", "needs a"),
        ("hostname = 'a.test'\n[delivery]\nmessage_life='1h'", "delay_notice"),
        ("workers = 1", "missing"),
        ("hostname = 'a.test'\n[[pool]]\nsource_address_v4='::1'", "IPv4"),
        ("hostname = 'a.test'\n[outgoing]\nallow=['10.0.0.1/8']", "network"),
        ("hostname = 'a.test'\n[control]\nmode='rw'", "octal"),
    ],
)
def test_what_contradicts_itself_is_a_mistake(text, says):
    assert any(says in message for _, _, message in mistakes(text))


def test_broken_toml_names_its_line():
    (found,) = mistakes('hostname = "a.test"\nport = = 3\n')
    assert found[0] == 2
    assert "(at line" not in found[2]


def test_missing_files_are_found_before_starting(tmp_path):
    path = tmp_path / "lockgate.toml"
    path.write_text('hostname = "a.test"\n\n[[certificate]]\nchain = "c.pem"\nkey = "k.pem"\n')
    (tmp_path / "k.pem").write_text("x")
    found = check_files(read_config(path), path)
    assert [(problem.line, problem.path) for problem in found] == [(4, "certificate[1].chain"), (1, "policy_directory")]


def test_system_resolvers(tmp_path):
    config = parse_config('hostname = "a.test"', Path("/x"))
    conf = tmp_path / "resolv.conf"
    conf.write_text("# c\nsearch x\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver nonsense\n")
    assert resolvers(config, conf) == (("192.0.2.53", 53), ("fe80::1", 53))
    assert resolvers(config, tmp_path / "none") == (("127.0.0.1", 53),)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5d", 129600)])
def test_durations(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", 5, "5 weeks", "-5s", "s", None, "5s later"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="unit"):
        seconds(text)


def test_sizes():
    assert (octets(5), octets("64 KiB"), octets("50MB")) == (5, 65536, 50_000_000)
    for wrong in (-1, True, "many", 1.5):
        with pytest.raises(ValueError, match="size"):
            octets(wrong)
