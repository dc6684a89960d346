"""The certificates we show: by the name a client asks for, RSA beside ECDSA, replaced while running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from OpenSSL import SSL

from lockgate.mail.certificate_names import name_covered
from lockgate.seams import Journal
from lockgate.wire.certificates import joined_chain, key_kind, leaf_names
from lockgate.wire.tls import Identity, server_context

Stamp = tuple[int, int, int]
"""What changes when a file is replaced."""


class CertificateFiles(msgspec.Struct, frozen=True):
    """Files of one certificate: the PEM chain (ours first), its PEM key, and further certificates of its chain.

    Chain and key may be one file. A certificate that is `awaited` may be missing when the service starts.
    """

    chain: str
    key: str
    intermediates: str = ""
    awaited: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read, each once."""
        return tuple(dict.fromkeys(name for name in (self.chain, self.key, self.intermediates) if name))


class _Loaded(msgspec.Struct, frozen=True):
    """One certificate as it was read."""

    files: CertificateFiles
    stamps: tuple[Stamp, ...]
    identity: Identity
    names: tuple[str, ...]
    kind: str
    alone: SSL.Context


def load(files: CertificateFiles) -> Identity:
    """What the files hold. Raises OSError, ValueError with the file's name."""
    # Each file is read once: one that holds chain and key is always of one piece.
    read = {name: Path(name).read_bytes() for name in files.files}
    chain = read[files.chain]
    if files.intermediates:
        try:
            chain = joined_chain(chain, read[files.intermediates])
        except ValueError as trouble:
            raise ValueError(f"{files.intermediates}: {trouble}") from None
    return Identity(chain, read[files.key])


class Shown:
    """What the listeners of one worker show. Connections keep what they began with.

    Each stands for itself: one that cannot be read keeps its last good content, and the others are taken up.
    """

    __slots__ = ("_broken", "_contexts", "_files", "_journal", "_listed", "_loaded", "_several", "context")

    def __init__(
        self,
        files: Sequence[CertificateFiles],
        journal: Journal,
        listed: Callable[[], Sequence[CertificateFiles]] | None = None,
    ) -> None:
        """See Certificates. Raises ValueError or OSError."""
        self._files = tuple(files)
        self._listed = listed
        self._journal = journal
        self._loaded: tuple[_Loaded, ...] = ()
        self._broken: dict[CertificateFiles, tuple[Stamp, ...]] = {}
        self._contexts: dict[tuple[int, ...], SSL.Context] = {}
        self.context: SSL.Context | None = None
        self._several = len(self._files) > 1
        found: list[_Loaded] = []
        for one in self._files:
            try:
                found.append(self._load(one))
            except (OSError, ValueError) as trouble:
                if not one.awaited:
                    raise
                self._broken[one] = _stamps(one)
                self._tell(one, trouble)
        self._take(found)

    def reload(self) -> bool:
        """Read all again, and tell at once what cannot be used; whether all could be."""
        return self._read(patient=False, anew=True)

    def refresh(self) -> None:
        """Read what has changed. The files of a pair are replaced one by one: a mismatch is told when it stays."""
        if self._listed is not None:
            try:
                self._files = tuple(self._listed())
            except OSError as trouble:
                self._journal.alarm("certificates cannot be listed", because=str(trouble))
        before = {one.files: one.stamps for one in self._loaded}
        if tuple(before) != self._files or any(_stamps(one) != before.get(one) for one in self._files):
            self._read(patient=True, anew=False)

    def _read(self, *, patient: bool, anew: bool) -> bool:
        if (len(self._files) > 1) != self._several:  # contexts choose, or they do not
            self._several, anew = not self._several, True
        before = {one.files: one for one in self._loaded}
        found: list[_Loaded] = []
        broken: dict[CertificateFiles, tuple[Stamp, ...]] = {}
        fresh: list[str] = []
        for one in self._files:
            known, stamps = before.get(one), _stamps(one)
            if known is not None and known.stamps == stamps and not anew:
                found.append(known)
                continue
            told = self._broken.get(one) == stamps and not anew
            try:
                found.append(self._load(one))
                fresh.append(", ".join(found[-1].names) or one.chain)
            except (OSError, ValueError) as trouble:
                broken[one] = stamps
                if known is not None:
                    found.append(known)
                # Seen for the first time it may be half of a replacement; seen again it is told, and then no more.
                if not told and (not patient or one in self._broken):
                    self._tell(one, trouble)
                elif patient and not told:
                    broken[one] = ()
        self._broken = broken
        if fresh or len(found) != len(self._loaded):
            self._take(found)
            if fresh and patient:
                self._journal.note("certificate replaced", names="; ".join(fresh))
        return not broken

    def _tell(self, files: CertificateFiles, trouble: Exception) -> None:
        self._journal.alarm("certificate not replaced", file=files.chain, because=str(trouble))

    def _load(self, files: CertificateFiles) -> _Loaded:
        stamps = _stamps(files)
        identity = load(files)
        try:
            # Where there is nothing to choose from, no handshake pays for a choice.
            context = server_context(identity, choose=self.choose if len(self._files) > 1 else None)
        except ValueError as trouble:
            raise ValueError(f"{files.chain}: {trouble}") from None
        return _Loaded(files, stamps, identity, leaf_names(identity.chain), key_kind(identity.chain), context)

    def _take(self, found: Sequence[_Loaded]) -> None:
        self._loaded = tuple(found)
        self._contexts = {}
        self.context = self._context(self._beside(0, self._for_all_of_first())) if found else None

    def _for_all_of_first(self) -> list[int]:
        names = self._loaded[0].names
        return [number for number, one in enumerate(self._loaded) if names and _covers(one.names, names)]

    def choose(self, name: str) -> SSL.Context | None:
        """What is shown to a client that asks for this name; None: the default. A full name wins over a wildcard."""
        fitting = [number for number, one in enumerate(self._loaded) if name_covered(name, one.names) is not None]
        if not fitting:
            return None
        fitting.sort(key=lambda number: name not in self._loaded[number].names)
        return self._context(self._beside(fitting[0], fitting))

    def _beside(self, first: int, fitting: Sequence[int]) -> tuple[int, ...]:
        """The first, and for each other kind of key the first of those that fit as well."""
        kinds = {self._loaded[first].kind: first}
        for number in fitting:
            kinds.setdefault(self._loaded[number].kind, number)
        return tuple(sorted(kinds.values()))

    def _context(self, numbers: tuple[int, ...]) -> SSL.Context:
        if len(numbers) == 1:
            return self._loaded[numbers[0]].alone
        context = self._contexts.get(numbers)
        if context is None:
            identities = [self._loaded[number].identity for number in numbers]
            context = self._contexts[numbers] = server_context(*identities, choose=self.choose)
        return context


def _covers(names: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(one in names or (not one.startswith("*.") and name_covered(one, names) is not None) for one in wanted)


def _stamps(files: CertificateFiles) -> tuple[Stamp, ...]:
    return tuple(stamp_of(name) for name in files.files)


def stamp_of(name: str) -> Stamp:
    """What changes when the file is replaced; zeroes while it is not there."""
    try:
        status = Path(name).stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_ino, status.st_size
