"""Keys that are not kept anywhere: SigningKeys for tests."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import rsa

from lockgate.mail.dkim.sign import SigningKey


def new_key(domain: str, selector: str = "test") -> SigningKey:
    """A fresh RSA key, short enough to be made quickly."""
    return SigningKey(domain, selector, rsa.generate_private_key(65537, 2048))


class ListedKeys:
    """One key per organisation, for whatever domain is asked for."""

    def __init__(self, keys: Mapping[str, SigningKey]) -> None:
        self._keys = dict(keys)

    def key_for(self, organisation: str, domain: str) -> SigningKey | None:
        """The organisation's key."""
        return self._keys.get(organisation)

    def keys_for(self, organisation: str, domain: str) -> tuple[SigningKey, ...]:
        """The organisation's key."""
        key = self._keys.get(organisation)
        return () if key is None else (key,)
