"""Certificates that were ordered, and our accounts with the authorities, in files.

One certificate is one file, its key before its chain, replaced as a whole by a rename after it is durable: whoever
reads it, and whatever is killed when, finds the old pair or the new one. Only the desk's process writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec

_DAMAGED = "is damaged: move it away, and it is made anew"


class Account(msgspec.Struct, frozen=True):
    """Our account with one authority: its private key as PEM, and the address by which it knows us ("": not yet)."""

    directory: str
    key: str
    uri: str = ""


class AcmeFiles:
    """What is kept below `folder` (mode 0700, files 0600), which is made when there is something to keep."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def certificate_file(self, name: str) -> Path:
        """Where the certificate of this name lies, or will lie."""
        return self._folder / "certificates" / f"{_short(name)}.pem"

    def certificates(self) -> tuple[Path, ...]:
        """All that are kept, by name."""
        folder = self._folder / "certificates"
        try:
            return tuple(sorted(path for path in folder.iterdir() if path.suffix == ".pem" and path.name[0] != "."))
        except FileNotFoundError:
            return ()

    def pair(self, name: str) -> bytes:
        """Key and chain as PEM; b"" if there is none. Raises OSError."""
        try:
            return self.certificate_file(name).read_bytes()
        except FileNotFoundError:
            return b""

    def keep_pair(self, name: str, key: bytes, chain: bytes) -> None:
        """Put a certificate and its key in the place of the last ones. Raises OSError; then those are still there."""
        file = self.certificate_file(name)
        self._room(file.parent)
        _write(file, key.rstrip(b"\n") + b"\n" + chain)

    def account(self, directory: str) -> Account | None:
        """Our account with this authority. Raises OSError if its file is damaged."""
        file = self._account_file(directory)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Account)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as trouble:
            raise OSError(f"{file} {_DAMAGED} ({trouble})") from None

    def keep_account(self, account: Account) -> None:
        """Durable when it returns. Raises OSError."""
        file = self._account_file(account.directory)
        self._room(file.parent)
        _write(file, msgspec.json.encode(account))

    def notes(self) -> bytes:
        """What was noted of attempts; b"" if nothing was. Raises OSError."""
        try:
            return (self._folder / "attempts.json").read_bytes()
        except FileNotFoundError:
            return b""

    def keep_notes(self, data: bytes) -> None:
        """Raises OSError."""
        self._room(self._folder)
        _write(self._folder / "attempts.json", data)

    def _account_file(self, directory: str) -> Path:
        return self._folder / "accounts" / f"{hashlib.sha256(directory.encode()).hexdigest()[:32]}.json"

    def _room(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
            _settle(folder.parent)


def _short(name: str) -> str:
    if len(name) <= 200:  # a file name has at most 255 octets, a host name may have 253
        return name
    return f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    place = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(place, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _settle(path.parent)


def _settle(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)
