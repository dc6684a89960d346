"""A policy by HTTPS: from the checked address of the right host, without redirects, bounded (RFC 8461 3.3)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec

from lockgate.mail.sts_text import LARGEST
from lockgate.seams import DnsNone, DnsTemporary, Resolver

PATH = "/.well-known/mta-sts.txt"
_MOST_ADDRESSES = 4
_CONNECT = 10.0


class FetchFailed(Exception):
    """There is no policy to be had; the message says why, as the rest of a sentence. `word` is that of RFC 8460 4.3."""

    def __init__(self, why: str, word: str = "sts-policy-fetch-error") -> None:
        super().__init__(why)
        self.word = word


class FetchSettings(msgspec.Struct, frozen=True):
    """How policies are fetched. `ca_bundle` is a PEM file, "": none; `seconds` are for one fetch in all."""

    ca_bundle: str
    port: int = 443
    seconds: float = 60.0


class HttpsFetch:
    """Fetches policies. `refuses` says why an address and port may not be dialled ("": it may).

    The address that is dialled is the one that was checked; the certificate is checked against mta-sts.DOMAIN, under
    the operator's authorities and nobody else's. Neither proxies nor other settings of the environment are used.
    """

    def __init__(self, resolver: Resolver, settings: FetchSettings, refuses: Callable[[str, int], str]) -> None:
        self._resolver = resolver
        self._settings = settings
        self._refuses = refuses
        self._context: tuple[tuple[int, int], ssl.SSLContext] | None = None

    async def __call__(self, domain: str) -> bytes:
        """The text of the policy of this domain. Raises FetchFailed."""
        host = f"mta-sts.{domain}"
        try:
            async with asyncio.timeout(self._settings.seconds):
                context = await asyncio.to_thread(self._trusting)
                return await self._from_one_of(await self._addresses(host), host, context)
        except TimeoutError:
            raise FetchFailed(f"{host} did not deliver it within {self._settings.seconds:g} s") from None

    def _trusting(self) -> ssl.SSLContext:
        """Trusts the operator's bundle, as it is now."""
        file = self._settings.ca_bundle
        if not file:
            raise FetchFailed("the operator has no bundle of public CA certificates (delivery.ca_bundle)")
        try:
            found = Path(file).stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if self._context is not None and self._context[0] == stamp:
                return self._context[1]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.hostname_checks_common_name = False  # RFC 8461 3.3: a dNSName
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(file)
        except (OSError, ValueError) as trouble:
            raise FetchFailed(f"the CA certificates in {file} cannot be read: {trouble}") from None
        self._context = (stamp, context)
        return context

    async def _addresses(self, host: str) -> tuple[str, ...]:
        try:
            found = await self._resolver.addresses(host)
        except DnsNone:
            raise FetchFailed(f"{host} does not exist in DNS") from None
        except DnsTemporary as trouble:
            raise FetchFailed(f"DNS does not say where {host} is: {trouble}") from None
        if not found:
            raise FetchFailed(f"{host} has no address")
        port = self._settings.port
        permitted = [address for address in found if not self._refuses(address, port)]
        if not permitted:
            why = self._refuses(found[0], port)
            raise FetchFailed(f"{host} leads to {found[0]}, which is {why} and may not be dialled (outgoing.allow)")
        return tuple(permitted[:_MOST_ADDRESSES])

    async def _from_one_of(self, addresses: tuple[str, ...], host: str, context: ssl.SSLContext) -> bytes:
        """From the first server that can be connected to: what it says counts, whatever the others would say."""
        trouble = FetchFailed(f"{host} has no address")
        for address in addresses:
            try:
                return await self._from(address, host, context)
            except httpx2.ConnectTimeout:
                trouble = FetchFailed(f"{host}[{address}] did not answer in time")
            except httpx2.ConnectError as why:
                if (untrusted := _untrusted(why)) is not None:
                    raise FetchFailed(f"{host}[{address}]: {untrusted}", "sts-webpki-invalid") from None
                trouble = FetchFailed(f"no connection to {host}[{address}]: {why}")
            except httpx2.HTTPError as why:
                raise FetchFailed(f"{host}[{address}]: {str(why) or type(why).__name__}") from None
        raise trouble

    async def _from(self, address: str, host: str, context: ssl.SSLContext) -> bytes:
        literal = f"[{address}]" if ":" in address else address
        seconds = self._settings.seconds
        request = httpx2.Request(
            "GET", f"https://{literal}:{self._settings.port}{PATH}",
            headers={"Host": host, "User-Agent": "Lockgate", "Accept": "text/plain", "Accept-Encoding": "identity"},
            extensions={
                "sni_hostname": host,
                "timeout": {"connect": min(_CONNECT, seconds), "read": seconds, "write": seconds, "pool": seconds},
            },
        )  # fmt: skip
        # Below the client there are no redirects, cookies, caches, decompression or proxies at all.
        async with httpx2.AsyncHTTPTransport(verify=context, trust_env=False, retries=0) as transport:
            response = await transport.handle_async_request(request)
            try:
                _is_a_policy(response, f"{host}[{address}]")
                return await _body(response, f"{host}[{address}]")
            finally:
                await response.aclose()


def _is_a_policy(response: httpx2.Response, where: str) -> None:
    """Whether the head is that of a policy. Raises FetchFailed."""
    status = response.status_code
    if 300 <= status < 400:
        raise FetchFailed(f"{where} sends us elsewhere (status {status}), and redirects are not followed")
    if status != 200:
        raise FetchFailed(f"{where} answers with status {status}")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/plain":
        raise FetchFailed(f"{where} delivers {kind[:60] or 'no media type'} instead of text/plain")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchFailed(f"{where} delivers it compressed, which was not asked for")
    length = response.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:9]) > LARGEST:
        raise FetchFailed(f"{where} delivers more than {LARGEST} octets")


async def _body(response: httpx2.Response, where: str) -> bytes:
    octets = bytearray()
    stream = response.stream
    if not isinstance(stream, httpx2.AsyncByteStream):
        raise TypeError("the transport has given a stream that is not asynchronous")
    async for piece in stream:
        octets += piece
        if len(octets) > LARGEST:
            raise FetchFailed(f"{where} delivers more than {LARGEST} octets")
    return bytes(octets)


def _untrusted(trouble: BaseException) -> str | None:
    """Why the certificate is not believed; None if that was not the trouble."""
    seen: BaseException | None = trouble
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted ({seen.verify_message or seen.reason})"
        seen = seen.__cause__ or seen.__context__
    return None
