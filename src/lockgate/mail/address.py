"""Mail addresses: parsed once, compared safely.

RFC 5321 4.1.2 (Mailbox), RFC 6531 3.3 (UTF-8), RFC 5890 (A-labels).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

import idna
import msgspec


class AddressError(ValueError):
    """The text is not an address; the message says why, in words for the person or peer who wrote it."""


class Address(msgspec.Struct, frozen=True):
    """One mailbox address.

    `local` is the local part as it goes on the wire, in its `one_spelling`: quoted only if it must be. `domain` is the
    domain in A-label, lower-case form without a trailing dot, or an address literal with its brackets. `<postmaster>`
    without a domain (RFC 5321 4.1.1.3) has the empty domain.
    """

    local: str
    domain: str

    @property
    def text(self) -> str:
        """The address as it is written in an envelope, without angle brackets."""
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def key(self) -> str:
        """What two spellings of one recipient have in common (specification 1.6: case does not distinguish)."""
        return f"{self.local}@{self.domain}".casefold()

    def __str__(self) -> str:
        return self.text


_LONGEST = 254
"""RFC 5321 4.5.3.1.3: a path has 256 octets, its brackets included."""

_LONGEST_SPELLING = 1000
"""Characters of a domain that may still come to 255 octets; more are not even converted."""

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PLAIN = re.compile(rf"({_ATEXT}+(?:\.{_ATEXT}+)*)@({_NAME}(?:\.{_NAME})*)")
_UTF8_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]"
_DOT_STRING = re.compile(rf"{_UTF8_ATEXT}+(?:\.{_UTF8_ATEXT}+)*")
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"')
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_PAIR = re.compile(r'["\\]')
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def parse_address(text: str, *, utf8: bool = False) -> Address:
    """Read a mailbox (RFC 5321 4.1.2; with `utf8` RFC 6531 3.3). Raises AddressError.

    Local parts lose quotes that are not needed, and internationalised domains become A-labels, so that two spellings
    of one address compare equal. Lengths are those of RFC 5321 4.5.3.1 (64 octets, 255 octets).
    """
    plain = _PLAIN.fullmatch(text)
    if plain is not None and len(text) <= _LONGEST:
        local, domain = plain[1], plain[2].lower()
        fits = len(domain) <= 63 or all(len(label) <= 63 for label in domain.split("."))
        if fits and len(local) <= 64 and "xn--" not in domain:
            return Address(local, domain)
    if len(text) > _LONGEST:
        raise AddressError("the address is longer than 254 characters")
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError("an address needs a local part, an @ and a domain")
    if not utf8 and not text.isascii():
        raise AddressError("the address is not ASCII and SMTPUTF8 was not asked for")
    return Address(_local_part(local), parse_domain(domain))


def kept_spelling(text: str) -> str:
    """The spelling under which the address that somebody typed is kept, without angle brackets and blanks around it.

    What is no address, such as the hash that stands for one, stays as it is.
    """
    bare = text.strip("<> ")
    try:
        return parse_address(bare, utf8=True).text
    except AddressError:
        return bare


def one_spelling(local: str) -> str:
    """A well-formed local part in the one spelling of all that mean the same: composed, and with the least quoting.

    RFC 5321 4.1.2: "ann", "a\\nn" and ann are one local part, and the form with the least quoting is the one to send.
    """
    if not local.isascii():
        local = unicodedata.normalize("NFC", local)
    if not local.startswith('"'):
        return local
    text = _PAIR.sub(r"\1", local[1:-1])
    return text if _DOT_STRING.fullmatch(text) else '"' + _NEEDS_PAIR.sub(r"\\\g<0>", text) + '"'


def _local_part(local: str) -> str:
    if not local:
        raise AddressError("the part before the @ is missing")
    if not local.isascii():
        # Before anything is checked: there are letters beyond ASCII whose normal form is a sign such as ";".
        local = unicodedata.normalize("NFC", local)
    try:
        octets = len(local.encode())
    except UnicodeEncodeError:
        raise AddressError("the part before the @ is not valid Unicode") from None
    if octets > 64:
        raise AddressError("the part before the @ is longer than 64 octets")
    if local.startswith('"'):
        if not _QUOTED.fullmatch(local):
            raise AddressError("the quoted part before the @ is not closed or holds what it may not")
    elif not _DOT_STRING.fullmatch(local):
        raise AddressError("the part before the @ holds a character or a dot where it may not")
    if not local.isascii() and not all(c.isprintable() for c in local):
        raise AddressError("the part before the @ holds a control character")
    return one_spelling(local)


def parse_domain(text: str) -> str:
    """Read a domain or an address literal into its comparable form (RFC 5321 4.1.2-4.1.3, RFC 5890)."""
    if text.startswith("["):
        return _literal(text)
    if not text:
        raise AddressError("the domain after the @ is missing")
    if len(text) > _LONGEST_SPELLING:
        raise AddressError("the domain is longer than 255 octets")
    if text.isascii() and "xn--" not in text.lower():
        domain = text.lower()
    else:
        try:
            domain = idna.encode(text, uts46=True, std3_rules=True).decode().lower()
        except (idna.IDNAError, UnicodeError) as trouble:
            raise AddressError(f"the domain is not a valid internationalised name ({trouble})") from None
    if len(domain) > 255:
        raise AddressError("the domain is longer than 255 octets")
    if not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise AddressError("the domain holds an empty or malformed label")
    return domain


def _literal(text: str) -> str:
    if not text.endswith("]"):
        raise AddressError("the address literal is not closed")
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise AddressError("the address literal holds no IPv4 address and no IPv6: address") from None


def ip_text(text: str) -> str:
    """An IP address in the one form in which it is kept (RFC 5952; IPv4-mapped as IPv4); other text as it is."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
