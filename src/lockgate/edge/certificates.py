"""Our certificates, replaced while running, and the CA stores under which the peers' chains are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from OpenSSL import SSL

from lockgate.mail.certificate_names import name_covered
from lockgate.mail.connection import Tls
from lockgate.seams import Journal
from lockgate.wire.certificates import (
    NO_PATH,
    CaStore,
    certificate_facts,
    chain_may_lead_to,
    leaf_names,
    read_store,
    verify_chain,
)
from lockgate.wire.tls import TlsPipe, server_context

PUBLIC = "public"
"""The name of the operator's bundle among the CA stores."""

NO_PUBLIC_STORE = "the operator has no bundle of public CA certificates"


class CertificateFiles(msgspec.Struct, frozen=True):
    """Files of one certificate: the PEM chain, our certificate first, and its PEM key."""

    chain: str
    key: str


class Certificates:
    """What the listeners of one worker show, and whom they know. Connections keep what they began with."""

    __slots__ = ("_contexts", "_files", "_journal", "_stamps", "_stores", "_trusted", "_trusted_stamps", "context")

    def __init__(self, files: Sequence[CertificateFiles], journal: Journal) -> None:
        """The first of `files` is shown to clients that name no server, or one we do not know; none: no TLS.

        Raises ValueError or OSError: a service shall not start with a certificate that it cannot use.
        """
        self._files = tuple(files)
        self._journal = journal
        self._stamps: tuple[tuple[int, int], ...] = ()
        self._contexts: tuple[tuple[tuple[str, ...], SSL.Context], ...] = ()
        self._stores: Mapping[str, CaStore] = {}
        self._trusted: dict[str, str] = {}
        self._trusted_stamps: dict[str, tuple[int, int]] = {}
        self.context: SSL.Context | None = None
        self._load()

    def reload(self) -> bool:
        """Read all files again. On failure the certificates in use stay, and the journal tells a person."""
        try:
            self._load()
        except (OSError, ValueError) as trouble:
            self._journal.alarm("certificate not replaced", because=str(trouble))
            return False
        return True

    def refresh(self) -> None:
        """Reload what has changed on disk since it was read; cheap enough to be called every few seconds."""
        stamps = tuple(_stamp(name) for pair in self._files for name in (pair.chain, pair.key))
        if stamps != self._stamps and self.reload():
            self._journal.note("certificate replaced", names=", ".join(n for names, _ in self._contexts for n in names))
        if any(_stamp(file) != self._trusted_stamps.get(name) for name, file in self._trusted.items()):
            self.trust_files(self._trusted)

    def trust(self, stores: Mapping[str, CaStore]) -> None:
        """From now on chains are tried under these stores; PUBLIC is the operator's bundle."""
        self._stores = dict(stores)

    def trust_files(self, files: Mapping[str, str]) -> None:
        """The same, read from PEM files by name. A file that cannot be read keeps its last good content."""
        stores: dict[str, CaStore] = {}
        self._trusted = dict(files)
        for name, file in files.items():
            stamp = _stamp(file)
            if stamp == self._trusted_stamps.get(name) and name in self._stores:
                stores[name] = self._stores[name]
                continue
            try:
                stores[name] = read_store(Path(file).read_bytes())
            except (OSError, ValueError) as trouble:
                self._journal.alarm("CA file not read", file=file, because=str(trouble))
                if name in self._stores:
                    stores[name] = self._stores[name]
            self._trusted_stamps[name] = stamp
        self._stores = stores

    def facts(self, pipe: TlsPipe, at: float) -> Tls:
        """What the finished handshake showed, at this time (seconds since the epoch). Decides nothing."""
        chain = pipe.peer_chain()
        if not chain:
            return Tls(pipe.version, pipe.cipher, _safe(pipe.server_name))
        trouble = "" if PUBLIC in self._stores else _by_itself(chain, at)
        trusted: list[str] = []
        for name, store in self._stores.items():
            if name != PUBLIC and not chain_may_lead_to(chain, store):
                continue
            why = verify_chain(chain, store, at)
            if not why:
                trusted.append(name)
            if name == PUBLIC:
                trouble = why
        return Tls(
            pipe.version, pipe.cipher, _safe(pipe.server_name), certificate_facts(chain[0]), tuple(trusted), trouble
        )

    def _load(self) -> None:
        stamps = tuple(_stamp(name) for pair in self._files for name in (pair.chain, pair.key))
        contexts: list[tuple[tuple[str, ...], SSL.Context]] = []
        for pair in self._files:
            chain, key = Path(pair.chain).read_bytes(), Path(pair.key).read_bytes()
            try:
                context = server_context(chain, key, choose=self._choose)
            except ValueError as trouble:
                raise ValueError(f"{pair.chain}: {trouble}") from None
            contexts.append((leaf_names(chain), context))
        self._contexts, self._stamps = tuple(contexts), stamps
        self.context = contexts[0][1] if contexts else None

    def _choose(self, name: str) -> SSL.Context | None:
        for names, context in self._contexts:
            if name_covered(name, names) is not None:
                return context
        return None


def _by_itself(chain: Sequence[bytes], at: float) -> str:
    """What is wrong with the certificate whoever vouches for it; else that there is no bundle to look it up in."""
    why = verify_chain(chain, CaStore(()), at)
    return NO_PUBLIC_STORE if why.startswith(NO_PATH) else why


def _stamp(name: str) -> tuple[int, int]:
    try:
        status = Path(name).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _safe(name: str) -> str:
    return name if name.isprintable() and len(name) <= 255 else ""
