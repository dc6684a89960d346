"""MTA-STS between two Lockgates: one publishes its policy, the other finds, keeps and obeys it (RFC 8461)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lockgate.mail.sts_text import read_policy
from peers.certificates import Authority, Papers
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import arrived
from peers.ports import free_port
from peers.service import Service, running
from peers.smtp_peer import Script, SmtpPeer

FAR = """
[[organisation]]
name = "far"
report_addresses = ["tls@far.test"]

[[accepted_domain]]
domain_name = "far.test"
vouched_by_operator = true
edge_blocking = "observe"
mta_sts_mode = "{mode}"
mta_sts_max_age = "7d"
mta_sts_mx = ["mx.far.test"]

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["{sink}"]
recipient_domains = ["far.test"]
"""
HERE = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true

[[inbound_connector]]
name = "Own"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
"""
OWN = "192.0.2.25"
ANN = "ann@contoso.com"


@dataclass
class World:
    """`far` publishes a policy and takes mail for far.test, `here` sends to it; `sink` is where far's mail ends."""

    far: Service
    sink: SmtpPeer
    authority: Authority
    names: DnsServer
    zone: dict[tuple[str, str], list[str]]
    folder: Path
    next_key: Papers
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def policy_port(self) -> int:
        return int(json.loads((self.far.state / "run" / "mta-sts.json").read_text())[0][1])

    def served(self, host: str = "mta-sts.far.test", path: str = "/.well-known/mta-sts.txt") -> str:
        """What anybody gets; "" for status 404."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.check_hostname = False
        request = urllib.request.Request(f"https://127.0.0.1:{self.policy_port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as trouble:
            assert trouble.code == 404
            return ""

    def lines(self, code: int = 0) -> dict[str, dict[str, Any]]:
        """`domain dns` of the publishing side, by name of the line."""
        found, out, err = self.far.command("domain", "dns", "far.test", "--json")
        assert found == code, (found, out, err)
        return {row["name"]: row for row in json.loads(out)["lines"]}

    def publish(self) -> None:
        """Put into the zone what `domain dns` says, as an administrator would."""
        for row in json.loads(self.far.command("domain", "dns", "far.test", "--json")[1])["lines"]:
            for line in row["zone"]:
                name, _, _, kind, value = line.split(" ", 4)
                self.zone.setdefault((name.rstrip("."), kind), [])
                if value not in self.zone[name.rstrip("."), kind]:
                    self.zone[name.rstrip("."), kind].append(value)

    @contextlib.contextmanager
    def sender(self, **more: Any) -> Iterator[Service]:
        """The sending Lockgate; the same folder each time it is called, so that its memory is on disk."""
        with running(
            self.folder / "here", HERE, dns=self.settings["dns"], hostname="mx.contoso.com",
            delivery={"mx_port": self.far.port, "ca_bundle": str(self.authority.file), "first_retry": "1s",
                      "retry_steps": ["1s"]},
            mta_sts={"https_port": self.policy_port, "retry": "2s", **more},
        ) as service:  # fmt: skip
            yield service


def letter(number: int = 0) -> bytes:
    return (
        f"From: <{ANN}>\r\nTo: <bob@far.test>\r\nSubject: letter {number}\r\nMessage-ID: <{number}@contoso.com>\r\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nHello.\r\n"
    ).encode()


def send(here: Service, number: int = 0) -> str:
    with here.client(OWN) as client:
        code, text = client.letter(ANN, "bob@far.test", content=letter(number))
        assert code == 250, text
        return text.rpartition(" ")[2]


def deferred(here: Service) -> list[str]:
    """The lines of its log that tell of mail which waits."""
    return [line for line in (here.folder / "lockgate.log").read_text().splitlines() if "status=deferred" in line]


@contextlib.contextmanager
def world_of(folder: Path, mode: str = "enforce") -> Iterator[World]:
    authority = Authority(folder)
    mail, web = authority.issue("mx.far.test"), authority.issue("mta-sts.far.test")
    following = authority.issue("mx.far.test")
    zone: dict[tuple[str, str], list[str]] = {
        (name, "A"): ["127.0.0.1"] for name in ("mx.far.test", "mta-sts.far.test")
    }
    with dns(zone) as names, SmtpPeer() as sink:
        server = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "2s", "cache_size": 0}
        port = free_port()  # both sides ask there for policies, so it has to be known before
        with running(
            folder / "far", FAR.format(mode=mode, sink=sink.host), hostname="mx.far.test", dns=server,
            certificate=[{"chain": str(one.chain), "key": str(one.key)} for one in (mail, web)],
            mta_sts={"addresses": ["127.0.0.1"], "port": port, "next_keys": [str(following.chain)], "https_port": port},
            delivery={"ca_bundle": str(authority.file)},
        ) as far:  # fmt: skip
            yield World(far, sink, authority, names, zone, folder, following, {"dns": server, "mail": mail})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(tmp_path_factory.mktemp("sts")) as world:
        world.publish()
        yield world


def test_the_policy_is_served_and_nothing_else(world: World) -> None:
    policy = read_policy(world.served().encode())
    assert (policy.mode.value, policy.mx, policy.max_age) == ("enforce", ("mx.far.test",), 604800)
    assert world.served(path="/") == "" and world.served("mta-sts.contoso.com") == ""


def test_the_lines_to_publish_and_whether_they_are(world: World) -> None:
    lines = world.lines()
    assert lines["far.test"]["state"] == "ok" and lines["far.test"]["zone"] == ["far.test. 3600 IN MX 10 mx.far.test."]
    record = lines["_mta-sts.far.test"]
    assert record["state"] == "ok" and re.fullmatch(r"v=STSv1; id=[0-9a-f]{20};", record["values"][0])
    assert lines["_smtp._tls.far.test"]["values"] == ["v=TLSRPTv1; rua=mailto:tls@far.test"]
    tlsa = lines["_25._tcp.mx.far.test"]
    now, then = world.settings["mail"].pin, world.next_key.pin
    assert tlsa["values"] == [f"3 1 1 {now}", f"3 1 1 {then}"] and tlsa["state"] == "ok"
    assert "not proven by DNSSEC" in tlsa["said"]
    web = lines["https://mta-sts.far.test/.well-known/mta-sts.txt"]
    assert web["state"] == "ok" and web["values"] == world.served().splitlines()
    code, out, _ = world.far.command("domain", "dns", "far.test")
    assert code == 0 and f"_25._tcp.mx.far.test. 3600 IN TLSA 3 1 1 {now}" in out and "max_age: 604800" in out


def test_what_is_published_wrongly_is_found(world: World) -> None:
    before = {key: list(value) for key, value in world.zone.items()}
    try:
        world.zone["_mta-sts.far.test", "TXT"] = ['"v=STSv1; id=old;"']
        world.zone["far.test", "MX"] = ["10 mx.far.test.", "20 old.elsewhere.test."]
        world.zone["_25._tcp.mx.far.test", "TLSA"] = ["3 1 1 " + "ab" * 32]
        del world.zone["_smtp._tls.far.test", "TXT"]
        lines = world.lines(code=1)
        assert {name: row["state"] for name, row in lines.items() if row["wrong"]} == {
            "far.test": "different", "_mta-sts.far.test": "different", "_25._tcp.mx.far.test": "different",
            "_smtp._tls.far.test": "missing",
        }  # fmt: skip
        assert "mail also goes to old.elsewhere.test" in lines["far.test"]["said"]
        assert "a key that is shown now is not among them" in lines["_25._tcp.mx.far.test"]["said"]
        code, out, _ = world.far.command("domain", "dns", "far.test")
        assert code == 1 and "TXT _mta-sts.far.test: different" in out and "there is: v=STSv1; id=old;" in out
        world.zone["_25._tcp.mx.far.test", "TLSA"] = [f"3 1 1 {world.settings['mail'].pin}"]
        assert "the next key is missing" in world.lines(code=1)["_25._tcp.mx.far.test"]["said"]
    finally:
        world.zone.clear()
        world.zone.update(before)


def test_a_change_of_policy_is_served_within_a_second(world: World) -> None:
    before = world.served()
    try:
        assert world.far.command("domain", "set", "far.test", "mta_sts_max_age=8d")[0] == 0
        began = time.monotonic()
        while world.served() == before:
            assert time.monotonic() - began < 1.5
            time.sleep(0.02)
        assert "max_age: 691200" in world.served()
        assert world.lines(code=1)["_mta-sts.far.test"]["state"] == "different"  # another text, another id
    finally:
        assert world.far.command("domain", "set", "far.test", "mta_sts_max_age=7d")[0] == 0
    world.far.until(lambda: world.served() == before, "the policy is as before")


def test_a_killed_policy_host_comes_again(world: World) -> None:
    assert world.far.process is not None
    (pid,) = [one for one in _children(world.far.process.pid) if "policy-host" in Path(f"/proc/{one}/comm").read_text()]
    os.kill(pid, signal.SIGKILL)
    world.far.until(lambda: _served_or_none(world) is not None, "policies are served again")


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _served_or_none(world: World) -> str | None:
    try:
        return world.served()
    except OSError:
        return None


def test_two_lockgates(world: World) -> None:
    """One publishes, the other finds the policy, obeys it and delivers; an impostor MX gets nothing, not even MAIL."""
    with world.sender() as here:
        shown = here.told("tls", "policy", "far.test")
        assert shown["mta_sts"]["source"] == "fetched now" and shown["mta_sts"]["mode"] == "enforce"
        assert [(row["name"], row["covered"]) for row in shown["hosts"]] == [("mx.far.test", True)]
        here.settled(send(here, 1))
        (row,) = here.trace(recipient="bob@far.test")
        assert b"letter 1" in arrived(world.sink)[0].content
        told = (here.folder / "lockgate.log").read_text()
        assert row["status"] == "Delivered"
        assert "MTA-STS policy found: domain=far.test, mode=enforce, mx=mx.far.test, days=7.0" in told

    # From here on the MX is forged, and whoever forges it takes TXT record and web server away as well.
    before = {key: list(value) for key, value in world.zone.items()}
    impostor_papers = world.authority.issue("mx.evil.test")
    with SmtpPeer(Script(context=impostor_papers.server_context()), "127.0.0.2", world.far.port) as impostor:
        try:
            world.zone["far.test", "MX"] = ["10 mx.evil.test."]
            world.zone["mx.evil.test", "A"] = ["127.0.0.2"]
            for gone in ("_mta-sts.far.test", "TXT"), ("mta-sts.far.test", "A"), ("_25._tcp.mx.far.test", "TLSA"):
                world.zone.pop(gone, None)
            with world.sender() as here:  # a restart: what it knows is on disk
                message = send(here, 2)
                here.until(lambda: len(deferred(here)) >= 2, "tried more than once")
                assert all("the MTA-STS policy of far.test names mx.far.test" in line for line in deferred(here))
                code, out, _ = here.command("tls", "policy", "far.test")
                assert code == 1 and "the policy does not cover mx.evil.test (no mail goes there)" in out
                assert "TXT record" in out and "enforce" in out
                # The right name, and a certificate that is not its own: TLS is begun, and no mail leaves either.
                world.zone["far.test", "MX"] = ["10 mx.far.test."]
                world.zone["mx.far.test", "A"] = ["127.0.0.2"]
                sessions = len(impostor.sessions)
                here.until(lambda: len(impostor.sessions) > sessions, "the impostor was dialled")
                here.until(lambda: "certificate" in deferred(here)[-1], "it was seen through")
                assert not impostor.mails
                for session in impostor.sessions:
                    assert b"MAIL FROM" not in (session.clear + session.secure).upper()
                # The forger gives up, and the mail goes where it should.
                world.zone.clear()
                world.zone.update(before)
                here.settled(message)
                assert b"letter 2" in arrived(world.sink, 2)[1].content
        finally:
            world.zone.clear()
            world.zone.update(before)
