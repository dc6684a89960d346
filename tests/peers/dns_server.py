"""An authoritative DNS server on loopback, UDP and TCP on one port, that misbehaves in the ways a resolver meets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[tuple[str, str], Sequence[str]]

SOA = "ns.test. admin.test. 1 7200 900 1209600 {minimum}"


@dataclass
class DnsServer:
    """`zone` maps (name, type) to records in presentation form; a name with no type at all does not exist.

    `modes` maps a name ("*": all others) to what happens to its questions: drop, slow (`delay` seconds), servfail,
    refused, badvers, formerr-edns, truncate (answer by TCP only), truncate-both, garbage, wrong-id, wrong-question,
    wrong-port (from another socket), spoof-first (a forged answer, then the true one), no-soa, loop (its own alias),
    giant (4,000 records, by TCP), validated (AD), forged (SERVFAIL unless CD), explained (SERVFAIL with an extended
    error). TCP of a name that begins with "cut." ends in the midst. `asked` lists (name, type, transport) in order,
    `ids` and `ports` what was used.
    """

    zone: Zone
    modes: dict[str, str] = field(default_factory=dict)
    ttl: int = 300
    minimum: int = 60
    delay: float = 0.0
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    edns: list[int] = field(default_factory=list)
    address: tuple[str, int] = ("127.0.0.1", 0)
    _udp: asyncio.DatagramTransport | None = None
    _tcp: asyncio.Server | None = None

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=("127.0.0.1", 0))
            self._udp = udp
            self.address = udp.get_extra_info("sockname")
            try:
                self._tcp = await asyncio.start_server(self._stream, *self.address)
            except OSError:
                udp.close()
                continue
            return self
        raise RuntimeError("no port is free for both UDP and TCP")

    async def __aexit__(self, *_: object) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    def answers(self, wire: bytes, transport: str, port: int) -> list[bytes]:
        """The datagrams to send for one question."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        self.ids.append(query.id)
        self.ports.append(port)
        self.edns.append(query.edns)
        mode = self.mode_of(name)
        if mode == "drop":
            return []
        if mode in ("truncate", "truncate-both", "giant") and (transport == "udp" or mode == "truncate-both"):
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return [short.to_wire()]
        return _failures(query, mode) or self._answers(query, name, kind, mode)

    def mode_of(self, name: str) -> str:
        """What happens to questions for this name."""
        return self.modes.get(name, self.modes.get("*", ""))

    def _answers(self, query: dns.message.Message, name: str, kind: str, mode: str) -> list[bytes]:
        question = query.question[0]
        response = self._respond(query, name, kind)
        match mode:
            case "garbage":
                return [query.to_wire()[:2] + b"\xff" * 40]
            case "wrong-id":
                response.id ^= 1
            case "wrong-question":
                other = dns.message.make_query("other.test", question.rdtype, id=query.id)
                return [self._respond(other, "other.test", kind).to_wire()]
            case "spoof-first":
                forged = dns.message.make_response(query)
                forged.id ^= 0x5555
                forged.answer.append(dns.rrset.from_text(question.name, 300, "IN", "A", "192.0.2.66"))
                return [forged.to_wire(), response.to_wire(max_size=65535)]
            case "validated":
                response.flags |= dns.flags.AD
            case "loop":
                response = dns.message.make_response(query)
                response.answer.append(dns.rrset.from_text(question.name, 300, "IN", "CNAME", question.name.to_text()))
            case "giant":
                response = dns.message.make_response(query)
                addresses = [f"10.0.{n >> 8}.{n & 255}" for n in range(4000)]
                response.answer.append(dns.rrset.from_text_list(question.name, 300, "IN", "A", addresses))
        return [response.to_wire(max_size=65535)]

    def _respond(self, query: dns.message.Message, name: str, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        current = name
        for _ in range(20):
            records = self.zone.get((current, kind))
            owner = dns.name.from_text(current)
            if records:
                response.answer.append(dns.rrset.from_text(owner, self.ttl, "IN", kind, *records))
                return response
            alias = self.zone.get((current, "CNAME"))
            if not alias:
                break
            response.answer.append(dns.rrset.from_text(owner, self.ttl, "IN", "CNAME", alias[0]))
            current = alias[0].rstrip(".").lower()
            if self.modes.get(name) == "short-chain":
                return response
        if not any(known == current for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        if self.modes.get(name) != "no-soa":
            soa = SOA.format(minimum=self.minimum)
            response.authority.append(dns.rrset.from_text(dns.name.from_text("test"), 3600, "IN", "SOA", soa))
        return response

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            wire = await reader.readexactly(length)
            for answer in self.answers(wire, "tcp", writer.get_extra_info("peername")[1]):
                whole = struct.pack("!H", len(answer)) + answer
                name = self.asked[-1][0]
                writer.write(whole[: len(whole) // 2] if name.startswith("cut.") else whole)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _failures(query: dns.message.Message, mode: str) -> list[bytes]:
    match mode:
        case "servfail" | "refused" | "badvers":
            return [_failed(query, dns.rcode.from_text(mode.upper()))]
        case "formerr-edns" if query.edns >= 0:
            return [_failed(query, dns.rcode.FORMERR)]
        case "forged" if not query.flags & dns.flags.CD:
            return [_failed(query, dns.rcode.SERVFAIL)]
        case "explained":
            error = dns.edns.EDEOption(dns.edns.EDECode.SIGNATURE_EXPIRED, "the key is\x00old")
            return [_failed(query, dns.rcode.SERVFAIL, error)]
    return []


def _failed(query: dns.message.Message, rcode: dns.rcode.Rcode, *errors: dns.edns.EDEOption) -> bytes:
    response = dns.message.make_response(query)
    if errors:
        response.use_edns(0, options=list(errors))
    response.set_rcode(rcode)
    return response.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answers = self._server.answers(data, "udp", addr[1])
        name = self._server.asked[-1][0]
        mode = self._server.mode_of(name)
        if mode == "wrong-port":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                other.sendto(answers[0], addr)
            return
        delay = self._server.delay if mode == "slow" else 0.0
        for answer in answers:
            asyncio.get_running_loop().call_later(delay, self._send, answer, addr)

    def _send(self, answer: bytes, addr: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)  # type: ignore[attr-defined]
