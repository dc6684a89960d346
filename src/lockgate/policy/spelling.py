"""How names, domains, networks, sizes and times are spelled in documents, and what is refused."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

from lockgate.mail.address import AddressError, parse_domain
from lockgate.mail.address import parse_address as parse_mailbox
from lockgate.policy.networks import NetworkError, parse_address, parse_networks


def _title(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("a name must not be empty, nor begin or end with a space")
    if len(text) > 64:
        raise ValueError("a name has at most 64 characters")
    if not text.isprintable():
        raise ValueError("a name must not hold control characters")
    return text


def _name(text: str) -> str:
    _title(text)
    # Names become parts of queue names ("organisation/connector/domain#tls"), which must stay unambiguous.
    reserved = text.startswith(("mx:", "mailbox:")) or text.casefold() in {"hold", "pending", "mailboxes"}
    if "/" in text or "#" in text or reserved:
        raise ValueError(
            "a name must not hold / or #, begin with mx: or mailbox:, nor be 'hold', 'pending' or 'mailboxes'"
        )
    return text


def domain(text: str) -> str:
    """The A-label, lower-case form of a domain without trailing dot. Raises ValueError with words for people."""
    plain = text.strip().removesuffix(".")
    if plain.startswith("smtp:"):
        plain_hint = plain.removeprefix("smtp:").partition(";")[0]
        raise ValueError(f"write the domain alone, '{plain_hint}', without 'smtp:' and cost")
    if "*" in plain:
        raise ValueError(f"'{text[:80]}' must be one domain, without a wildcard")
    if "@" in plain:
        raise ValueError(f"'{text[:80]}' is an address; write only the part behind the @")
    try:
        found = parse_domain(plain)
    except AddressError as trouble:
        raise ValueError(f"'{text[:80]}' is not a domain: {trouble}; write one like contoso.com") from None
    if found.startswith("[") or found.rpartition(".")[2].isdigit():
        raise ValueError(f"'{text[:80]}' is an IP address; a domain like contoso.com is needed here")
    return found


def _wildcard(text: str) -> str:
    plain = text.strip()
    if plain.startswith("*."):
        return "*." + domain(plain[2:])
    if "*" in plain:
        raise ValueError(f"'{text[:80]}' may have a wildcard only as its whole first label: *.contoso.com")
    return domain(plain)


def _pattern(text: str) -> str:
    return "*" if text.strip() == "*" else _wildcard(text)


def _network(text: str) -> str:
    plain = text.strip()
    try:
        parse_networks(plain)
    except NetworkError as trouble:
        raise ValueError(str(trouble)) from None
    return plain


def _ip(width: int, kind: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            packed = parse_address(text.strip())
        except NetworkError as trouble:
            raise ValueError(str(trouble)) from None
        if len(packed) != width:
            raise ValueError(f"'{text[:60]}' is not an {kind} address")
        return text.strip()

    return AfterValidator(check)


_PORT = re.compile(r"[1-9]\d{0,4}", re.ASCII)


def smart_host_parts(text: str) -> tuple[str, int]:
    """Host (name, or address without brackets) and port (0: not given) of a smart host. Raises ValueError."""
    plain = text.strip()
    host, port = plain, ""
    if plain.startswith("["):
        host, closed, rest = plain[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"'{text[:80]}' must be written like [2001:db8::25]:25")
        port = rest[1:] if rest else ""
        if rest == ":":
            raise ValueError(f"'{text[:80]}' has a colon but no port behind it")
    elif plain.count(":") == 1:
        host, _, port = plain.partition(":")
        if not port:
            raise ValueError(f"'{text[:80]}' has a colon but no port behind it")
    if port and (not _PORT.fullmatch(port) or int(port) > 65535):
        raise ValueError(f"'{text[:80]}' has no valid port; a port is a number from 1 to 65535")
    return _host(host, text), int(port or 0)


def _host(host: str, text: str) -> str:
    if "/" in host:
        raise ValueError(f"'{text[:80]}' is a network; list the smart hosts one by one, by name or address")
    if ":" in host or host.replace(".", "").isdigit():
        try:
            parse_address(host)
        except NetworkError as trouble:
            raise ValueError(str(trouble)) from None
        return host.lower()
    return domain(host)


def _smart_host(text: str) -> str:
    host, port = smart_host_parts(text)
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{port}" if port else bracketed


def _store_address(text: str) -> str:
    """Where an LMTP server listens; unlike SMTP, LMTP has no port of its own (RFC 2033 5), so one must be given."""
    plain = text.strip()
    if plain.startswith("unix:"):
        path = plain.removeprefix("unix:")
        if not path.startswith("/") or not path.isprintable() or "/../" in f"{path}/" or len(path.encode()) > 107:
            raise ValueError(f"'{text[:120]}' must name a socket by its whole path, like unix:/run/dovecot/lmtp")
        return plain
    if not smart_host_parts(plain)[1]:
        raise ValueError(f"'{text[:80]}' needs its port, like store.contoso.com:24, or write unix:/path/of/the/socket")
    return _smart_host(plain)


def _pin(text: str) -> str:
    plain = text.strip().lower().replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError("a pin is the SHA-256 of the public key (SPKI) as 64 hexadecimal digits")
    return plain


def _secret(text: str) -> str:
    scheme, _, rest = text.partition(":")
    if scheme not in {"file", "env"} or not rest or "\0" in rest:
        raise ValueError("secrets are never written here; give a reference, file:/path/to/secret or env:NAME")
    return text


def _path(text: str) -> str:
    if not 0 < len(text) <= 4096 or any(sign < " " for sign in text):
        raise ValueError("must be the path of a file, at most 4096 characters long and without control characters")
    return text


def _mailbox(text: str) -> str:
    try:
        return parse_mailbox(text.strip(), utf8=True).text
    except AddressError as trouble:
        raise ValueError(f"'{text[:80]}' is not a mail address: {trouble}") from None


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


def _duration(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,9})\s*([smhd])", value.strip(), re.ASCII)
        if not match:
            raise ValueError("write a time as a number with s, m, h or d, like 24h")
        return int(match[1]) * _UNITS[match[2]]
    return value


def _size(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,12})\s*(B|KB|MB|GB)?", value.strip(), re.ASCII)
        if not match:
            raise ValueError("write a size as a number of octets, or with KB, MB or GB, like 150MB")
        return int(match[1]) * _SIZES[match[2] or ""]
    return value


ObjectName = Annotated[str, AfterValidator(_name)]
"""The name of an object: at most 64 printable characters."""

RuleName = Annotated[str, AfterValidator(_title)]
"""The same for what no queue is called after: a mail flow rule may be called "Sales / Marketing" or "#1 Hold"."""

DomainName = Annotated[str, AfterValidator(domain)]
"""One domain; kept as A-label in lower case without trailing dot."""

DomainPattern = Annotated[str, AfterValidator(_pattern)]
"""A domain, `*.domain`, or `*`."""

CertificateName = Annotated[str, AfterValidator(_wildcard)]
"""A host name, or `*.domain`."""

NetworkText = Annotated[str, AfterValidator(_network)]
"""An address, a CIDR network or a range, kept as it was written; `networks.parse_networks` reads it."""

IPv4Text = Annotated[str, _ip(4, "IPv4")]
"""One IPv4 address."""

IPv6Text = Annotated[str, _ip(16, "IPv6")]
"""One IPv6 address."""

SmartHost = Annotated[str, AfterValidator(_smart_host)]
"""A name, an address, name:port, address:port or [IPv6]:port."""

StoreAddress = Annotated[str, AfterValidator(_store_address)]
"""name:port, address:port, [IPv6]:port or unix:/path."""

Pin = Annotated[str, AfterValidator(_pin)]
"""SHA-256 of a public key (SPKI), 64 hexadecimal digits in lower case."""

SecretReference = Annotated[str, AfterValidator(_secret)]
"""Where a secret is kept: file:... or env:..."""

MailboxText = Annotated[str, AfterValidator(_mailbox)]
"""A mail address."""

FilePath = Annotated[
    str,
    AfterValidator(_path),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 4096, "pattern": r"^[^\x00-\x1f]+$"}),
]
"""The path of a file that the service reads."""

Comment = Annotated[str, StringConstraints(max_length=1024)]
"""Free text for people."""

Duration = Annotated[int, BeforeValidator(_duration), WithJsonSchema({"type": ["integer", "string"]})]
"""Seconds; in documents also 90s, 15m, 24h, 2d."""

Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": ["integer", "string"]})]
"""Octets; in documents also 64KB, 150MB."""
