"""Public keys as domains publish them (RFC 6376 3.6.1, RFC 8463 4)."""

from __future__ import annotations

import functools

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from lockgate.mail.dkim.tags import BadTags, read_base64, read_tags, read_words

LEAST_BITS = 1024
"""RSA keys below this prove nothing (RFC 8301 3.2)."""

MOST_BITS = 8192
"""RSA keys above this cost more than a signature is worth."""

LARGEST_EXPONENT = 2**32
"""So do public exponents above this: a verification with one as long as the modulus costs a hundred times as much."""


class BadKey(ValueError):
    """The record holds no key that could verify; `weak` tells that it holds one which proves nothing."""

    def __init__(self, why: str, *, weak: bool = False) -> None:
        super().__init__(why)
        self.weak = weak


class PublicKey(msgspec.Struct, frozen=True):
    """A key. `kind` is "rsa" or "ed25519"; `testing` and `exact` are the flags y and s: a trial; no subdomain in i=."""

    key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey
    kind: str
    bits: int
    testing: bool = False
    exact: bool = False


@functools.lru_cache(maxsize=4096)
def read_key(record: str) -> PublicKey:
    """The key of a TXT record; the same text is read once. Raises BadKey."""
    try:
        tags = read_tags(record)
        version = tags.get("v")
        if version is not None and (version != "DKIM1" or next(iter(tags)) != "v"):
            raise BadKey("the key record has another version")
        if not {"*", "sha256"} & set(read_words(tags.get("h", "*"))):
            raise BadKey("the key is not for SHA-256")
        if not {"*", "email"} & set(read_words(tags.get("s", "*"))):
            raise BadKey("the key is not for mail")
        if "p" not in tags:
            raise BadKey("the key record has no key")
        if not tags["p"]:
            raise BadKey("the key is revoked")
        data = read_base64(tags["p"])
    except BadTags as trouble:
        raise BadKey(f"the key record cannot be read: {trouble}") from None
    flags = set(read_words(tags.get("t", "")))
    kind = tags.get("k", "rsa").lower()
    key, bits = _loaded(kind, data)
    return PublicKey(key, kind, bits, "y" in flags, "s" in flags)


def _loaded(kind: str, data: bytes) -> tuple[rsa.RSAPublicKey | ed25519.Ed25519PublicKey, int]:
    if kind == "ed25519":
        if len(data) != 32:
            raise BadKey("an Ed25519 key has 32 octets")
        return ed25519.Ed25519PublicKey.from_public_bytes(data), 256
    if kind != "rsa":
        raise BadKey(f"the key is of a kind we do not know ({kind[:20]})")
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("the key cannot be read") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadKey("the key is no RSA key")
    if key.key_size < LEAST_BITS:
        raise BadKey(f"the key has {key.key_size} bits, less than {LEAST_BITS}", weak=True)
    if key.key_size > MOST_BITS:
        raise BadKey(f"the key has {key.key_size} bits, more than {MOST_BITS}")
    if key.public_numbers().e > LARGEST_EXPONENT:
        raise BadKey("the public exponent of the key is too large")
    return key, key.key_size
