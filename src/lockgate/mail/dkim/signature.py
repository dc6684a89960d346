"""A DKIM-Signature field: read, checked for what can be seen without the key, and verified with it (RFC 6376 6.1)."""

from __future__ import annotations

import functools
import hmac
import re
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lockgate.mail.dkim.canonical import Bodies, Field, Forms, relaxed_field, signed_fields, simple_field
from lockgate.mail.dkim.key import PublicKey
from lockgate.mail.dkim.tags import BadTags, read_base64, read_domain, read_number, read_tags, read_words

FIELD = b"dkim-signature"
_LONGEST = 16 * 1024
_REMEMBERED = 64
_PADDING, _SHA256 = padding.PKCS1v15(), hashes.SHA256()
_IDENTITY = re.compile(r"[^\x00-\x20\x7f]*")


class BadSignature(ValueError):
    """The field is no signature that could count; `weak` tells that it is one of a kind which proves nothing."""

    def __init__(self, why: str, *, weak: bool = False, domain: str = "", selector: str = "") -> None:
        super().__init__(why)
        self.weak = weak
        self.domain = domain
        self.selector = selector


class Signature(msgspec.Struct, frozen=True):
    """One signature. `length` is l=, `expires` x=, `names` h= in lower case. `field` is the header field itself."""

    field: Field
    algorithm: str
    value: bytes
    body_hash: bytes
    domain: str
    selector: str
    identity: str
    names: tuple[bytes, ...]
    relaxed_header: bool
    relaxed_body: bool
    length: int | None = None
    expires: int | None = None

    @property
    def key_name(self) -> str:
        """Where the key is published."""
        return f"{self.selector}._domainkey.{self.domain}"


def read_signature(field: Field) -> Signature:
    """The signature of a field. Raises BadSignature for what RFC 6376 6.1.1 says is to be ignored."""
    if len(field[1]) > _LONGEST:
        raise BadSignature("the signature is too long")
    domain = selector = ""
    try:
        tags = read_tags(field[1].decode("ascii"))
        domain, selector = read_domain(tags.get("d", "")), read_domain(tags.get("s", ""))
        return _signature(field, tags, domain, selector)
    except UnicodeDecodeError:
        raise BadSignature("the signature is not ASCII") from None
    except BadTags as trouble:
        raise BadSignature(str(trouble), domain=domain, selector=selector) from None
    except BadSignature as trouble:
        raise BadSignature(str(trouble), weak=trouble.weak, domain=domain, selector=selector) from None


def _signature(field: Field, tags: dict[str, str], domain: str, selector: str) -> Signature:
    # Signatures older than the version tag (and their q=dns) are in use still; what they prove is the same.
    if tags.get("v", "1") != "1":
        raise BadSignature("the signature is not of version 1")
    if missing := [name for name in ("a", "b", "bh", "h") if not tags.get(name)]:
        raise BadSignature(f"the signature lacks {missing[0]}=")
    algorithm = tags["a"].lower()
    if algorithm == "rsa-sha1":
        raise BadSignature("SHA-1 proves nothing", weak=True)
    if algorithm not in ("rsa-sha256", "ed25519-sha256"):
        raise BadSignature(f"the algorithm {algorithm[:30]} is unknown")
    if not {"dns/txt", "dns"} & set(read_words(tags.get("q", "dns/txt"))):
        raise BadSignature("its key is not in DNS")
    names = read_words(tags["h"])
    if "from" not in names:
        raise BadSignature("it does not sign From")
    header, _, body = tags.get("c", "simple/simple").lower().partition("/")
    forms = {"simple": False, "relaxed": True}
    if header not in forms or (body or "simple") not in forms:
        raise BadSignature("its canonical form is unknown")
    begins = read_number(tags["t"]) if "t" in tags else None
    expires = read_number(tags["x"]) if "x" in tags else None
    if begins is not None and expires is not None and expires < begins:
        raise BadSignature("it expires before it was made")
    return Signature(
        field,
        algorithm,
        read_base64(tags["b"]),
        read_base64(tags["bh"]),
        domain,
        selector,
        _identity(tags.get("i", f"@{domain}"), domain),
        _encoded(names) if len(names) <= _REMEMBERED else tuple([name.encode() for name in names]),
        forms[header],
        forms[body or "simple"],
        read_number(tags["l"]) if "l" in tags else None,
        expires,
    )


@functools.lru_cache(maxsize=1024)
def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple([name.encode() for name in names])


def _identity(text: str, domain: str) -> str:
    of = text.rpartition("@")[2].lower().rstrip(".")
    if "@" not in text or not _IDENTITY.fullmatch(text) or not (of == domain or of.endswith(f".{domain}")):
        raise BadSignature("i= is not of the domain that signs")
    return text[:320]


def why_not(
    signature: Signature, fields: Sequence[Field], bodies: Bodies, key: PublicKey, forms: Forms | None = None
) -> str:
    """Why the signature does not verify, as the rest of a sentence; "" if it does.

    `fields` are all header fields of the message in order (RFC 6376 6.1.3); `forms` remembers what was made of them
    for other signatures of the same message.
    """
    if not signature.algorithm.startswith(key.kind):
        return f"the key is for {key.kind}, the signature is {signature.algorithm}"
    if key.exact and signature.identity.rpartition("@")[2].lower() != signature.domain:
        return "the key does not allow a subdomain in i="
    form = bodies.form(relaxed=signature.relaxed_body)
    if signature.length is not None and signature.length > len(form):
        return "it signs more of the body than there is"
    digest = bodies.digest(relaxed=signature.relaxed_body, length=signature.length)
    if not hmac.compare_digest(digest, signature.body_hash):
        return "the body was changed"
    text = signed_text(fields, signature.names, signature.field, relaxed=signature.relaxed_header, forms=forms)
    return "" if _verifies(key, signature.value, text) else "the header was changed, or it is another key's"


def signed_text(
    fields: Sequence[Field], names: Sequence[bytes], own: Field, *, relaxed: bool, forms: Forms | None = None
) -> bytes:
    """What the signature is over: the chosen fields, then the own one with an empty b= and no line end (3.7)."""
    form = relaxed_field if relaxed else simple_field
    # RFC 6376 3.5: a signature does not sign itself, though its name may be in the list for others of its kind.
    empty = (own[0], without_value(own[1]))
    chosen = signed_fields(fields, names, own)
    if not relaxed or forms is None:
        return b"".join([form(field) for field in chosen]) + form(empty)[:-2]
    for field in chosen:
        if id(field) not in forms:
            forms[id(field)] = form(field)
    return b"".join([forms[id(field)] for field in chosen]) + form(empty)[:-2]


def without_value(text: bytes) -> bytes:
    """The signature field with the value of its b= taken out, everything else as it is."""
    place = 0
    while place < len(text):
        end = text.find(b";", place)
        end = len(text) if end < 0 else end
        sign = text.find(b"=", place, end)
        if sign >= 0 and text[place:sign].strip(b" \t\r\n") == b"b":
            return text[: sign + 1] + text[end:]
        place = end + 1
    return text


def _verifies(key: PublicKey, value: bytes, text: bytes) -> bool:
    try:
        if isinstance(key.key, rsa.RSAPublicKey):
            key.key.verify(value, text, _PADDING, _SHA256)
        else:
            digest = hashes.Hash(_SHA256)
            digest.update(text)
            key.key.verify(value, digest.finalize())  # RFC 8463 3: PureEdDSA over the hash
    except InvalidSignature:
        return False
    return True
