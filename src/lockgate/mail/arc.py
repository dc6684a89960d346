"""ARC sets (RFC 8617): read from a header, checked for their structure, and verified with keys that are handed in."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from lockgate.mail.authentication import ArcVerdict
from lockgate.mail.dkim.canonical import Bodies, Field, Forms, relaxed_field
from lockgate.mail.dkim.key import PublicKey
from lockgate.mail.dkim.sign import SigningKey
from lockgate.mail.dkim.signature import Signature, signed_text, without_value
from lockgate.mail.dkim.tags import BadTags, read_base64, read_domain, read_tags, read_words

MOST_SETS = 50
"""Sets of one chain (RFC 8617 4.2.1)."""

RESULTS, MESSAGE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_LONGEST = 16 * 1024
_INSTANCE = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]?)[ \t\r\n]*(?:;|\Z)", re.I)
_FORMS = {"simple": False, "relaxed": True}


class BrokenChain(ValueError):
    """The sets are no chain: its state is "fail"; the message says why."""


class Seal(msgspec.Struct, frozen=True):
    """An ARC-Seal. `state` is cv=."""

    field: Field
    value: bytes
    domain: str
    selector: str
    state: str

    @property
    def key_name(self) -> str:
        """Where the key is published."""
        return f"{self.selector}._domainkey.{self.domain}"


class ArcSet(msgspec.Struct, frozen=True):
    """The three fields of one instance. `signature` is None where the field cannot be read (only the last one must)."""

    results: Field
    message: Field
    signature: Signature | None
    seal: Seal


def read_chain(fields: Sequence[Field]) -> tuple[ArcSet, ...]:
    """The sets of a message from the first on; () if there are none. Raises BrokenChain (RFC 8617 5.2 steps 1-3)."""
    found: dict[bytes, dict[int, Field]] = {RESULTS: {}, MESSAGE: {}, SEAL: {}}
    for field in fields:
        kind = field[0].lower()
        if kind in found:
            number = _instance(kind, field)
            if number in found[kind]:
                raise BrokenChain(f"there are two {kind.decode()} of instance {number}")
            found[kind][number] = field
    count = max((max(numbers, default=0) for numbers in found.values()), default=0)
    if count > MOST_SETS:
        raise BrokenChain(f"there are more than {MOST_SETS} sets")
    for kind, numbers in found.items():
        if missing := [number for number in range(1, count + 1) if number not in numbers]:
            raise BrokenChain(f"the {kind.decode()} of instance {missing[0]} is missing")
    sets = [_set(found, number, last=number == count) for number in range(1, count + 1)]
    for number, one in enumerate(sets, 1):
        wanted = ("none",) if number == 1 else ("pass",)
        if one.seal.state not in wanted and not (number == count and one.seal.state == "fail"):
            raise BrokenChain(f"the seal of instance {number} says cv={one.seal.state[:10]}")
    if sets and sets[-1].seal.state == "fail":
        raise BrokenChain("the last sealer found the chain broken")
    return tuple(sets)


def _instance(kind: bytes, field: Field) -> int:
    if len(field[1]) > _LONGEST:
        raise BrokenChain(f"an {kind.decode()} is too long")
    if kind == RESULTS:
        found = _INSTANCE.match(field[1])
        text = found[1].decode() if found else ""
    else:
        text = _tags(field).get("i", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and int(text) > 0):
        raise BrokenChain(f"an {kind.decode()} has no instance")
    return int(text)


def _tags(field: Field) -> dict[str, str]:
    try:
        return read_tags(field[1].decode("ascii"))
    except (UnicodeDecodeError, BadTags) as trouble:
        raise BrokenChain(f"an {field[0].decode('ascii', 'replace')} cannot be read: {trouble}") from None


def _set(found: dict[bytes, dict[int, Field]], number: int, *, last: bool) -> ArcSet:
    message = found[MESSAGE][number]
    try:
        signature: Signature | None = _message_signature(message)
    except BadTags as trouble:
        if last:
            raise BrokenChain(f"the message signature of instance {number}: {trouble}") from None
        signature = None
    try:
        seal = _seal(found[SEAL][number])
    except BadTags as trouble:
        raise BrokenChain(f"the seal of instance {number}: {trouble}") from None
    return ArcSet(found[RESULTS][number], message, signature, seal)


def _message_signature(field: Field) -> Signature:
    tags = _tags(field)
    _common(tags, "bh", "h")
    header, _, body = tags.get("c", "simple/simple").lower().partition("/")
    if header not in _FORMS or (body or "simple") not in _FORMS:
        raise BadTags("its canonical form is unknown")
    names = read_words(tags["h"])
    if "arc-seal" in names:
        raise BadTags("it signs a seal")
    domain = read_domain(tags["d"])
    return Signature(
        field, "rsa-sha256", read_base64(tags["b"]), read_base64(tags["bh"]), domain, read_domain(tags["s"]),
        f"@{domain}", tuple([name.encode() for name in names]), _FORMS[header], _FORMS[body or "simple"],
    )  # fmt: skip


def _seal(field: Field) -> Seal:
    tags = _tags(field)
    _common(tags, "cv")
    if "h" in tags:
        raise BadTags("it has h=")
    return Seal(field, read_base64(tags["b"]), read_domain(tags["d"]), read_domain(tags["s"]), tags["cv"].lower())


def _common(tags: dict[str, str], *more: str) -> None:
    for name in ("a", "b", "d", "s", *more):
        if name not in tags or (not tags[name] and name != "h"):
            raise BadTags(f"it lacks {name}=")
    if tags["a"].lower() != "rsa-sha256":
        raise BadTags(f"its algorithm {tags['a'][:20]} is unknown")


def sealed_digests(sets: Sequence[ArcSet], forms: Forms) -> tuple[bytes, ...]:
    """SHA-256 of what each seal is over (RFC 8617 5.1.1), the first instance's first; all in one pass."""
    digests, before = [], hashlib.sha256()
    for one in sets:
        texts = [forms.setdefault(id(field), relaxed_field(field)) for field in (one.results, one.message)]
        before.update(b"".join(texts))
        own, last = before.copy(), one.seal.field
        own.update(relaxed_field((last[0], without_value(last[1])))[:-2])
        digests.append(own.digest())
        before.update(relaxed_field(last))
    return tuple(digests)


def seal_holds(seal: Seal, digest: bytes, key: PublicKey) -> bool:
    """Whether the seal is over a text of this hash."""
    return isinstance(key.key, rsa.RSAPublicKey) and _holds(key.key, seal.value, digest)


def sealed_text(before: Sequence[ArcSet], last: ArcSet) -> bytes:
    """What a seal is over: all sets in order, its own field last, with an empty b=."""
    parts = [relaxed_field(field) for one in before for field in (one.results, one.message, one.seal.field)]
    own = last.seal.field
    parts += [relaxed_field(last.results), relaxed_field(last.message)]
    return b"".join(parts) + relaxed_field((own[0], without_value(own[1])))[:-2]


def _holds(key: rsa.RSAPublicKey, value: bytes, digest: bytes) -> bool:
    try:
        key.verify(value, digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# --- sealing ---------------------------------------------------------------------------------------------------------


def seal(
    fields: Sequence[Field],
    bodies: Bodies,
    key: SigningKey,
    *,
    state: ArcVerdict,
    results: bytes,
    names: Sequence[bytes],
    at: int,
) -> bytes:
    """The three fields of the next set, to be put before all others (RFC 8617 5.1).

    `state` is what we found of the chain, `results` the value of our Authentication-Results without its field name,
    beginning with our name. Over a chain that is broken only the new set is sealed (5.1.2). Raises ValueError for a key
    that is not RSA (ARC knows no other), BrokenChain if there is no next set.
    """
    if not isinstance(key.key, rsa.RSAPrivateKey):
        raise ValueError("ARC seals with RSA keys only (RFC 8617 4.1)")
    before = read_chain(fields) if state is ArcVerdict.PASS else ()
    number = len(before) + 1 if state is ArcVerdict.PASS else _next_instance(fields, state)
    if number > MOST_SETS:
        raise BrokenChain(f"there are {MOST_SETS} sets already")
    aar: Field = (b"ARC-Authentication-Results", b" i=%d; %s" % (number, results.strip()))
    listed = ":".join(name.decode() for name in names)
    digest = base64.b64encode(bodies.digest(relaxed=True)).decode()
    closing = f"i={number}; s={key.selector}; t={at}"
    tail = f"bh={digest};\r\n c=relaxed/relaxed; d={key.domain};\r\n h={listed};\r\n {closing}"
    ams = _signed(b"ARC-Message-Signature", tail, key.key, lambda own: signed_text(fields, names, own, relaxed=True))
    state_word = "none" if number == 1 else state.value
    tail = f"cv={state_word}; d={key.domain};\r\n {closing}"

    def over(own: Field) -> bytes:
        return sealed_text(before, ArcSet(aar, ams, None, Seal(own, b"", key.domain, key.selector, state_word)))

    ours = (_signed(b"ARC-Seal", tail, key.key, over), ams, aar)
    return b"".join([name + b":" + value + b"\r\n" for name, value in ours])


def _next_instance(fields: Sequence[Field], state: ArcVerdict) -> int:
    if state is ArcVerdict.NONE:
        return 1
    seals = [field for field in fields if field[0].lower() == SEAL]
    numbers = [int(tag) for field in seals if (tag := _loose_instance(field)).isdigit()]
    return max(numbers, default=0) + 1


def _loose_instance(field: Field) -> str:
    try:
        return _tags(field).get("i", "")[:2]
    except BrokenChain:
        return ""


def _signed(name: bytes, tail: str, key: rsa.RSAPrivateKey, text_of: Callable[[Field], bytes]) -> Field:
    head = " a=rsa-sha256; b="
    own: Field = (name, f"{head};\r\n {tail}".encode())
    value = base64.b64encode(key.sign(text_of(own), padding.PKCS1v15(), hashes.SHA256())).decode()
    # On one line, as others make it: the next seal is over this field, and whoever folds it anew would break it.
    return name, f"{head}{value};\r\n {tail}".encode()
