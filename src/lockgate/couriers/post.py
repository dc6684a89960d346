"""Posts a few octets to an HTTP address that the operator named: the address that was checked is the one dialled."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from lockgate.couriers.reach import Reach

LONGEST_ANSWER = 65536
"""Octets of the answer that are read; nobody looks at them."""


class NotPosted(Exception):
    """It was not taken; the message says why."""


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    reach: Reach,
    timeout: float,
    ca_file: str = "",
    any_certificate: bool = False,
) -> int:
    """POST `body`, and the status, which is below 300. No redirects, no proxies; blocks for at most twice `timeout`.

    With `any_certificate` nobody is asked who the server is. Raises NotPosted.
    """
    parts = urlsplit(url)
    secure, host = parts.scheme == "https", parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        sock = dial(host, port, reach, timeout)
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        try:
            connection.sock = _secured(sock, host, ca_file, any_certificate=any_certificate) if secure else sock
            connection.request("POST", path, body, {**headers, "Connection": "close"})
            answer = connection.getresponse()
            answer.read(LONGEST_ANSWER)
        finally:
            sock.close()
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as trouble:
        raise NotPosted(f"{host}: {type(trouble).__name__}: {trouble}") from None
    if answer.status >= 300:
        raise NotPosted(f"{host} answered {answer.status}")
    return answer.status


def dial(host: str, port: int, reach: Reach, timeout: float) -> socket.socket:
    """A connection to the first address that may be reached and answers. Blocks. Raises OSError."""
    why = "it has no address"
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        where = str(address[0])
        if refused := reach.refuses(where, port):
            why = f"{where} is {refused}, which [outgoing] allow does not list"
            continue
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError as trouble:
            why = f"{where}: {trouble}"
            sock.close()
        else:
            return sock
    raise ConnectionError(why)


def _secured(sock: socket.socket, host: str, ca_file: str, *, any_certificate: bool) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=ca_file or None)
    if any_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context.wrap_socket(sock, server_hostname=host)
