"""The running service asks one worker while few clients are there, more when many are, and one again after a while."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
from collections.abc import Iterator

import pytest

from lockgate.edge.load import workloads
from peers.contoso import contoso
from peers.service import Service, running

WORKERS = 3
LIMITS = "[operator.limits]\nconnections_per_peer = 1000\n"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    policy = contoso("127.0.0.1:1", domain_type="internal_relay")
    with running(tmp_path_factory.mktemp("spread"), LIMITS + policy, workers=WORKERS) as service:
        yield service


def connections(service: Service) -> list[int]:
    return [one.connections for one in workloads(service.state / "run" / "load.table", WORKERS)]


def clients(service: Service, count: int, until: contextlib.ExitStack) -> None:
    """So many that have been greeted and stay until the end."""
    for _ in range(count):
        until.enter_context(smtplib.SMTP("127.0.0.1", service.port, timeout=30))


def few_at_one(service: Service) -> bool:
    """Whether twenty clients all come to the first worker."""
    with contextlib.ExitStack() as here:
        clients(service, 20, here)
        return connections(service) == [20, 0, 0]


def test_a_few_clients_are_served_by_one_worker_and_many_by_all(service: Service) -> None:
    if "this kernel lets nobody choose" in service.said(1000):
        pytest.skip("this kernel has no SO_ATTACH_REUSEPORT_CBPF: it gives connections to all workers")
    # Where so much else runs that workers come late, more are asked, until there have been ten seconds of calm.
    service.until(lambda: few_at_one(service), "one worker serves a few clients", patience=120, pause=1.0)
    with contextlib.ExitStack() as here:
        clients(service, 40, here)
        # The supervisor looks ten times a second.
        service.until(lambda: spread_over(service, here) >= 2, "a second worker is asked")
        clients(service, 60, here)
        service.until(lambda: spread_over(service, here) == WORKERS, "all are asked")


def spread_over(service: Service, here: contextlib.ExitStack) -> int:
    """One client more; how many workers have any."""
    clients(service, 1, here)
    return sum(bool(one) for one in connections(service))


def test_clients_of_a_worker_that_dies_are_taken_by_the_others(service: Service) -> None:
    (first,) = [int(name[9:-1]) for name in service.workers() if name.startswith("worker-0[")]
    with contextlib.ExitStack() as here:
        clients(service, 3, here)
        os.kill(first, signal.SIGKILL)
        for _ in range(5):
            with smtplib.SMTP("127.0.0.1", service.port, timeout=30) as client:
                assert client.noop()[0] == 250
