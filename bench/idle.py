"""What an idle connection costs, plain, TLS, with client certificate: PSS of the whole service without and with 10,000.

    python bench/idle.py [--count 10000]

Every connection has said EHLO (and STARTTLS, and EHLO again) and waits. While all are open, new mail is sent, and its
latency is printed beside that of an empty service.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from corpus import write_corpus
from peers import Lockgate, family, load, pss_megabytes, sink

KIB_IN_MIB = 1024
EC = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


def pair(folder: Path, name: str, kind: list[str]) -> tuple[Path, Path]:
    """A certificate of this run and its key."""
    words = ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "2"]
    words += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    chain, key = folder / f"{name}-{kind[0]}.pem", folder / f"{name}-{kind[0]}.key"
    subprocess.run([*words, "-out", str(chain), "-keyout", str(key)], check=True, capture_output=True)
    return chain, key


def certificates(folder: Path) -> str:
    """One of each kind for the same name, as lines of the operator's file."""
    pairs = [pair(folder, "mx.bench.test", kind) for kind in (EC, ["rsa:2048"])]
    return "".join(f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n' for chain, key in pairs)


class Idler:
    """One connection that has introduced itself and waits."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._read()
        self._say(b"EHLO idle.test\r\n")
        if context is not None:
            self._say(b"STARTTLS\r\n")
            self._socket = context.wrap_socket(self._socket, server_hostname="mx.bench.test")
            self._say(b"EHLO idle.test\r\n")

    def _say(self, line: bytes) -> None:
        self._socket.sendall(line)
        self._read()

    def _read(self) -> bytes:
        data = b""
        while not data.endswith(b"\r\n") or data[data.rfind(b"\n", 0, -1) + 4 :][:1] == b"-":
            more = self._socket.recv(4096)
            if not more:
                raise RuntimeError(f"the service hung up after {data!r}")
            data += more
        return data

    def alive(self) -> bool:
        """Whether it still answers."""
        self._socket.sendall(b"NOOP\r\n")
        return self._read().startswith(b"250")

    def close(self) -> None:
        """Gone without a word."""
        self._socket.close()


def client(folder: Path, *, presents: bool) -> ssl.SSLContext:
    """The connecting side; whom it talks to is not looked at."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if presents:
        context.load_cert_chain(*pair(folder, "mail.partner.test", EC))
    return context


def settled(pid: int) -> float:
    """PSS in MiB once it no longer moves."""
    last = pss_megabytes(pid)
    for _ in range(20):
        time.sleep(0.5)
        now = pss_megabytes(pid)
        if abs(now - last) < 0.2:
            return now
        last = now
    return last


def measure(peer: Lockgate, body: Path, count: int, context: ssl.SSLContext | None) -> dict[str, Any]:
    """Open, weigh, send mail meanwhile, close."""
    quick = load(peer.port, [body], n=300, c=2, i=f"before-{context is not None}")
    before = settled(peer.pid)
    began = time.monotonic()
    idlers = [Idler(peer.port, context) for _ in range(count)]
    opened = time.monotonic() - began
    during = settled(peer.pid)
    meanwhile = load(peer.port, [body], n=300, c=2, i=f"during-{context is not None}")
    alive = sum(idler.alive() for idler in idlers)
    for idler in idlers:
        idler.close()
    return {
        "connections": alive,
        "idle_service_mib": before,
        "with_them_mib": during,
        "each_kib": (during - before) * KIB_IN_MIB / count,
        "opened_per_s": count / opened,
        "p99_ms_before": quick["p99_ms"],
        "p99_ms_meanwhile": meanwhile["p99_ms"],
        "after_they_left_mib": settled(peer.pid),
        "processes": len(family(peer.pid)),
    }


def main() -> None:
    """Print and keep."""
    words = argparse.ArgumentParser()
    words.add_argument("--count", type=int, default=10_000)
    count = words.parse_args().count
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results: dict[str, dict[str, Any]] = {}
    for name in ("plain", "TLS", "TLS with client certificate"):
        with tempfile.TemporaryDirectory(prefix="lockgate-idle-") as text, sink(Path(text)) as (port, _):
            folder = Path(text)
            how = None if name == "plain" else client(folder, presents="client" in name)
            body = write_corpus(folder / "corpus")["small"]
            peer = Lockgate(folder / "peer", port, more=certificates(folder))
            peer.start()
            try:
                results[name] = found = measure(peer, body, count, how)
            finally:
                peer.stop()
        print(name, "  ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
    kept = Path(__file__).parent / "results"
    kept.mkdir(exist_ok=True)
    (kept / f"idle-{int(time.time())}.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
