"""The process that serves our own MTA-STS policies: strangers' connections never share one with the desk."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import msgspec

from lockgate.app.config import OperatorFile
from lockgate.app.policies import PolicyInForce
from lockgate.app.sts import shown_certificates
from lockgate.app.wiring import Ready, journal_of, policies_of, run_loop, stop_signal
from lockgate.edge.policy_host import PolicyHost
from lockgate.policy.publishing import all_published


def run_policy_host(config: OperatorFile, sockets: Sequence[socket.socket], ready: Ready) -> None:
    """A process of the service; run/mta-sts.json tells where it listens."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, "policy-host")
        policy = PolicyInForce(policies_of(config), lambda why: journal.alarm("policy not taken up", because=why))
        texts = all_published(policy())
        host = PolicyHost(lambda: texts, lambda: shown_certificates(config), journal)
        host.open(sockets)
        where = [one.getsockname()[:2] for one in sockets]
        (config.run_directory / "mta-sts.json").write_bytes(msgspec.json.encode(where))
        ready()
        ended = asyncio.ensure_future(stop.wait())
        while not (await asyncio.wait((ended,), timeout=policy.pause))[0]:
            try:
                if await policy.look():
                    texts = all_published(policy())
                host.refresh()
            except Exception as trouble:  # whatever is wrong with one revision, the next one must be taken up
                journal.alarm("policy not taken up", because=trouble)
        await host.close()
        journal.close()

    run_loop(main())
