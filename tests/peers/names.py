"""A name server on loopback that knows the MX and address records of one test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class Names:
    """Answers over UDP.

    `exchangers` maps a domain to host names (best first), `hosts` a name to IPv4 addresses, `texts` to TXT records.
    """

    def __init__(
        self,
        exchangers: Mapping[str, list[str]],
        hosts: Mapping[str, list[str]],
        texts: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.exchangers = dict(exchangers)
        self.hosts = dict(hosts)
        self.texts = dict(texts or {})
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join(5)
        self._socket.close()

    @property
    def settings(self) -> dict[str, object]:
        """The operator's [dns] table."""
        return {"resolvers": ["127.0.0.1"], "port": self.port, "timeout": "2s"}

    def _serve(self) -> None:
        while not self._closed:
            try:
                data, peer = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            self._socket.sendto(self._answer(dns.message.from_wire(data)).to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        question = query.question[0]
        name, kind = question.name.to_text().rstrip(".").lower(), question.rdtype.name
        if not any(name in known for known in (self.exchangers, self.hosts, self.texts)):
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer
        records = {
            "MX": [f"{10 * n} {host}." for n, host in enumerate(self.exchangers.get(name, []), 1)],
            "A": self.hosts.get(name, []),
            "TXT": [f'"{text}"' for text in self.texts.get(name, [])],
        }.get(kind, [])
        if records:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *records))
        return answer
