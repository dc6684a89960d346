"""Full disks, failed syncs and too many open files: 4xx and an alarm, no 250 without a copy, recovery by itself."""

from __future__ import annotations

import datetime as dt
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.app.storms import EVERY
from peers.load import BODY, POLICY, NextHop, Senders
from proof.injected import Injected
from proof.killable import Service, wait_for

FAULTS = (
    ("lg:keeper", "fdatasync", "EIO"),
    ("lg:keeper", "pwrite64", "ENOSPC"),
    ("lg:keeper", "pwrite64", "EIO"),
    ("lg:worker-0", "pwritev2", "ENOSPC"),
    ("lg:worker-0", "pwritev2", "EDQUOT"),
    ("lg:worker-0", "pwritev2", "EIO"),
)


@pytest.fixture(scope="module")
def hop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NextHop]:
    with NextHop(tmp_path_factory.mktemp("hop")) as hop:
        yield hop


@pytest.fixture(scope="module")
def service(hop: NextHop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all faults: it has to come through every one of them without being started again."""
    with Service(tmp_path_factory.mktemp("failing"), POLICY.format(port=hop.port)) as service:
        yield service


def _send(service: Service, name: str) -> tuple[int, str]:
    """The reply to the end of data of one message, or to whatever was refused before."""
    try:
        with smtplib.SMTP("127.0.0.1", service.port, timeout=30) as session:
            session.ehlo("sender.test")
            session.mail("a@sender.test")
            session.rcpt("b@load.test")
            code, text = session.data(b"X-Load-Id: " + name.encode() + b"\r\n" + BODY)
            return code, text.decode()
    except smtplib.SMTPResponseException as trouble:
        said = trouble.smtp_error
        return trouble.smtp_code, said.decode() if isinstance(said, bytes) else said


def _taken(service: Service, name: str, acknowledged: list[str]) -> bool:
    code, _ = _send(service, name)
    if code == 250:
        acknowledged.append(name)
    return code == 250


def _alarms(service: Service, since: float = 0.0) -> list[dict[str, Any]]:
    """The alarms noted after `since` (seconds since the epoch)."""
    shown = service.ask("status", "--alarms", "200")["alarms"]
    return [one for one in shown if one["alarm"] and dt.datetime.fromisoformat(one["time"]).timestamp() > since]


def _calm(service: Service) -> bool:
    """Whether nothing of an earlier fault is still to be told, so that an alarm can only be of the next one."""
    return not _alarms(service, time.time() - EVERY - 2)


@pytest.mark.parametrize(("who", "call", "error"), FAULTS)
def test_while_nothing_can_be_kept_senders_are_told_to_try_later(
    who: str, call: str, error: str, service: Service, hop: NextHop
) -> None:
    acknowledged: list[str] = []
    tag = f"{who[3:]}-{call}-{error}"
    assert wait_for(lambda: _taken(service, f"{tag}-before", acknowledged), 20)
    assert wait_for(lambda: _calm(service), 60), service.said()
    began = time.time()
    with Injected(service.processes()[who], call, f"error={error}", "1+"):
        replies = [_send(service, f"{tag}-refused-{number}") for number in range(4)]
    assert {code for code, _ in replies} <= {451, 452}, replies
    assert all(text.startswith("4.3.") for _, text in replies), replies
    again = iter(range(1000))
    assert wait_for(lambda: _taken(service, f"{tag}-after-{next(again)}", acknowledged), 20), service.said()
    told = _alarms(service, began)
    assert told, "nobody was told"
    # A few troubles of a few processes, each told once and then at most every few seconds: never one for each try.
    assert len(told) <= 12 * (1 + (time.time() - began) / EVERY), told
    assert wait_for(lambda: set(acknowledged) <= set(hop.arrived()), 30), (acknowledged, service.said())
    refused = [f"{tag}-refused-{number}" for number in range(4)]
    assert not set(refused) & set(hop.arrived()), "a message that was refused has been delivered"


@pytest.mark.parametrize(("who", "call", "error"), FAULTS)
def test_one_failure_under_load_breaks_no_promise(
    who: str, call: str, error: str, service: Service, hop: NextHop, tmp_path: Path
) -> None:
    acknowledged: set[str] = set()
    refused = 0
    with Injected(service.processes()[who], call, f"error={error}", "20+40"):
        for turn in range(12):  # on a slow machine each commit of the first seconds may meet the fault
            name = f"load-{who[3:]}-{call}-{error}-{turn}"
            with Senders(tmp_path, service.port, name=name, seconds=2.5) as senders:
                refused += senders.wait()["refused"]
            acknowledged |= set(senders.acknowledged())
            if acknowledged and refused:
                break
    assert acknowledged, (refused, service.said())
    assert refused > 0, "the fault was never met"
    assert wait_for(lambda: acknowledged <= set(hop.arrived()), 60), (
        len(acknowledged - set(hop.arrived())),
        service.said(),
    )
