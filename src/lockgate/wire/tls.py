"""TLS as bytes in and bytes out, in which a handshake decides nothing: whatever certificate comes, it completes.

The standard library's `ssl` either never asks for a client certificate or breaks the handshake of every peer whose
certificate it does not like (threats 3.3.1). Here OpenSSL's verify callback notes the errors and always agrees;
`wire/certificates.py` makes facts of what was shown.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL, crypto

_CIPHERS = (
    b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AESGCM:RSA+AES:!aNULL:@SECLEVEL=0"
)
"""TLS 1.2 suites. Security level 0 because a small key or an old signature in a certificate is judged, not refused."""

_SLICE = 8 * 1024
"""How much ciphertext a memory BIO is given at once: it never gives memory back, so it must not grow."""

_RECORD = 16 * 1024

_FLIGHT = 4 * 1024
"""How much ciphertext is asked for first: most answers and flights of a handshake are smaller, and room is not free."""


class TlsFailed(Exception):
    """The handshake or the stream is broken; `str()` says why, for people.

    `before` is the plaintext that came whole before the damage and has not been given yet.
    """

    def __init__(self, why: str, before: bytes = b"") -> None:
        super().__init__(why)
        self.before = before


class _Noted:
    """What was noted while a handshake went on."""

    __slots__ = ("asked", "errors")

    def __init__(self) -> None:
        self.errors: list[tuple[int, int]] = []
        self.asked = False


class TlsPipe:
    """One TLS connection without a socket.

    `closed` tells that the peer will send no more (close_notify or the end of the stream). Feed what comes from the
    peer, then call `handshake` until it is True, afterwards `read`; send to the peer what `take` gives after each call.
    """

    __slots__ = ("_conn", "_noted", "_out", "_ready", "_unfed", "closed", "server_name")

    def __init__(
        self, context: SSL.Context, *, server: bool, server_name: str = "", session: SSL.Session | None = None
    ) -> None:
        self.closed = False
        self.server_name = server_name
        self._noted = _Noted()
        self._unfed = b""
        self._out: list[bytes] = []
        self._ready = False
        self._conn = SSL.Connection(context, None)
        self._conn.set_app_data(self._noted)
        if server:
            self._conn.set_accept_state()
            return
        if server_name:
            self._conn.set_tlsext_host_name(server_name.encode("idna" if not server_name.isascii() else "ascii"))
        if session is not None:
            self._conn.set_session(session)
        self._conn.set_connect_state()

    def feed(self, data: bytes) -> None:
        """Ciphertext from the peer."""
        self._unfed = self._unfed + data if self._unfed else data

    def feed_eof(self) -> None:
        """The peer's stream is at its end."""
        self._conn.bio_shutdown()

    def take(self) -> bytes:
        """Ciphertext to send to the peer; b"" if there is none."""
        self._drain()
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def handshake(self) -> bool:
        """Go on with the handshake; True once it is complete. Raises TlsFailed."""
        if self._ready:
            return True
        while True:
            more = self._push()
            try:
                self._conn.do_handshake()
            except SSL.WantReadError:
                if more:
                    continue
                return False
            except SSL.Error as trouble:
                raise TlsFailed(_reason(trouble)) from None
            self._ready = True
            name = self._conn.get_servername()
            if name and not self.server_name:
                self.server_name = name.decode("ascii", "replace").lower()
            return True

    def read(self) -> bytes:
        """Plaintext that is available now, b"" if none. Raises TlsFailed when the stream is damaged."""
        chunks: list[bytes] = []
        receive = self._conn.recv
        while not self.closed:
            more = self._push()
            try:
                while True:
                    chunks.append(receive(_RECORD))
            except SSL.WantReadError:
                if not more:
                    break
            except (SSL.ZeroReturnError, SSL.SysCallError):
                self.closed = True
            except SSL.Error as trouble:
                if "unexpected eof" not in _reason(trouble):
                    raise TlsFailed(_reason(trouble), b"".join(chunks)) from None
                self.closed = True
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def write(self, data: bytes) -> None:
        """Plaintext to the peer; `take` gives the ciphertext. Only after the handshake. Raises TlsFailed."""
        view = memoryview(data)
        try:
            for start in range(0, len(view), _RECORD):
                self._conn.sendall(bytes(view[start : start + _RECORD]))
                self._drain()
        except SSL.Error as trouble:
            raise TlsFailed(_reason(trouble)) from None

    def shutdown(self) -> None:
        """Say close_notify; never raises."""
        try:
            self._conn.shutdown()
        except SSL.Error:
            self.closed = True

    @property
    def version(self) -> str:
        """The protocol as OpenSSL names it, e.g. "TLSv1.3"."""
        return self._conn.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        """The cipher suite, "" before the handshake."""
        return self._conn.get_cipher_name() or ""

    @property
    def session(self) -> SSL.Session | None:
        """What a client hands to the next connection to the same server, to save a full handshake."""
        return self._conn.get_session()

    def peer_chain(self) -> list[bytes]:
        """The certificates the peer presented, DER, leaf first; [] if it presented none."""
        leaf = self._conn.get_peer_certificate()
        if leaf is None:
            return []
        chain = [_der(certificate) for certificate in self._conn.get_peer_cert_chain() or ()]
        first = _der(leaf)
        # OpenSSL leaves the leaf out of the chain on the server's side and keeps it on the client's.
        return chain if chain and chain[0] == first else [first, *chain]

    def verify_errors(self) -> tuple[tuple[int, int], ...]:
        """(depth, OpenSSL error code) of all that verification found wrong while the handshake went on."""
        return tuple(self._noted.errors)

    @property
    def certificate_asked(self) -> bool:
        """Whether the server asked for our certificate; known only in a context that is watched."""
        return self._noted.asked

    def _push(self) -> bool:
        """Give OpenSSL the next slice; True if more is waiting."""
        data = self._unfed
        if data:
            if len(data) > _SLICE:
                self._conn.bio_write(data[:_SLICE])
                self._unfed = data[_SLICE:]
                return True
            self._unfed = b""
            self._conn.bio_write(data)
        return False

    def _drain(self) -> None:
        size, read = _FLIGHT, self._conn.bio_read
        try:
            while True:
                data = read(size)
                self._out.append(data)
                if len(data) < size:
                    return
                size = 2 * _RECORD
        except SSL.Error:  # nothing more in the BIO
            return


class Identity(NamedTuple):
    """What one side shows: `chain` is PEM, our certificate followed by its intermediates; `key` is PEM."""

    chain: bytes
    key: bytes


def server_context(*identities: Identity, choose: Callable[[str], SSL.Context | None] | None = None) -> SSL.Context:
    """The listening side: TLS 1.2 and newer, asks for a client certificate without naming any CA, accepts all.

    Of several `identities`, which have keys of different kinds, a client gets ECDSA if it can use it, else RSA.
    `choose` gives another context for the server name a client asks for (lower case, without trailing dot), or None to
    stay. Nothing is resumed: a resumed session has lost the peer's chain (DESIGN 5). Raises ValueError if a certificate
    and its key cannot be used.
    """
    context = _context(SSL.TLS_SERVER_METHOD)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"lockgate")
    for identity in identities:
        _identify(context, identity)
    if choose is not None:

        def switch(connection: SSL.Connection) -> None:
            name = connection.get_servername()
            other = choose(name.decode("ascii", "replace").lower().rstrip(".")) if name else None
            if other is not None:
                connection.set_context(other)

        context.set_tlsext_servername_callback(switch)
    return context


def client_context(chain_pem: bytes = b"", key_pem: bytes = b"", *, watched: bool = False) -> SSL.Context:
    """The dialling side: TLS 1.2 and newer, accepts any server certificate; the caller judges the chain.

    With `chain_pem` and `key_pem` that certificate is presented when the server asks. `watched` has its pipes note
    whether it did ask, at the cost of a call for each step of a handshake. Raises ValueError.
    """
    context = _context(SSL.TLS_CLIENT_METHOD)
    if watched:
        context.set_info_callback(_watch)
    if chain_pem:
        _identify(context, Identity(chain_pem, key_pem))
    return context


def _context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(_CIPHERS)
    context.set_verify(SSL.VERIFY_PEER, _note)
    return context


def _identify(context: SSL.Context, identity: Identity) -> None:
    try:
        leaf = x509.load_pem_x509_certificates(identity.chain)[0]
        key = load_pem_private_key(identity.key, None)
        if _public(key.public_key()) != _public(leaf.public_key()):
            raise ValueError("the key is not that of the certificate")
        with _as_file(identity.chain) as file:  # from a file, because only so each certificate gets a chain of its own
            context.use_certificate_chain_file(file)
        context.use_privatekey(key)  # type: ignore[arg-type]
        context.check_privatekey()
    except (ValueError, TypeError, UnsupportedAlgorithm, SSL.Error) as trouble:
        raise ValueError(f"the certificate and its key cannot be used: {_reason(trouble)}") from None


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A file that holds these octets for a moment; in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        place = os.memfd_create("chain")
        try:
            os.write(place, data)
            yield f"/proc/self/fd/{place}"
        finally:
            os.close(place)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.name


def _note(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    """OpenSSL's verify callback: write down what is wrong and go on."""
    if error:
        connection.get_app_data().errors.append((depth, error))
    return True


def _watch(connection: SSL.Connection, where: int, value: int) -> None:
    """OpenSSL's info callback: nothing else tells a client that the server asked for a certificate."""
    if where & SSL.SSL_CB_LOOP and b"certificate request" in connection.get_state_string():
        connection.get_app_data().asked = True


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _reason(trouble: Exception) -> str:
    """OpenSSL's error queue as one phrase."""
    if isinstance(trouble, SSL.Error) and trouble.args and isinstance(trouble.args[0], list):
        reasons = [entry[-1] for entry in trouble.args[0] if entry and entry[-1]]
        return ", ".join(dict.fromkeys(reasons)) or "TLS broke without a reason given"
    return str(trouble) or type(trouble).__name__
