"""Signing keys in the desk's process: what makes them, and the caretaker that looks for their records in DNS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import secrets
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.names import resolver_of
from lockgate.flow.desk.dkim import DkimDesk
from lockgate.flow.rotation import Fresh, Rotation
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.seams import Audit, Clock, Journal, KeyStore
from lockgate.storage.signing_keys import SigningKeyFiles

if TYPE_CHECKING:
    from lockgate.app.office import Office

LOOK_AGAIN = 3600.0
"""Seconds between two looks at keys that have been seen in DNS: is their record there still?"""

_TURN = 1.0


def key_files(config: OperatorFile) -> SigningKeyFiles:
    """The signing keys of this installation."""
    return SigningKeyFiles(config.signing_keys_directory)


def new_key(algorithm: str, bits: int, at: float) -> Fresh:
    """A private key, and a selector that says when it was made. Takes up to a few seconds for large RSA keys."""
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, bits)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    day = dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y%m%d")
    # By chance besides: a selector is never used for two keys, not even after a restore, for resolvers remember.
    return Fresh(f"lg{day}-{algorithm}-{secrets.token_hex(3)}", pem)


class KeyCaretaker:
    """Looks at DNS for keys that wait every `pause` seconds, and for all others once an hour; wired once, in the desk.

    Keys whose record is there begin to sign; those that have retired for long enough are revoked.
    """

    def __init__(self, rotation: Rotation, clock: Clock, journal: Journal, pause: float) -> None:
        self._rotation = rotation
        self._clock = clock
        self._journal = journal
        self._pause = pause
        self._woken = asyncio.Event()
        self._said = ""

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            at_once, rest = self._woken.is_set(), min(self._pause, _TURN)
            self._woken.clear()
            try:
                await self.look_after(at_once=at_once)
                self._said = ""
            except Exception as trouble:
                rest = self._pause
                if str(trouble) != self._said:  # a full disk is told once
                    self._said = str(trouble)
                    self._journal.alarm("signing keys not looked after", because=trouble)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), rest)

    async def look_after(self, *, at_once: bool = False) -> None:
        """One turn. Raises OSError."""
        now = self._clock.now()
        keys = self._rotation.store.held()
        due = [key for key in keys if key.published and now >= key.looked + self._every(key, at_once=at_once)]
        over = any(key.state is KeyState.RETIRING and key.until <= now for key in keys)
        if not due and not over:
            return
        looks = await self._rotation.look(due)
        await self._rotation.take(looks, f"{os.getuid()} desk")

    def _every(self, key: HeldKey, *, at_once: bool) -> float:
        if key.state is KeyState.WAITING:
            return 0.0 if at_once else self._pause
        return max(self._pause, LOOK_AGAIN)


class KeyRoom:
    """What the desk's process has for signing keys."""

    def __init__(self, config: OperatorFile, clock: Clock, audit: Audit, journal: Journal) -> None:
        self.store: KeyStore = key_files(config)
        # It remembers nothing: a record that was published a minute ago must be found.
        resolver = resolver_of(config, clock, remembers=False)
        self.rotation = Rotation(
            self.store, resolver, clock, audit, lambda algorithm, bits: new_key(algorithm, bits, clock.now()),
            config.dkim.keep_record,
        )  # fmt: skip
        self.caretaker = KeyCaretaker(self.rotation, clock, journal, config.dkim.look)

    def desk(self, office: Office) -> DkimDesk:
        """The section of the desk."""
        return DkimDesk(self.rotation, office.compiled.in_force, self.caretaker.wake)

    def wrong(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What a person should hear of: keys that sign although their record is not in DNS, or that cannot be read."""
        try:
            keys = self.store.held()
        except OSError as trouble:
            return {("signing keys unreadable", ""): {"trouble": trouble}}
        return {
            ("signing key not in DNS", key.name): {"domain": key.domain, "because": key.said}
            for key in keys
            if key.missing
        }


def key_room(config: OperatorFile, audit: Audit, journal: Journal) -> KeyRoom:
    """Wired for the desk's process."""
    return KeyRoom(config, SystemClock(), audit, journal)

