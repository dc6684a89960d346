"""What a TLS handshake costs the server in CPU, beside the standard library's, in one run with the same parameters.

    python bench/handshake.py [--count 300] [--rounds 7]

Both serve the same certificate (one intermediate) to the same client, ask for a client certificate and send the same
tickets; each is a process of its own, and only the server's calls are timed. (In one process with the client, the
standard library's server found its code and tables in the cache, where the client had just used them, and ours, whose
OpenSSL is another one, did not: 80 microseconds of difference that no server has.)

Ours includes what is done after the handshake: reading the chain that was presented, verifying it under the system's
bundle and one partner's CA, and making facts of it. The standard library verifies a client certificate under the
partner's CA during the handshake. Rounds alternate, so that both meet the same machine; the fastest of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import ssl
import struct
import sys
import tempfile
import time
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
    """The same for both, in the process of the benchmark."""

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


class Ours:
    """Our side of one handshake after another."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def begin(self) -> None:
        """A peer connects."""
        context = self._certificates.context
        if context is None:
            raise RuntimeError("there is no certificate")
        self.done = False
        self._pipe = TlsPipe(context, server=True)

    def turn(self, data: bytes) -> bytes:
        """What the client said in, what the server says out; at the end facts are made of what was shown."""
        self._pipe.feed(data)
        if not self.done and self._pipe.handshake():
            self.done = True
            self._certificates.facts(self._pipe, time.time())
        return self._pipe.take()


class Theirs:
    """The standard library's."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def begin(self) -> None:
        """A peer connects."""
        self.done = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(self._in, self._out, server_side=True)

    def turn(self, data: bytes) -> bytes:
        """The same."""
        self._in.write(data)
        if not self.done:
            try:
                self._tls.do_handshake()
                self.done = True
                self._tls.getpeercert(binary_form=True)
            except ssl.SSLWantReadError:
                pass
        return self._out.read()


BEGIN, GO_ON, TELL, END = b"b", b"g", b"t", b"e"


class Server:
    """A server in a process of its own, as servers are: what the client does there warms no cache of either."""

    def __init__(self, side: Ours | Theirs) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            _stay_on(-1)
            try:
                _serve(theirs, side)
            finally:
                os._exit(1)
        theirs.close()

    def shake_hands(self, client: Client) -> None:
        """One whole handshake."""
        data, word, done = client.turn(b""), BEGIN, False
        while not (done and client.done):
            self._socket.send(word + data)
            answer, word = self._socket.recv(_MOST), GO_ON
            if not answer:
                raise RuntimeError("the server has ended")
            done = answer[:1] == b"\1"
            data = client.turn(answer[1:])

    def spent(self) -> float:
        """CPU seconds of the server's calls since this was asked last."""
        self._socket.send(TELL)
        (seconds,) = struct.unpack("d", self._socket.recv(_MOST))
        return float(seconds)

    def end(self) -> None:
        """Stop it."""
        self._socket.send(END)  # another server may have inherited the socket, so closing it would not tell
        os.waitpid(self._pid, 0)
        self._socket.close()


_MOST = 128 * 1024


def _stay_on(which: int) -> None:
    """The servers share one processor and leave another to the client, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[which]})


def _serve(peer: socket.socket, side: Ours | Theirs) -> None:
    spent = 0.0
    while (word := peer.recv(_MOST)) and word != END:
        if word[:1] == TELL:
            peer.send(struct.pack("d", spent))
            spent = 0.0
            continue
        began = time.thread_time()
        if word[:1] == BEGIN:
            side.begin()
        said = side.turn(word[1:])
        spent += time.thread_time() - began
        peer.send(bytes([side.done]) + said)
    os._exit(0)


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


def fastest(rounds: int, count: int, context: ssl.SSLContext, servers: dict[str, Server]) -> dict[str, float]:
    """Microseconds of one handshake by server."""
    best = dict.fromkeys(servers, float("inf"))
    for _ in range(rounds):
        for name, server in servers.items():
            for _ in range(count):
                server.shake_hands(Client(context))
            best[name] = min(best[name], server.spent() / count * 1e6)
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
            servers = {"ours": Server(Ours(bench.certificates)), "theirs": Server(Theirs(bench.server_context()))}
            found = fastest(said.rounds, said.count, client, servers)
            for server in servers.values():
                server.end()
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
