"""Signing keys in files: one PEM file a key, and a small index that says what is known of each (RFC 6376, 8463).

Everybody reads, the desk's process writes. A private key lies there, durable, before the index names it, and is deleted
after the index has it revoked; the index is replaced as a whole. So a kill leaves the keys before or after a change,
and at worst a file that nobody names.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import SigningKey, load_key

_INDEX = "index.json"
_KEYS = msgspec.json.Decoder(tuple[HeldKey, ...])
_LONG_DOMAIN = 120


class SigningKeyFiles:
    """Implements seams.KeyStore below `folder`, which is made when there is a first key (mode 0700, files 0600)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = folder / _INDEX
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[HeldKey, ...] = ()
        self._loaded: dict[str, SigningKey] = {}

    def held(self) -> tuple[HeldKey, ...]:
        """Every key there is. See KeyStore."""
        try:
            found = self._index.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, ()
            self._loaded.clear()
            return ()
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._keys = self._read()
            self._stamp = stamp
            names = {key.name for key in self._keys if key.state is not KeyState.REVOKED}
            self._loaded = {name: key for name, key in self._loaded.items() if name in names}
        return self._keys

    def _read(self) -> tuple[HeldKey, ...]:
        try:
            return _KEYS.decode(self._index.read_bytes())
        except FileNotFoundError:
            return ()
        except msgspec.MsgspecError as trouble:
            raise OSError(f"{self._index} is damaged ({trouble}); restore it from a backup") from None

    def private(self, key: HeldKey) -> SigningKey:
        """The key itself. See KeyStore."""
        found = self._loaded.get(key.name)
        if found is None:
            path = self._path(key)
            try:
                found = load_key(key.domain, key.selector, path.read_bytes())
            except ValueError as trouble:
                raise OSError(f"{path}: {trouble}") from None
            self._loaded[key.name] = found
        return found

    def change(
        self, edit: Callable[[tuple[HeldKey, ...]], tuple[HeldKey, ...]], secrets: Mapping[str, bytes]
    ) -> tuple[HeldKey, ...]:
        """Put what `edit` makes of the keys in their place. See KeyStore."""
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _settle(self._folder.parent)
        with self._alone():
            before = self._read()
            after = edit(before)
            if after == before:
                return after
            for key in after:
                if key.name in secrets:
                    self._write(self._path(key), secrets[key.name])
            _settle(self._folder)
            self._write(self._index, msgspec.json.format(msgspec.json.encode(after), indent=1))
            _settle(self._folder)
            for key in before:
                if key.state is not KeyState.REVOKED and not _alive(after, key.name):
                    self._path(key).unlink(missing_ok=True)
            return after

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One change at a time, whichever process it comes from."""
        place = os.open(self._folder / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            yield
        finally:
            os.close(place)

    def _path(self, key: HeldKey) -> Path:
        domain = key.domain
        if len(domain) > _LONG_DOMAIN:  # a file name has at most 255 octets, a domain may have 253
            domain = hashlib.sha256(domain.encode()).hexdigest()
        return self._folder / f"{domain}.{key.selector}.pem"

    def _write(self, path: Path, data: bytes) -> None:
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        place = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(place, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def _settle(folder: Path) -> None:
    """Make the names in the folder durable."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _alive(keys: tuple[HeldKey, ...], name: str) -> bool:
    return any(key.name == name and key.state is not KeyState.REVOKED for key in keys)
