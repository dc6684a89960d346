"""Signing keys in memory: a store without files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import SigningKey, load_key


class MemoryKeys:
    """Implements seams.KeyStore."""

    def __init__(self) -> None:
        self.rows: tuple[HeldKey, ...] = ()
        self.secrets: dict[str, bytes] = {}

    def held(self) -> tuple[HeldKey, ...]:
        """Every key."""
        return self.rows

    def private(self, key: HeldKey) -> SigningKey:
        """The key itself."""
        if key.name not in self.secrets:
            raise OSError(f"the private key of {key.name} is not there")
        return load_key(key.domain, key.selector, self.secrets[key.name])

    def change(
        self, edit: Callable[[tuple[HeldKey, ...]], tuple[HeldKey, ...]], secrets: Mapping[str, bytes]
    ) -> tuple[HeldKey, ...]:
        """Put what `edit` makes of the keys in their place."""
        self.rows = edit(self.rows)
        alive = {key.name for key in self.rows if key.state is not KeyState.REVOKED}
        self.secrets = {name: pem for name, pem in {**self.secrets, **secrets}.items() if name in alive}
        return self.rows
