"""Stopping, reloading and new certificates under load: nothing acknowledged is lost, nobody is kept waiting."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from lockgate.storage.keeper import lock_queue
from peers.certificates import Authority, Papers
from peers.client import Client, letter
from peers.contoso import contoso
from peers.listening import arrived, subject
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer


def relay(sink: SmtpPeer) -> str:
    return contoso(sink.host, domain_type="internal_relay")


BLOCK = """
[operator]
ip_block_list = ["192.0.2.10"]
"""
BODY = b"x" * 70 + b"\r\n"


class Load:
    """Clients that send as fast as they are answered, until told to stop; `kept` are the acknowledged subjects."""

    def __init__(self, service: Service, clients: int = 6) -> None:
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]
        self.kept: set[str] = set()
        self.refused: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            try:
                with Client(self._service.proxied, f"198.51.100.{number}") as client:
                    for _ in range(20):
                        count += 1
                        self._one(client, f"load-{number}-{count}")
                        if self._stop.is_set():
                            return
            except (OSError, smtplib.SMTPException) as trouble:
                code = getattr(trouble, "smtp_code", 0)
                if code >= 500:
                    self.refused.append(str(trouble))
                time.sleep(0.02)  # the port is closed for a moment

    def _one(self, client: Client, name: str) -> None:
        content = letter("alice@outside.example", "ben@contoso.com", name, "") + BODY * 30
        code, text = client.letter("alice@outside.example", "ben@contoso.com", content=content)
        if code == 250:
            self.kept.add(name)
        elif code >= 500:
            self.refused.append(text)
        else:
            raise smtplib.SMTPServerDisconnected(text)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_nothing(tmp_path: Path, workers: int) -> None:
    with SmtpPeer() as sink, running(tmp_path / "s", relay(sink), workers=workers) as service:
        with Load(service) as load:
            for wanted in (150, 400):
                service.until(lambda least=wanted: len(load.kept) >= least, "the load runs")
                began = time.monotonic()
                assert service.stop() == 0, service.said()
                assert time.monotonic() - began < 10, "idle peers do not keep it from stopping"
                service.start()
            service.until(lambda: len(load.kept) >= 600, "the load runs again")
        service.until(lambda: not service.queue(), "the queue is empty")
        got = [subject(mail) for mail in sink.mails]
        assert load.kept <= set(got), f"lost: {sorted(load.kept - set(got))[:5]}"
        assert len(got) == len(set(got)), "an orderly stop sends nothing twice"
        assert not load.refused
        assert service.trace(status="Pending") == []


def test_a_message_under_way_is_still_taken_while_the_service_stops(tmp_path: Path) -> None:
    with SmtpPeer() as sink, running(tmp_path / "s", relay(sink)) as service:
        with service.client() as client, service.client() as idle:
            idle.ehlo()
            client.begin("alice@outside.example")
            client.to("ben@contoso.com")
            assert client.docmd("DATA")[0] == 354
            service.signal(signal.SIGTERM)
            time.sleep(0.5)
            client.send(letter("alice@outside.example", "ben@contoso.com", "late") + b".\r\n")
            code, text = client.getreply()
            assert code == 250, text
            code, text = idle.getreply()
            assert code == 421, "who is idle is told to come back"
        assert service.process is not None
        assert service.process.wait(20) == 0
        service.start()
        assert subject(arrived(sink)[0]) == "late"


def test_nobody_new_is_let_in_while_the_service_stops(tmp_path: Path) -> None:
    deadlines = {"drain": "30s"}
    with SmtpPeer() as sink, running(tmp_path / "s", relay(sink), workers=2, deadlines=deadlines) as service:

        def refused(port: int) -> bool:
            """Whether a connection is refused at once; one that came before all had closed is reset."""
            try:
                with socket.create_connection(("127.0.0.1", port), 5):
                    return False
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:
                return False

        with service.client() as client:
            client.begin("alice@outside.example")
            client.to("ben@contoso.com")
            assert client.docmd("DATA")[0] == 354
            service.signal(signal.SIGTERM)
            for port in service.ports:
                service.until(lambda port=port: refused(port), "new peers are refused")
            assert service.process is not None and service.process.poll() is None
            client.send(letter("alice@outside.example", "ben@contoso.com", "late") + b".\r\n")
            code, text = client.getreply()
            assert code == 250, text
        assert service.process.wait(20) == 0


@pytest.mark.parametrize("by", ["SIGHUP", "reload"])
def test_new_policy_is_in_force_within_a_second(tmp_path: Path, by: str) -> None:
    with SmtpPeer() as sink:
        policy = relay(sink)
        with running(tmp_path / "s", policy, workers=2) as service:
            with service.client() as client:
                assert client.ehlo()[0] == 250
            with service.crowded(2), Load(service, 2) as load:
                service.write_policy(BLOCK + policy)
                if by == "SIGHUP":
                    service.signal(signal.SIGHUP)
                else:
                    service.reload(BLOCK + policy)
                time.sleep(1.0)
                for _ in range(8):  # whichever worker answers
                    with pytest.raises(smtplib.SMTPConnectError, match=r"5\.7\.513"):
                        service.client()
            assert load.kept and not load.refused
            assert "did=reload" in service.said(100_000)


def test_broken_policy_changes_nothing(tmp_path: Path) -> None:
    with SmtpPeer() as sink, running(tmp_path / "s", relay(sink)) as service:
        before = service.status()["policy_revision"]
        service.write_policy(relay(sink) + "\n[[nonsense]]\n")
        service.signal(signal.SIGHUP)
        service.until(lambda: "policy not taken up" in service.said(), "the log says so")
        assert service.status()["policy_revision"] == before
        service.settled(service.send("alice@outside.example", "ben@contoso.com"))


def shown(service: Service) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", service.port, "client.test", 20) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        found = client.sock.getpeercert(binary_form=True)
        assert found
        return found


def put(papers: Papers, chain: Path, key: Path) -> None:
    """As certificate programs do: beside, then renamed over."""
    for source, target in ((papers.chain, chain), (papers.key, key)):
        fresh = target.with_suffix(".new")
        fresh.write_bytes(source.read_bytes())
        os.replace(fresh, target)


@pytest.mark.slow
def test_a_certificate_is_replaced_while_running(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    old, new = ca.issue(HOSTNAME), ca.issue(HOSTNAME)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    put(old, chain, key)
    with SmtpPeer() as sink:
        policy = relay(sink)
        with running(tmp_path / "s", policy, certificate=[{"chain": chain, "key": key}]) as service:
            with service.client() as client:
                client.secure()
                first = shown(service)
                put(new, chain, key)
                service.until(lambda: shown(service) != first, "the new certificate is shown", pause=0.3)
                code, _ = client.letter("alice@outside.example", "ben@contoso.com", content="kept")
                assert code == 250, "open connections go on"
            alarms = service.said(1000).count("certificate not replaced")
            chain.write_text("no certificate at all")
            service.until(
                lambda: service.said(1000).count("certificate not replaced") > alarms, "a person is told", pause=0.3
            )
            assert shown(service) != first, "what worked goes on working"
        assert [subject(mail) for mail in sink.mails] == ["kept"]


@pytest.mark.slow
def test_whoever_is_started_while_another_one_still_ends_waits_for_it(tmp_path: Path) -> None:
    with SmtpPeer() as sink, running(tmp_path / "s", relay(sink)) as service:
        service.stop()
        lock = lock_queue(service.state)
        starting = threading.Thread(target=service.start)
        starting.start()
        try:
            why = "The keeper cannot begin: Another keeper already uses"
            service.until(lambda: why in service.said(), "it says why")
        finally:
            os.close(lock)
            starting.join(30)
        assert "Traceback" not in service.said(1000)
        with service.client() as client:
            assert client.letter("alice@outside.example", "ben@contoso.com", content="waited")[0] == 250
