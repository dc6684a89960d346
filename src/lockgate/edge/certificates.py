"""Our certificates, replaced while running, and the CA stores under which the peers' chains are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from lockgate.edge.shown import CertificateFiles, Shown, Stamp, stamp_of
from lockgate.mail.connection import Tls
from lockgate.seams import Journal
from lockgate.wire.certificates import (
    NO_PATH,
    CaStore,
    certificate_facts,
    chain_may_lead_to,
    read_lists,
    read_store,
    verify_chain,
)
from lockgate.wire.tls import TlsPipe

PUBLIC = "public"
"""The name of the operator's bundle among the CA stores."""

NO_PUBLIC_STORE = "the operator has no bundle of public CA certificates"


class Certificates:
    """What the listeners of one worker show, and whom they know. Connections keep what they began with."""

    __slots__ = ("_journal", "_lists", "_stores", "_trusted", "_trusted_stamps", "shown")

    def __init__(
        self,
        files: Sequence[CertificateFiles],
        journal: Journal,
        listed: Callable[[], Sequence[CertificateFiles]] | None = None,
    ) -> None:
        """The first of `files` is shown to clients that name no server, or one we do not know; none: no TLS.

        `listed` is asked from time to time which files there are now. Raises ValueError or OSError: a service shall not
        start with a certificate that it cannot use.
        """
        self.shown = Shown(files, journal, listed)
        self._journal = journal
        self._stores: Mapping[str, CaStore] = {}
        self._trusted: dict[str, str] = {}
        self._trusted_stamps: dict[str, tuple[Stamp, Stamp]] = {}
        self._lists = ""

    @property
    def context(self) -> SSL.Context | None:
        """What connections begin with; None: there is no certificate yet."""
        return self.shown.context

    def reload(self) -> bool:
        """Read all files again. What cannot be used is told, and its predecessor stays in use."""
        return self.shown.reload()

    def refresh(self) -> None:
        """Reload what has changed on disk since it was read; cheap enough to be called every few seconds."""
        self.shown.refresh()
        if any(self._stamp(file) != self._trusted_stamps.get(name) for name, file in self._trusted.items()):
            self.trust_files(self._trusted, self._lists)

    def trust(self, stores: Mapping[str, CaStore]) -> None:
        """From now on chains are tried under these stores; PUBLIC is the operator's bundle."""
        self._stores = dict(stores)

    def trust_files(self, files: Mapping[str, str], lists: str = "") -> None:
        """The same, read from PEM files by name; revocation lists may stand in them, and in `lists` for all of them.

        A file that cannot be read keeps its last good content.
        """
        stores: dict[str, CaStore] = {}
        self._trusted, self._lists = dict(files), lists
        for name, file in files.items():
            stamp = self._stamp(file)
            if stamp == self._trusted_stamps.get(name) and name in self._stores:
                stores[name] = self._stores[name]
                continue
            try:
                stores[name] = read_store(Path(file).read_bytes(), _lists(lists))
            except (OSError, ValueError) as trouble:
                self._journal.alarm("CA file not read", file=file, because=str(trouble))
                if name in self._stores:
                    stores[name] = self._stores[name]
            self._trusted_stamps[name] = stamp
        self._stores = stores

    def _stamp(self, file: str) -> tuple[Stamp, Stamp]:
        return stamp_of(file), stamp_of(self._lists) if self._lists else (0, 0, 0)

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


def _by_itself(chain: Sequence[bytes], at: float) -> str:
    """What is wrong with the certificate whoever vouches for it; else that there is no bundle to look it up in."""
    why = verify_chain(chain, CaStore(()), at)
    return NO_PUBLIC_STORE if why.startswith(NO_PATH) else why


def _lists(file: str) -> tuple[x509.CertificateRevocationList, ...]:
    try:
        return read_lists(Path(file).read_bytes()) if file else ()
    except (OSError, ValueError) as trouble:
        raise ValueError(f"the revocation lists {file} cannot be read: {trouble}") from None


def _safe(name: str) -> str:
    return name if name.isprintable() and len(name) <= 255 else ""
