"""DNS over our own sockets: who takes a domain's mail, and where? (RFC 1035, 2181, 2308, 5452, 6891)

The library only packs and reads messages. NXDOMAIN, no such record and failure are three different answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import struct
from collections import OrderedDict

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import msgspec

from lockgate.seams import Clock, DnsNone, DnsTemporary, MxHost

Server = tuple[str, int]

LONGEST = 86400.0
LONGEST_NEGATIVE = 900.0
CHAIN = 10
"""CNAMEs that are followed for one name."""

_PAYLOAD = 1232
_RECORDS = 256


class _Known(msgspec.Struct, frozen=True):
    """An answer: the records as text, whether the name exists at all, and when it stops being true."""

    records: tuple[str, ...] | tuple[MxHost, ...]
    exists: bool
    until: float


class _NoAnswer(Exception):
    """This server gave no usable answer to this try."""


class DnsResolver:
    """Implements seams.Resolver. `servers` are recursive resolvers as (address, port); `timeout` seconds for one try.

    Every server is tried `tries` times in turn. Answers are kept as long as their TTL says, at most `size` of them;
    equal questions that are asked at the same time become one. Each question has its own socket, hence a source port
    of the kernel's choice, and a random id (RFC 5452).
    """

    def __init__(
        self, servers: tuple[Server, ...], clock: Clock, timeout: float = 3.0, *, tries: int = 2, size: int = 20_000
    ) -> None:
        self._servers = servers
        self._clock = clock
        self._timeout = timeout
        self._tries = tries
        self._size = size
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[_Known]] = {}

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """Mail exchangers, best first; the null MX is one host named ""; none published: ().

        Raises DnsNone, DnsTemporary.
        """
        domain = domain.lower()
        known = self._recall((domain, "MX")) or await self._find(domain, "MX")
        if not known.exists:
            raise DnsNone(domain)
        return known.records  # type: ignore[return-value]

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """Textual addresses, IPv6 first; () if the name has none. Raises DnsNone, DnsTemporary.

        With both families one of which cannot be found out, the other's addresses are the answer if there are any.
        """
        name = name.lower()
        if name == "localhost" or name.endswith(".localhost"):
            return _loopback(family)  # RFC 6761 6.3
        kinds = {"ipv4": ("A",), "ipv6": ("AAAA",)}.get(family, ("AAAA", "A"))
        results: list[_Known | DnsTemporary] = []
        for kind in kinds:
            known = self._recall((name, kind))
            if known is None:
                break
            results.append(known)
        else:
            return _together(name, results)
        found = await asyncio.gather(*[self._find(name, kind) for kind in kinds], return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, DnsTemporary):
                raise one
        return _together(name, [one for one in found if isinstance(one, _Known | DnsTemporary)])

    async def txt(self, name: str) -> tuple[str, ...]:
        """TXT records, the strings of each joined. Raises DnsNone, DnsTemporary."""
        return await self._texts(name.lower(), "TXT")

    async def names(self, address: str) -> tuple[str, ...]:
        """The names an address leads to (PTR). Raises DnsNone, DnsTemporary, ValueError."""
        return await self._texts(ipaddress.ip_address(address).reverse_pointer, "PTR")

    async def _texts(self, name: str, kind: str) -> tuple[str, ...]:
        known = await self._find(name, kind)
        if not known.exists:
            raise DnsNone(name)
        return tuple([str(record) for record in known.records])

    # --- memory ----------------------------------------------------------------------------------------------------

    def _recall(self, key: tuple[str, str]) -> _Known | None:
        known = self._known.get(key)
        if known is not None and known.until > self._clock.monotonic():
            return known
        return None

    async def _find(self, name: str, kind: str) -> _Known:
        """From memory, from a question under way, or by asking."""
        key = (name, kind)
        known = self._recall(key)
        if known is not None:
            return known
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(name, kind))
            task.add_done_callback(lambda done: self._answered(key, done))
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def _answered(self, key: tuple[str, str], task: asyncio.Task[_Known]) -> None:
        del self._asking[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._known[key] = task.result()
        self._known.move_to_end(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    # --- asking ----------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, kind: str) -> _Known:
        """Follow the name and its aliases to an answer. Raises DnsTemporary."""
        try:
            wanted = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return _Known((), exists=False, until=self._clock.monotonic() + LONGEST_NEGATIVE)
        rdtype = dns.rdatatype.from_text(kind)
        ttl = LONGEST
        for _ in range(CHAIN):
            message = await self._exchange(wanted, rdtype)
            wanted, records, ttl, whole = _read(message, wanted, rdtype, ttl)
            if whole:
                exists = message.rcode() != dns.rcode.NXDOMAIN
                return _Known(records, exists, self._clock.monotonic() + ttl)
        raise DnsTemporary(f"{name} is an alias of an alias without end")

    async def _exchange(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        """One question to the servers in turn until one answers. The second round goes without EDNS."""
        why = "there is no DNS server to ask"
        for number in range(self._tries):
            for server in self._servers:
                query = dns.message.make_query(
                    name, rdtype, use_edns=0 if number == 0 else False, payload=_PAYLOAD, id=secrets.randbelow(65536)
                )
                try:
                    return await asyncio.wait_for(_one_server(query, server), self._timeout)
                except TimeoutError:
                    why = f"{server[0]} port {server[1]} did not answer in time"
                except (_NoAnswer, OSError) as trouble:
                    why = f"{server[0]} port {server[1]}: {trouble}"
        raise DnsTemporary(f"{name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(rdtype)}: {why}")


async def _one_server(query: dns.message.Message, server: Server) -> dns.message.Message:
    message = await _by_datagram(query, server)
    if message.flags & dns.flags.TC:
        message = await _by_stream(query, server)
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _NoAnswer(f"answered {dns.rcode.to_text(message.rcode())}")
    return message


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; what does not fit the question is ignored, not believed."""

    def __init__(self, query: dns.message.Message, answer: asyncio.Future[dns.message.Message]) -> None:
        self._query = query
        self._answer = answer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = _fitting(data, self._query)
        if message is not None and not self._answer.done():
            self._answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(_NoAnswer(str(exc)))


async def _by_datagram(query: dns.message.Message, server: Server) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dns.message.Message] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(query, answer), remote_addr=server)
    try:
        transport.sendto(query.to_wire())
        return await answer
    finally:
        transport.close()


async def _by_stream(query: dns.message.Message, server: Server) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(*server)
    try:
        wire = query.to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        message = _fitting(await reader.readexactly(length), query)
    except asyncio.IncompleteReadError:
        raise _NoAnswer("hung up before its answer was whole") from None
    finally:
        writer.close()
    if message is None or message.flags & dns.flags.TC:
        raise _NoAnswer("answered by TCP what is no answer")
    return message


def _fitting(data: bytes, query: dns.message.Message) -> dns.message.Message | None:
    """The message if it is the answer to this very question, else None (RFC 5452 9.1)."""
    if data[:2] != query.id.to_bytes(2, "big"):
        return None
    try:
        message = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
    except Exception:
        # Whatever a parser does with hostile octets, they are no answer.
        return None
    if not message.flags & dns.flags.QR or message.opcode() != query.opcode():
        return None
    if message.question != query.question and not (message.rcode() == dns.rcode.FORMERR and not message.question):
        return None
    return message


def _read(
    message: dns.message.Message, wanted: dns.name.Name, rdtype: dns.rdatatype.RdataType, ttl: float
) -> tuple[dns.name.Name, tuple[str, ...] | tuple[MxHost, ...], float, bool]:
    """Follow the aliases inside one answer: (last name, records, TTL, whether that is the whole answer)."""
    sets = {(rrset.name, rrset.rdtype): rrset for rrset in message.answer if rrset.rdclass == dns.rdataclass.IN}
    start = wanted
    for _ in range(CHAIN):
        found = sets.get((wanted, rdtype))
        if found is not None:
            return wanted, _records(found), min(ttl, max(float(found.ttl), 0.0)), True
        alias = sets.get((wanted, dns.rdatatype.CNAME))
        if alias is None:
            break
        ttl = min(ttl, float(alias.ttl))
        target = alias[0]
        assert isinstance(target, dns.rdtypes.ANY.CNAME.CNAME)
        wanted = target.target
    else:
        raise DnsTemporary(f"{start} is an alias of an alias without end")
    denied = message.rcode() == dns.rcode.NXDOMAIN or wanted == start or _soa(message) is not None
    return wanted, (), min(ttl, _negative(message)), denied


def _records(rrset: dns.rrset.RRset) -> tuple[str, ...] | tuple[MxHost, ...]:
    if rrset.rdtype == dns.rdatatype.MX:
        hosts = [
            MxHost(record.preference, record.exchange.to_text().lower().rstrip("."))
            for record in list(rrset)[:_RECORDS]
            if isinstance(record, dns.rdtypes.ANY.MX.MX)
        ]
        return tuple(sorted(hosts, key=lambda host: host.preference))
    if rrset.rdtype == dns.rdatatype.TXT:
        texts = [record for record in list(rrset)[:_RECORDS] if isinstance(record, dns.rdtypes.ANY.TXT.TXT)]
        return tuple([b"".join(record.strings).decode("latin-1") for record in texts])
    if rrset.rdtype == dns.rdatatype.PTR:
        return tuple([record.to_text().lower().rstrip(".") for record in list(rrset)[:_RECORDS]])
    return tuple([record.to_text() for record in list(rrset)[:_RECORDS]])


def _soa(message: dns.message.Message) -> dns.rrset.RRset | None:
    return next((rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA), None)


def _negative(message: dns.message.Message) -> float:
    """How long "there is none" holds (RFC 2308 5); without SOA a moment only."""
    soa = _soa(message)
    if soa is None:
        return 5.0
    record = soa[0]
    assert isinstance(record, dns.rdtypes.ANY.SOA.SOA)
    return max(min(float(soa.ttl), float(record.minimum), LONGEST_NEGATIVE), 1.0)


def _together(name: str, results: list[_Known | DnsTemporary]) -> tuple[str, ...]:
    known = [result for result in results if isinstance(result, _Known)]
    found = tuple([str(record) for one in known for record in one.records])
    if found:
        return found
    for result in results:
        if isinstance(result, DnsTemporary):
            raise result
    if not all(one.exists for one in known):
        raise DnsNone(name)
    return ()


def _loopback(family: str) -> tuple[str, ...]:
    return {"ipv4": ("127.0.0.1",), "ipv6": ("::1",)}.get(family, ("::1", "127.0.0.1"))


def servers_of(text: str, port: int = 53) -> tuple[Server, ...]:
    """The nameservers of a resolv.conf file's text, at most three, as the system's own resolver takes them."""
    found: list[Server] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                try:
                    ipaddress.ip_address(address.partition("%")[0])
                except ValueError:
                    continue
                found.append((address, port))
            case _:
                pass
    return tuple(found[:3])
