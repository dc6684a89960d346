"""What preflight and doctor find: each trouble by its own name, with the line that mends it; nothing is changed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.app.checkup import names, place
from lockgate.app.checkup.look import preflight
from lockgate.app.config import parse_config
from lockgate.flow.checkup import Found, Level, worst
from lockgate.policy.compile import compile_policy
from lockgate.testing.dns import ZoneResolver
from peers.certificates import Authority
from peers.lmtp_peer import LmtpPeer, Store
from peers.names import Names
from peers.ports import free_port
from peers.smtp_peer import PLAIN, Script, SmtpPeer

SOURCE = Path(__file__).resolve().parents[2] / "src"
HOST = "mx.lockgate.test"

POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.test"
domain_type = "internal_relay"
vouched_by_operator = true

[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["{hop}"]
tls_settings = "{tls}"
"""


def installed(folder: Path, hop: str, resolver, *, tls: str = "opportunistic", more: str = "") -> Path:
    (folder / "policy").mkdir()
    (folder / "policy" / "one.toml").write_text(POLICY.format(hop=hop, tls=tls), "utf-8")
    config = folder / "lockgate.toml"
    config.write_text(
        f'hostname = "{HOST}"\n[[listener]]\naddress = "127.0.0.1"\nport = {free_port()}\n'
        f"[dns]\nresolvers = {json.dumps(resolver['resolvers'])}\nport = {resolver['port']}\ntimeout = \"1s\"\n"
        f'[outgoing]\nallow = ["127.0.0.0/8"]\n{more}',
        "utf-8",
    )
    return config


def of(found: tuple[Found, ...] | list[Found], subject: str) -> Found:
    (one,) = [one for one in found if one.subject == subject]
    return one


@pytest.fixture
def zone():
    with Names({"contoso.test": [HOST]}, {HOST: ["127.0.0.1"]}) as known:
        yield known


def test_an_installation_that_is_well_has_nothing_that_blocks(tmp_path, zone):
    authority = Authority(tmp_path)
    papers = authority.issue(HOST)
    certificate = f'[[certificate]]\nchain = "{papers.chain}"\nkey = "{papers.key}"\n'
    certificate += f'intermediates = "{authority.file}"\n'
    with SmtpPeer(Script(PLAIN)) as peer:
        config = installed(tmp_path, peer.host, zone.settings, more=certificate)
        before = sorted(path for path in tmp_path.rglob("*"))
        found = preflight(config)
    assert worst(found) is not Level.BLOCK, [one for one in found if one.level is Level.BLOCK]
    assert of(found, "host name").level is Level.PASS
    assert of(found, "domain contoso.test").level is Level.PASS
    assert of(found, "certificate").level is Level.PASS
    assert "plain text" in of(found, "connector HQ").what
    assert before == sorted(path for path in tmp_path.rglob("*")), "a look changes nothing"
    assert not peer.mails


def test_a_next_hop_that_is_down_blocks_and_says_how_to_try(tmp_path, zone):
    config = installed(tmp_path, f"127.0.0.1:{free_port()}", zone.settings)
    hop = of(preflight(config), "connector HQ")
    assert hop.level is Level.BLOCK and hop.mend.startswith("nc -vz 127.0.0.1 ")


def test_a_next_hop_without_the_tls_demanded_blocks(tmp_path, zone):
    with SmtpPeer(Script(PLAIN)) as peer:
        config = installed(tmp_path, peer.host, zone.settings, tls="encryption_only")
        hop = of(preflight(config), "connector HQ")
    assert hop.level is Level.BLOCK and "TLS" in hop.what


STORE = """
[[mailbox_store]]
name = "Dovecot"
kind = "lmtp"
servers = [{servers}]
{more}
"""


def stored(folder: Path, zone, *servers: str, more: str = "", file: str = "", own: bool = True) -> list[Found]:
    """What preflight finds about stores: of the organisation (`own`), or of the operator's file alone."""
    config = installed(folder, "192.0.2.1", zone.settings, more=file)
    if own:
        written = ", ".join(json.dumps(one) for one in servers)
        (folder / "policy" / "two.toml").write_text(STORE.format(servers=written, more=more), "utf-8")
    hop = folder / "policy" / "one.toml"
    hop.write_text(hop.read_text("utf-8") + "enabled = false\n", "utf-8")
    return [one for one in preflight(config) if one.subject.startswith("mailbox")]


def test_a_store_at_its_socket_passes_once_the_operator_lists_it(tmp_path, zone):
    for name in "ab":
        (tmp_path / name).mkdir()
    with LmtpPeer(path=tmp_path / "lmtp") as peer:
        (one,) = stored(tmp_path / "a", zone, peer.host)
        assert one.level is Level.BLOCK and one.mend.startswith(f'[mailboxes]\nsockets = ["{peer.host}"]')
        assert not peer.connections, "not even touched"
        (one,) = stored(tmp_path / "b", zone, peer.host, file=one.mend + "\n")
    assert one.level is Level.PASS and peer.host in one.what
    assert peer.commands[0].startswith("LHLO") and peer.commands[-1] == "QUIT" and not peer.kept


def test_a_store_that_is_down_blocks_and_one_of_two_warns(tmp_path, zone):
    for name in "abc":
        (tmp_path / name).mkdir()
    down = f"127.0.0.1:{free_port()}"
    (one,) = stored(tmp_path / "a", zone, down)
    assert one.level is Level.BLOCK and one.mend.startswith("nc -vz 127.0.0.1 ")
    with LmtpPeer() as peer:
        found = stored(tmp_path / "b", zone, down, peer.host)
    levels = {one.what.partition(" ")[0].rstrip(":"): one.level for one in found}
    assert levels == {down: Level.WARN, peer.host: Level.PASS}
    gone = f"unix:{tmp_path}/nobody"
    (one,) = stored(tmp_path / "c", zone, own=False, file=f'[mailboxes]\nservers = ["{gone}"]\n')
    assert one.subject == "mailboxes" and one.level is Level.BLOCK and one.mend.startswith(f"ls -l {tmp_path}/nobody")


def test_a_store_has_to_meet_the_tls_demanded(tmp_path, zone):
    for name in "abcd":
        (tmp_path / name).mkdir()
    authority = Authority(tmp_path)
    demand = 'tls_settings = "domain_validation"\ntls_domain = "store.contoso.test"\n'
    trusting = f'{demand}ca_file = "{authority.file}"\n'
    with LmtpPeer() as peer:
        (one,) = stored(tmp_path / "a", zone, peer.host, more=trusting)
    assert one.level is Level.BLOCK and one.mend.startswith(f"switch STARTTLS on at {peer.host}")
    papers = authority.issue("store.contoso.test")
    with LmtpPeer(Store(context=papers.server_context())) as peer:
        (one,) = stored(tmp_path / "b", zone, peer.host, more=demand)
        assert one.level is Level.BLOCK and one.mend.startswith('ca_file = "')
        (one,) = stored(tmp_path / "c", zone, peer.host, more=trusting)
        assert one.level is Level.PASS and "TLSv1.3" in one.what
        assert "STARTTLS" in peer.commands and not peer.kept


def test_a_server_that_speaks_smtp_is_no_store(tmp_path, zone):
    with SmtpPeer(Script(PLAIN)) as peer:
        (one,) = stored(tmp_path, zone, peer.host)
    assert one.level is Level.BLOCK and "speak LMTP" in one.mend


def test_maildirs_of_this_machine_are_told_and_one_that_is_switched_off_warns(tmp_path, zone):
    for name in "abc":
        (tmp_path / name).mkdir()
    (tmp_path / "mail").mkdir()
    file = f'[mailboxes]\ndirectory = "{tmp_path}/mail"\n'
    (one,) = stored(tmp_path / "a", zone, own=False, file=file)
    assert one == Found(Level.PASS, "mailboxes", f"Maildirs below {tmp_path}/mail")
    (one,) = stored(tmp_path / "b", zone, "127.0.0.1:24", more="enabled = false", file=file)
    assert one.level is Level.WARN and "switched off" in one.what
    assert stored(tmp_path / "c", zone, own=False) == [], "nobody keeps any"


def test_a_resolver_that_does_not_answer_blocks_and_is_no_verdict_on_names(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dns = {"resolvers": ["127.0.0.1"], "port": silent.getsockname()[1]}
        found = preflight(installed(tmp_path, "127.0.0.1:1", dns))
    assert of(found, "resolver").level is Level.BLOCK
    assert not [one for one in found if one.subject == "host name"]


def test_a_port_that_is_taken_blocks(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = parse_config(
            f'hostname = "{HOST}"\n[[listener]]\naddress = "127.0.0.1"\nport = {port}\n', tmp_path / "lockgate.toml"
        )
        found = list(place.ports(config, frozenset()))
        assert of(found, "listener").level is Level.BLOCK and str(port) in of(found, "listener").mend
        assert of(list(place.ports(config, frozenset({f"127.0.0.1:{port}"}))), "listener").level is Level.PASS
    assert of(found, "port 25").level is Level.WARN


def test_mistakes_in_the_files_are_told_with_their_line(tmp_path, zone):
    config = installed(tmp_path, "127.0.0.1:1", zone.settings)
    (tmp_path / "policy" / "one.toml").write_text('[[organisation]]\nname = "contoso"\nnam = 1\n', "utf-8")
    assert of(preflight(config), "policy").what.startswith("one.toml:3:")
    config.write_text('hostname = "mx"\n', "utf-8")
    (only,) = preflight(config)
    assert only.level is Level.BLOCK and "lockgate.toml:1" in only.what


@pytest.mark.parametrize(
    ("probe", "servers", "level", "told"),
    [
        ("", ["127.0.0.1"], Level.PASS, "not looked at"),
        ("signed.test", ["127.0.0.1"], Level.PASS, "was validated"),
        ("signed.test", ["::1", "192.0.2.53"], Level.WARN, "192.0.2.53 is asked as well"),
        ("signed.test", ["192.0.2.53"], Level.WARN, "192.0.2.53 validates is not believed"),
        ("plain.test", ["127.0.0.1"], Level.WARN, "was not validated"),
        ("forged.test", ["127.0.0.1"], Level.WARN, "DNSSEC validation failed"),
        ("silent.test", ["127.0.0.1"], Level.WARN, "was not answered"),
    ],
)  # fmt: skip
async def test_whether_answers_are_validated(tmp_path, probe, servers, level, told):
    text = f'hostname = "{HOST}"\n' + (f'[dns]\nprobe = "{probe}"\n' if probe else "")
    resolver = ZoneResolver(
        {}, {"signed.test": ["192.0.2.1"], "plain.test": ["192.0.2.2"]}, ["silent.test"],
        forged=["forged.test"], signed=["signed.test"],
    )  # fmt: skip
    config = parse_config(text, tmp_path / "lockgate.toml")
    found = await names.validates(resolver, config, tuple((server, 53) for server in servers))
    assert (found.subject, found.level) == ("DNSSEC", level)
    assert told in found.what
    assert bool(found.mend) == (level is Level.WARN)


async def test_names_that_lead_elsewhere_warn_with_the_line_for_the_zone(tmp_path):
    config = parse_config(f'hostname = "{HOST}"\n', tmp_path / "lockgate.toml")
    text = POLICY.format(hop="192.0.2.1", tls="opportunistic")
    policy = compile_policy({"one.toml": text}, hostname=HOST, revision=1)
    resolver = ZoneResolver(
        {"contoso.test": [(10, "mx.elsewhere.test")]}, {HOST: ["192.0.2.55"]},
        texts={"contoso.test": ["v=spf1 -all", "v=spf1 mx -all"]}, reverse={"192.0.2.55": ["host55.isp.test"]},
    )  # fmt: skip
    told = [one async for one in names.own_name(resolver, config)]
    assert of(told, "host name").level is Level.WARN
    reverse = of(told, "reverse name")
    assert "host55.isp.test" in reverse.what
    assert reverse.mend.startswith(f"55.2.0.192.in-addr.arpa. 3600 IN PTR {HOST}.")
    domains = await names.domains(resolver, config, policy)
    assert "mx.elsewhere.test" in of(domains, "domain contoso.test").what
    assert of(domains, "domain contoso.test").mend == f"contoso.test. 3600 IN MX 10 {HOST}."
    assert "two records" in of(domains, "SPF of contoso.test").what


def test_the_command_has_the_exit_code_of_what_it_found(tmp_path, zone):
    config = installed(tmp_path, f"127.0.0.1:{free_port()}", zone.settings)
    said = subprocess.run(
        [sys.executable, "-m", "lockgate", "--config", str(config), "preflight", "--json"], capture_output=True,
        text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=False,
    )  # fmt: skip
    assert said.returncode == 1
    assert json.loads(said.stdout)["worst"] == "block"


async def test_a_domain_with_a_policy_of_its_own_is_looked_at_as_it_is_meant(tmp_path):
    config = parse_config(f'hostname = "{HOST}"\n', tmp_path / "lockgate.toml")
    more = 'vouched_by_operator = true\nmta_sts_mode = "testing"\nmta_sts_mx = ["mx1.contoso.test", "*.backup.test"]'
    text = POLICY.format(hop="192.0.2.1", tls="opportunistic").replace("vouched_by_operator = true", more)
    policy = compile_policy({"one.toml": text}, hostname=HOST, revision=1)
    resolver = ZoneResolver({"contoso.test": [(10, "mx7.backup.test")]}, texts={"contoso.test": ["v=spf1 mx -all"]})
    found = await names.domains(resolver, config, policy)
    assert of(found, "domain contoso.test").level is Level.PASS
    announced = of(found, "MTA-STS of contoso.test")
    assert announced.level is Level.WARN
    assert announced.mend.startswith('_mta-sts.contoso.test. 3600 IN TXT "v=STSv1; id=')
    resolver.texts["_mta-sts.contoso.test"] = (announced.mend.partition('"')[2].partition('"')[0],)
    assert of(await names.domains(resolver, config, policy), "MTA-STS of contoso.test").level is Level.PASS
    resolver.texts["_mta-sts.contoso.test"] = ("v=STSv1; id=other;",)
    assert "another policy" in of(await names.domains(resolver, config, policy), "MTA-STS of contoso.test").what
