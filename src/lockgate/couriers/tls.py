"""Does this server's certificate meet the demand? Outgoing TLS: contexts, trust, sessions (specification 1.2.1)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from OpenSSL import SSL, crypto

from lockgate.couriers.dane import disproves
from lockgate.couriers.hosts import is_address
from lockgate.couriers.objection import Objection, seen
from lockgate.couriers.terms import Terms
from lockgate.mail.certificate_names import name_covered
from lockgate.mail.connection import Certificate
from lockgate.mail.hop import NextHop, TlsDemand
from lockgate.mail.ruling import TlsLevel
from lockgate.seams import Clock
from lockgate.wire.certificates import certificate_facts
from lockgate.wire.tls import TlsPipe, client_context

MOST_SESSIONS = 2000

_CHAINED = (TlsLevel.CERTIFICATE_VALIDATION, TlsLevel.DOMAIN_VALIDATION)
_NAME = "4.7.325"


class TlsUnusable(Exception):
    """A file that TLS needs here cannot be used; str() tells the administrator which and why."""


class Trust:
    """The CAs of one file and the revocation lists that go with it."""

    __slots__ = ("_lists", "_store")

    def __init__(self, ca_file: str, crl_pem: bytes) -> None:
        self._store = crypto.X509Store()
        # OpenSSL reads the file itself: one root in it that cryptography dislikes must not cost the others.
        self._store.load_locations(ca_file)
        blocks = crl_pem.split(b"-----BEGIN X509 CRL-----")[1:]
        self._lists = [x509.load_pem_x509_crl(b"-----BEGIN X509 CRL-----" + block) for block in blocks]

    def objects(self, chain: Sequence[bytes]) -> str:
        """Why the chain (DER, leaf first) does not lead to these CAs now, or who revoked it; "" if all is well."""
        try:
            leaf, *others = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain]
            verified = crypto.X509StoreContext(self._store, leaf, others).get_verified_chain()
        except crypto.X509StoreContextError as trouble:
            return str(trouble)
        except crypto.Error:
            return "the certificate cannot be read"
        certificates = [certificate.to_cryptography() for certificate in verified]
        for certificate, issuer in itertools.pairwise(certificates):
            if any(_revokes(revocations, certificate, issuer) for revocations in self._lists):
                return "the certificate is revoked by its issuer's list"
        return ""


def _revokes(
    revocations: x509.CertificateRevocationList, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    """Whether an authentic list of the issuer names the certificate; an old list still tells the truth about that."""
    if revocations.issuer != certificate.issuer:
        return False
    if revocations.get_revoked_certificate_by_serial_number(certificate.serial_number) is None:
        return False
    return revocations.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]


class _Kept(msgspec.Struct, frozen=True):
    """A session and the chain that was shown when it began: a resumed handshake shows none."""

    session: SSL.Session
    chain: tuple[bytes, ...]


SessionKey = tuple[str, str, int, TlsDemand]


class Assurance:
    """Contexts by client certificate, trust by CA file, sessions by server and demand; changed files are read again."""

    def __init__(self, ca_bundle: str, crl_file: str, certificate: str, key: str, clock: Clock) -> None:
        self._ca_bundle = ca_bundle
        self._crl_file = crl_file
        self._own = (certificate, key)
        self._clock = clock
        self._contexts: dict[tuple[str, str], tuple[object, SSL.Context]] = {}
        self._trusts: dict[str, tuple[object, Trust]] = {}
        self._sessions: dict[SessionKey, _Kept] = {}

    def ready(self, hop: NextHop, terms: Terms) -> None:
        """Read the files that are needed, if they are new. Raises TlsUnusable."""
        self._context(hop.tls)
        chain = hop.tls.level in _CHAINED or (hop.require_tls and not terms.proves)
        if (chain and not hop.tls.pins) or terms.enforced:
            self._trust(hop.tls.ca_file or self._ca_bundle)

    def pipe(self, demand: TlsDemand, key: SessionKey) -> TlsPipe:
        """The dialling side of one connection; SNI is the name in `key`. Raises TlsUnusable."""
        kept = self._sessions.get(key)
        name = key[0]
        sni = "" if is_address(name) or name.startswith("[") else name
        session = kept.session if kept is not None else None
        return TlsPipe(self._context(demand), server=False, server_name=sni, session=session)

    def chain(self, pipe: TlsPipe, key: SessionKey) -> tuple[bytes, ...]:
        """What the server showed, or had shown when the session began that was resumed; () for nothing."""
        kept = self._sessions.get(key)
        return tuple(pipe.peer_chain()) or (kept.chain if kept is not None else ())

    def objection(self, hop: NextHop, name: str, terms: Terms, chain: Sequence[bytes]) -> Objection | None:
        """Why what the server called `name` showed meets not all that is demanded; None if it does.

        A resumed session is judged by the chain it began with, by the trust and the time of now.
        """
        demand = hop.tls
        looked_at = demand.level in _CHAINED or demand.pins or hop.require_tls or terms.proves or terms.enforced
        if not looked_at:
            return None
        if not chain:
            return Objection("no certificate was presented")
        leaf = certificate_facts(chain[0])
        try:
            return (
                self._by_demand(hop, name, leaf, chain)
                or (disproves(terms.dane, leaf, chain) if terms.proves else None)
                or (self._by_name(demand.ca_file, name, leaf, chain) if terms.enforced else None)
                or (self._verified(hop, name, leaf, chain) if hop.require_tls and not terms.proves else None)
            )
        except TlsUnusable as trouble:
            return Objection(str(trouble))

    def misses_test(self, hop: NextHop, name: str, chain: Sequence[bytes]) -> Objection | None:
        """What an MTA-STS policy in testing mode would object to."""
        if not chain:
            return Objection("no certificate was presented")
        try:
            return self._by_name(hop.tls.ca_file, name, certificate_facts(chain[0]), chain)
        except TlsUnusable as trouble:
            return Objection(str(trouble))

    def _by_demand(self, hop: NextHop, name: str, leaf: Certificate, chain: Sequence[bytes]) -> Objection | None:
        """The level of the connector (specification 1.2.1)."""
        demand = hop.tls
        if demand.level not in _CHAINED and not demand.pins:
            return None
        why = self._untrusted(demand.ca_file, demand.pins, leaf, chain)
        if why is None and demand.level is TlsLevel.DOMAIN_VALIDATION:
            return _misnamed(demand.name or (name if hop.smart_hosts else ""), leaf)
        return why

    def _verified(self, hop: NextHop, name: str, leaf: Certificate, chain: Sequence[bytes]) -> Objection | None:
        """RFC 8689 4.2.1, where DNS does not prove the server: a pinned key, or chain and name.

        The configured name goes before the one dialled, as at domain_validation.
        """
        demand = hop.tls
        if demand.pins:
            return self._untrusted(demand.ca_file, demand.pins, leaf, chain)
        return self._by_name(demand.ca_file, demand.name or name, leaf, chain)

    def _by_name(self, ca_file: str, name: str, leaf: Certificate, chain: Sequence[bytes]) -> Objection | None:
        return self._untrusted(ca_file, (), leaf, chain) or _misnamed(name, leaf)

    def remember(self, key: SessionKey, pipe: TlsPipe) -> None:
        """Keep the session for the next connection to this server under this demand."""
        session = pipe.session
        if session is None:
            return
        earlier = self._sessions.pop(key, None)
        chain = tuple(pipe.peer_chain()) or (earlier.chain if earlier is not None else ())
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[key] = _Kept(session, chain)

    def forget(self, key: SessionKey) -> None:
        """The handshake went wrong: begin anew next time."""
        self._sessions.pop(key, None)

    def _untrusted(
        self, ca_file: str, wanted: tuple[str, ...], leaf: Certificate, chain: Sequence[bytes]
    ) -> Objection | None:
        now = self._clock.now()
        if now > leaf.not_after:
            return Objection(f"the certificate has expired, {seen(leaf)}", "4.7.322", "certificate-expired")
        if now < leaf.not_before:
            return Objection(f"the certificate is not valid yet, {seen(leaf)}")
        if wanted:
            # A pin stands in for the chain (DESIGN 5), not for the time or the name.
            pins = {pin.lower().replace(":", "") for pin in wanted}
            if leaf.spki_sha256 in pins:
                return None
            return Objection(
                f"the key of the certificate is none of those pinned (it is {leaf.spki_sha256}), {seen(leaf)}"
            )
        if leaf.purposes and "serverAuth" not in leaf.purposes:
            return Objection(f"the certificate is not made for servers, {seen(leaf)}")
        if why := self._trust(ca_file or self._ca_bundle).objects(chain):
            code, word = ("4.7.322", "certificate-expired") if "expired" in why else ("4.7.5", "")
            return Objection(f"{why}, {seen(leaf)}", code, word or "certificate-not-trusted")
        return None

    def _context(self, demand: TlsDemand) -> SSL.Context:
        files = (demand.certificate, demand.key) if demand.certificate else self._own
        stamp = _stamp(*files)
        known = self._contexts.get(files)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, client_context(_read(files[0]), _read(files[1] or files[0])))
            except ValueError as trouble:
                raise TlsUnusable(f"Our client certificate {files[0]} cannot be used: {trouble}") from None
            self._contexts[files] = known
            # A session goes on as whom we were when it began.
            self._sessions.clear()
        return known[1]

    def _trust(self, ca_file: str) -> Trust:
        stamp = _stamp(ca_file, self._crl_file)
        known = self._trusts.get(ca_file)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, Trust(ca_file, _read(self._crl_file)))
            except (ValueError, crypto.Error) as trouble:
                raise TlsUnusable(f"The CA file {ca_file} or the CRL file cannot be used ({trouble})") from None
            self._trusts[ca_file] = known
        return known[1]


def _misnamed(configured: str, leaf: Certificate) -> Objection | None:
    wanted = configured.rstrip(".").lower()
    if not wanted:
        why = "there is no configured name to check (a next hop found by MX needs tls_domain)"
        return Objection(why, _NAME, "certificate-host-mismatch")
    if name_covered(wanted, leaf.names) is not None:
        return None
    return Objection(f"the certificate is not for {wanted}, {seen(leaf)}", _NAME, "certificate-host-mismatch")


def _read(file: str) -> bytes:
    if not file:
        return b""
    try:
        return Path(file).read_bytes()
    except OSError as trouble:
        raise TlsUnusable(f"The file {file} cannot be read: {trouble.strerror}") from None


def _stamp(*files: str) -> object:
    """What changes when a file is replaced."""
    stamps: list[tuple[int, int]] = []
    for file in files:
        if file:
            try:
                status = Path(file).stat()
            except OSError as trouble:
                raise TlsUnusable(f"The file {file} cannot be read: {trouble.strerror}") from None
            stamps.append((status.st_mtime_ns, status.st_ino))
    return tuple(stamps)
