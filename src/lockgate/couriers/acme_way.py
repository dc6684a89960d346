"""The way to an ACME authority: HTTPS to its directory's host only, to addresses that may be reached, within a time."""

from __future__ import annotations

import socket
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from acme import client, messages
from josepy.jwa import ES256
from josepy.jwk import JWK
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from lockgate.couriers.post import dial
from lockgate.couriers.reach import Reach

LONGEST_ANSWER = 1024 * 1024
"""Octets of an answer that are read."""

_ONE_REQUEST = 30.0
_NONCE_TRIES = 20
"""Authorities with many servers refuse some nonces of each other; an order has a dozen requests, each of which must
get through, and a certificate that is not renewed is worse than a few requests more."""


class Astray(OSError):
    """An answer that leads elsewhere or is none; the message says so."""


class Way(client.ClientNetwork):
    """Signs and posts (RFC 8555 6.2). No proxies, no redirects, no other host than that of `directory`.

    `until` is when all has to be over, on the monotonic clock.
    """

    def __init__(self, key: JWK, directory: str, reach: Reach, ca_file: str, until: float) -> None:
        super().__init__(key, alg=ES256, user_agent="Lockgate", timeout=int(_ONE_REQUEST))
        self._origin = _origin(directory)
        self._until = until
        self.verify_ssl = ca_file or True  # type: ignore[assignment]
        self.session.trust_env = False
        self.session.adapters.clear()
        self.session.mount("https://", _adapter(reach))

    def _send_request(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        if _origin(url) != self._origin:
            raise Astray(f"the authority leads to {url[:200]}, which is not the host of its directory")
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the order is over")
        headers = {"User-Agent": self.user_agent, **kwargs.pop("headers", {})}
        kwargs.update(timeout=min(_ONE_REQUEST, left), allow_redirects=False, stream=True, verify=self.verify_ssl)
        answer = self.session.request(method, url, headers=headers, **kwargs)
        self._read(answer, url)
        if 300 <= answer.status_code < 400:
            raise Astray(f"the authority redirects from {url[:200]}")
        answer.encoding = "utf-8"
        return answer

    def _read(self, answer: requests.Response, url: str) -> None:
        """The whole body, which must not be endless."""
        body = bytearray()
        for piece in answer.iter_content(65536):
            body += piece
            if len(body) > LONGEST_ANSWER or time.monotonic() > self._until:
                answer.close()
                raise Astray(f"the answer of {url[:200]} does not end")
        answer._content = bytes(body)

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """The same; a nonce that is not taken is replaced, within bounds (RFC 8555 6.5)."""
        for _ in range(_NONCE_TRIES - 1):
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as trouble:
                if trouble.code != "badNonce":
                    raise
        return self._post_once(*args, **kwargs)


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or 443
    except ValueError:
        return "", "", 0


def _adapter(reach: Reach) -> HTTPAdapter:
    """Connections by our own dialling, so that the address that was looked at is the one that is used."""

    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            timeout = self.timeout if isinstance(self.timeout, int | float) else _ONE_REQUEST
            return dial(self.host, self.port or 443, reach, float(timeout))

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"https": Pool}

    return Adapter(max_retries=0)
