"""What a TLS handshake costs the server in CPU, beside the standard library's, in one run with the same parameters.

    python bench/handshake.py [--count 300] [--rounds 7]

Both serve the same certificate (one intermediate) to the same client over memory, ask for a client certificate and send
the same tickets; only the server's calls are timed. Ours includes what is done after the handshake: reading the chain
that was presented, verifying it under the system's bundle and one partner's CA, and making facts of it. The standard
library verifies a client certificate under the partner's CA during the handshake. Rounds alternate, so that both meet
the same machine; the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from edge.authority import make
from lockgate.app.config import _BUNDLES
from lockgate.edge.certificates import PUBLIC, Certificates
from lockgate.edge.shown import CertificateFiles
from lockgate.wire.tls import TlsPipe

NAME = "mx.bench.test"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
LIMITS = {False: 1.2, True: 2.0}


class Silent:
    """A journal that keeps nothing."""

    def note(self, happening: str, **details: object) -> None:
        """Nothing."""

    def alarm(self, happening: str, **details: object) -> None:
        """Something is wrong with the measurement."""
        raise RuntimeError(f"{happening} {details}")


class Client:
    """The same for both."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=NAME)
        self.done = False

    def turn(self, data: bytes) -> bytes:
        """What the server said in, what the client says out."""
        self._in.write(data)
        if not self.done:
            try:
                self._tls.do_handshake()
                self.done = True
            except ssl.SSLWantReadError:
                pass
        return self._out.read()


def ours(certificates: Certificates, client: Client) -> float:
    """CPU seconds of one handshake of ours."""
    spent, data, done, context = 0.0, client.turn(b""), False, certificates.context
    if context is None:
        raise RuntimeError("there is no certificate")
    now = time.time()
    began = time.thread_time()
    pipe = TlsPipe(context, server=True)
    spent += time.thread_time() - began
    while not (done and client.done):
        began = time.thread_time()
        pipe.feed(data)
        if not done:
            done = pipe.handshake()
            if done:
                certificates.facts(pipe, now)
        said = pipe.take()
        spent += time.thread_time() - began
        data = client.turn(said)
    return spent


def theirs(context: ssl.SSLContext, client: Client) -> float:
    """CPU seconds of one handshake of the standard library."""
    spent, data, done = 0.0, client.turn(b""), False
    began = time.thread_time()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    spent += time.thread_time() - began
    while not (done and client.done):
        began = time.thread_time()
        incoming.write(data)
        if not done:
            try:
                tls.do_handshake()
                done = True
                tls.getpeercert(binary_form=True)
            except ssl.SSLWantReadError:
                pass
        said = outgoing.read()
        spent += time.thread_time() - began
        data = client.turn(said)
    return spent


class Bench:
    """Everything that is made once."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.root = make("Bench Root", ca=True)
        middle = make("Bench Middle", issuer=self.root, ca=True)
        self.us = make(NAME, [NAME], issuer=middle, rsa_key=kind == "RSA").write(folder, "us")
        self.partner = make("Partner Root", ca=True)
        self.client = make("mail.partner.test", ["mail.partner.test"], issuer=self.partner).write(folder, "client")
        (folder / "partner-ca.pem").write_bytes(self.partner.chain_pem)
        self.certificates = Certificates([CertificateFiles(*self.us)], Silent())
        files = {"partner": str(folder / "partner-ca.pem")}
        bundle = next((name for name in _BUNDLES if Path(name).is_file()), "")
        self.certificates.trust_files({PUBLIC: bundle, **files} if bundle else files)

    def client_context(self, version: ssl.TLSVersion, with_certificate: bool) -> ssl.SSLContext:
        """The client of both servers."""
        context = ssl.create_default_context(cadata=self.root.chain_pem.decode())
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ECDHE+AESGCM")
        if with_certificate:
            context.load_cert_chain(*self.client)
        return context

    def server_context(self) -> ssl.SSLContext:
        """The standard library's server with the parameters of ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self.us)
        context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.partner.chain_pem.decode())
        return context


def fastest(rounds: int, count: int, ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Microseconds of one handshake by way."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best[name], sum(way() for _ in range(count)) / count * 1e6)
    return best


def main() -> int:
    """Print and keep; 1 if a limit is passed."""
    words = argparse.ArgumentParser()
    words.add_argument("--count", type=int, default=300)
    words.add_argument("--rounds", type=int, default=7)
    said = words.parse_args()
    results, passed = {}, True
    for kind, version, with_certificate in itertools.product(("ECDSA", "RSA"), VERSIONS, (False, True)):
        with tempfile.TemporaryDirectory(prefix="lockgate-handshake-") as text:
            bench = Bench(Path(text), kind)
            client = bench.client_context(VERSIONS[version], with_certificate)
            server = bench.server_context()
            found = fastest(said.rounds, said.count, {
                "ours": lambda: ours(bench.certificates, Client(client)),  # noqa: B023 - called within the turn
                "theirs": lambda: theirs(server, Client(client)),  # noqa: B023
            })  # fmt: skip
        ratio, limit = found["ours"] / found["theirs"], LIMITS[with_certificate]
        passed &= ratio <= limit
        name = f"{kind}, TLS {version}, {'with' if with_certificate else 'without'} client certificate"
        results[name] = {**found, "ratio": ratio, "limit": limit}
        print(f"{name}: ours {found['ours']:.0f} us, standard library {found['theirs']:.0f} us, "
              f"ratio {ratio:.2f} (at most {limit:g})", flush=True)  # fmt: skip
    kept = Path(__file__).parent / "results"
    kept.mkdir(exist_ok=True)
    (kept / f"handshake-{int(time.time())}.json").write_text(json.dumps(results, indent=1))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())


