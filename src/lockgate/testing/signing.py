"""Signing keys out of memory: a store without files, and keys that are simply there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import SigningKey, load_key


class MemoryKeys:
    """Implements seams.KeyStore."""

    def __init__(self) -> None:
        self.held: tuple[HeldKey, ...] = ()
        self.secrets: dict[str, bytes] = {}

    def keys(self) -> tuple[HeldKey, ...]:
        """Every key."""
        return self.held

    def private(self, key: HeldKey) -> SigningKey:
        """The key itself."""
        if key.name not in self.secrets:
            raise OSError(f"the private key of {key.name} is not there")
        return load_key(key.domain, key.selector, self.secrets[key.name])

    def change(
        self, edit: Callable[[tuple[HeldKey, ...]], tuple[HeldKey, ...]], secrets: Mapping[str, bytes]
    ) -> tuple[HeldKey, ...]:
        """Put what `edit` makes of the keys in their place."""
        self.held = edit(self.held)
        alive = {key.name for key in self.held if key.state is not KeyState.REVOKED}
        self.secrets = {name: pem for name, pem in {**self.secrets, **secrets}.items() if name in alive}
        return self.held


class ListedKeys:
    """Implements seams.SigningKeys: these keys, for every organisation, by domain; `""` for all other domains."""

    def __init__(self, keys: Mapping[str, tuple[SigningKey, ...]]) -> None:
        self._keys = keys

    def key_for(self, organisation: str, domain: str) -> SigningKey | None:
        """The first key."""
        return next(iter(self.keys_for(organisation, domain)), None)

    def keys_for(self, organisation: str, domain: str) -> tuple[SigningKey, ...]:
        """The keys."""
        return self._keys.get(domain) or self._keys.get("", ())
