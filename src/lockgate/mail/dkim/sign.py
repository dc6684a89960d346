"""Making a DKIM-Signature field (RFC 6376 5): SHA-256, the important fields oversigned."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from lockgate.mail.dkim.canonical import Bodies, Field
from lockgate.mail.dkim.signature import signed_text

OVERSIGNED = (b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id", b"content-type", b"mime-version")
"""Signed once more than they occur, so that none can be added (RFC 6376 5.4.2, 8.15)."""

SIGNED = (
    *OVERSIGNED, b"sender", b"in-reply-to", b"references", b"content-transfer-encoding", b"content-disposition",
    b"list-id", b"list-unsubscribe", b"list-unsubscribe-post", b"list-post", b"list-archive", b"feedback-id",
)  # fmt: skip
"""Signed wherever they occur."""

_LINE = 72
_PADDING, _SHA256 = padding.PKCS1v15(), hashes.SHA256()

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class SigningKey(msgspec.Struct, frozen=True):
    """A key of a domain, with the selector under which its public half is published."""

    domain: str
    selector: str
    key: PrivateKey

    @property
    def algorithm(self) -> str:
        """The value of a=."""
        return "rsa-sha256" if isinstance(self.key, rsa.RSAPrivateKey) else "ed25519-sha256"


def load_key(domain: str, selector: str, pem: bytes) -> SigningKey:
    """The key of a PEM text. Raises ValueError if it is no key that may sign."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as trouble:
        raise ValueError(f"the private key of {selector}._domainkey.{domain} cannot be read: {trouble}") from None
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueError(f"the private key of {selector}._domainkey.{domain} is neither RSA nor Ed25519")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < 1024:
        raise ValueError(f"the private key of {selector}._domainkey.{domain} has less than 1024 bits (RFC 8301 3.2)")
    return SigningKey(domain, selector, key)


def public_record(key: SigningKey) -> str:
    """The TXT record that publishes the key (RFC 6376 3.6.1)."""
    public = key.key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(data).decode()}"
    data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(data).decode()}"


def sign(
    fields: Sequence[Field],
    bodies: Bodies,
    key: SigningKey,
    *,
    at: int,
    expires: int | None = None,
    relaxed_header: bool = True,
    relaxed_body: bool = True,
) -> bytes:
    """The whole field with its line end, to be put first. `at` and `expires` are seconds since the epoch.

    Without `relaxed_header` or `relaxed_body` that part is signed to the letter (RFC 6376 3.4).
    """
    names = _names(fields)
    digest = base64.b64encode(bodies.digest(relaxed=relaxed_body)).decode()
    forms = "/".join("relaxed" if relaxed else "simple" for relaxed in (relaxed_header, relaxed_body))
    tags = [f"v=1; a={key.algorithm}; c={forms}; d={key.domain}; s={key.selector};", f"t={at};"]
    if expires is not None:
        tags.append(f"x={expires};")
    lines = [" ".join(tags), *_listed(names), f"bh={digest};", "b="]
    field: Field = (b"DKIM-Signature", b" " + "\r\n\t".join(lines).encode())
    text = signed_text(fields, names, field, relaxed=relaxed_header)
    value = base64.b64encode(_signed(key.key, text)).decode()
    pieces = [value[place : place + _LINE] for place in range(0, len(value), _LINE)]
    return field[0] + b":" + field[1] + "\r\n\t".join(pieces).encode() + b"\r\n"


def _signed(key: PrivateKey, text: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(hashlib.sha256(text).digest())  # RFC 8463 3: PureEdDSA over the hash
    return key.sign(text, _PADDING, _SHA256)


def _names(fields: Sequence[Field]) -> tuple[bytes, ...]:
    there: dict[bytes, int] = {}
    for name, _ in fields:
        lower = name.lower()
        there[lower] = there.get(lower, 0) + 1
    names: list[bytes] = []
    for name in SIGNED:
        names += [name] * (there.get(name, 0) + (name in OVERSIGNED))
    return tuple(names)


@functools.lru_cache(maxsize=256)
def _listed(names: tuple[bytes, ...]) -> tuple[str, ...]:
    """The lines of h=; most messages of an organisation have the same fields."""
    return tuple(_folded("h=", [name.decode() for name in names], ":"))


def _folded(start: str, words: Sequence[str], sign: str) -> list[str]:
    """The words joined by `sign`, broken into lines; the last one ends in a semicolon."""
    lines = [start]
    for number, word in enumerate(words):
        text = word + (sign if number < len(words) - 1 else ";")
        if len(lines[-1]) + len(text) > _LINE:
            lines.append("")
        lines[-1] += text
    return lines
