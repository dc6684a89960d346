"""Where a domain wants its TLS reports: the TXT record at _smtp._tls (RFC 8460 3)."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.reports.destination import Destination
from lockgate.seams import DnsNone, Resolver

MOST = 5
"""Places of one domain that reports are sent to."""

_VERSION = "v=tlsrptv1"


class TlsReportDestinations:
    """Made once for each process. `__call__` raises DnsTemporary."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def __call__(self, domain: str) -> tuple[Destination, ...]:
        """Addresses, and https URLs; () if it wants none. Two records are as good as none (RFC 8460 3)."""
        try:
            texts = await self._resolver.txt(f"_smtp._tls.{domain}")
        except DnsNone:
            return ()
        found = [text for text in texts if _is_one(text)]
        return read_destinations(found[0]) if len(found) == 1 else ()


def _is_one(text: str) -> bool:
    return text.partition(";")[0].strip().lower() == _VERSION


def read_destinations(record: str) -> tuple[Destination, ...]:
    """The places that a record names, in its order; what is no place of a known kind is told as refused."""
    found: list[Destination] = []
    for field in record.split(";")[1:]:
        name, _, value = field.partition("=")
        if name.strip().lower() == "rua":
            found += [_destination(uri.strip()) for uri in value.split(",") if uri.strip()]
    return tuple(found[:MOST])


def _destination(uri: str) -> Destination:
    shown = "".join(c if c.isprintable() else "?" for c in uri)[:254]
    scheme, _, rest = uri.partition(":")
    match scheme.lower():
        case "mailto":
            try:
                return Destination(parse_address(unquote(rest.partition("?")[0])).text)
            except AddressError as trouble:
                return Destination(shown, refused=f"it is no address: {trouble}")
        case "https":
            try:
                whole = bool(urlsplit(uri).hostname) and uri.isascii() and uri.isprintable() and " " not in uri
            except ValueError:
                whole = False
            return Destination(shown, refused="" if whole else "it is no URL that can be posted to")
        case _:
            return Destination(shown, refused="only mailto and https are known (RFC 8460 3)")
