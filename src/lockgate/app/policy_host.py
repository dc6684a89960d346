"""The process that serves our own MTA-STS policies: strangers' connections never share one with the desk."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockgate.app.config import OperatorFile
from lockgate.app.policies import PolicyInForce
from lockgate.app.showing import certificate_files
from lockgate.app.wiring import Ready, journal_of, policies_of, run_loop, stop_signal
from lockgate.edge.policy_host import PolicyHost
from lockgate.edge.shown import CertificateFiles
from lockgate.policy.publishing import all_published
from lockgate.wire.certificates import joined_chain


def _whole_chains(config: OperatorFile) -> list[tuple[Path, Path]]:
    """Chain and key of each certificate; where intermediate ones lie in a file of their own, they are put behind."""
    return [
        (_joined(config.run_directory, one) if one.intermediates else Path(one.chain), Path(one.key))
        for one in certificate_files(config)
    ]


def _joined(folder: Path, files: CertificateFiles) -> Path:
    """A file with the whole chain, written anew when it has changed; the chain alone where that cannot be."""
    whole = folder / f"chain-{hashlib.sha256(files.chain.encode()).hexdigest()[:16]}.pem"
    try:
        pem = joined_chain(Path(files.chain).read_bytes(), Path(files.intermediates).read_bytes())
        if not whole.exists() or whole.read_bytes() != pem:
            fresh = whole.with_suffix(".new")
            fresh.write_bytes(pem)
            fresh.replace(whole)
    except (OSError, ValueError):
        return Path(files.chain)  # what is wrong with it is told where it is shown to mail servers
    return whole


def run_policy_host(config: OperatorFile, sockets: Sequence[socket.socket], ready: Ready) -> None:
    """A process of the service; run/mta-sts.json tells where it listens."""

    async def main() -> None:
        stop = stop_signal()
        journal = journal_of(config, "policy-host")
        policy = PolicyInForce(policies_of(config), lambda why: journal.alarm("policy not taken up", because=why))
        texts = all_published(policy())
        host = PolicyHost(lambda: texts, lambda: _whole_chains(config), journal)
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
