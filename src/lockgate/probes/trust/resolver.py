"""DNS: remembered, each question asked once at a time, and told how far an answer may be believed.

RFC 1035, 2181, 2308, 4035 4.9.3, 6840 5.8, 9520.
"""

from __future__ import annotations

import asyncio
import ipaddress

import msgspec

from lockgate.probes.trust.dns.memory import Key, Memory
from lockgate.probes.trust.dns.message import KINDS, NXDOMAIN, Question, Response, Values, question
from lockgate.probes.trust.dns.servers import Server, Servers, on_this_machine, servers_of
from lockgate.seams import Clock, DnsAnswer, DnsBogus, DnsNone, DnsState, DnsTemporary, MxHost

__all__ = ["CHAIN", "DnsResolver", "Server", "servers_of"]

LONGEST = 86400.0
LONGEST_NEGATIVE = 900.0
SHORTEST = 1.0
"""Seconds that everything holds, a failure too: a name that does not answer is not asked for again for every message
that names it (RFC 9520 3.2)."""

NO_SOA = 5.0
"""Seconds for which there is none, where nobody says how long (RFC 2308 5)."""

CHAIN = 10
"""Aliases (CNAME) that are followed for one name."""


class DnsResolver:
    """Implements seams.Resolver. `servers` are recursive resolvers as (address, port).

    `timeout` is for one question in seconds, its aliases included; every server is tried `tries` times in that. Answers
    are kept as their TTL says, at most `size` of them; equal questions that are asked at the same time become one.
    An answer counts as validated where the server says so (AD) and is on this machine, or `trusted` says that the way
    to the servers is safe: anybody else's word may have been forged on its way (RFC 4035 4.9.3).
    """

    def __init__(
        self,
        servers: tuple[Server, ...],
        clock: Clock,
        timeout: float = 3.0,
        *,
        tries: int = 2,
        size: int = 20_000,
        trusted: bool = False,
    ) -> None:
        self._servers = Servers(servers, clock, timeout, tries)
        self._clock = clock
        self._timeout = timeout
        self._trusted = frozenset([server for server in servers if trusted or on_this_machine(server)])
        self._memory = Memory(size)
        self._asking: dict[Key, asyncio.Task[DnsAnswer]] = {}

    async def look_up(self, name: str, kind: str) -> DnsAnswer:
        """The whole answer. Never raises."""
        key = (name.lower(), kind)
        return self._memory.recall(key, self._clock.monotonic()) or await self._find(key)

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """Mail exchangers, best first; the null MX is one host named ""; none published: ().

        Raises DnsNone, DnsTemporary.
        """
        key = (domain.lower(), "MX")
        known = self._memory.recall(key, self._clock.monotonic()) or await self._find(key)
        return _records(known, domain)  # type: ignore[return-value]

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """Textual addresses, IPv6 first; () if the name has none. Raises DnsNone, DnsTemporary.

        With both families one of which cannot be found out, the other's addresses are the answer if there are any.
        """
        name = name.lower()
        if name == "localhost" or name.endswith(".localhost"):
            return _loopback(family)  # RFC 6761 6.3
        match family:
            case "ipv4":
                return _records(await self.look_up(name, "A"), name)  # type: ignore[return-value]
            case "ipv6":
                return _records(await self.look_up(name, "AAAA"), name)  # type: ignore[return-value]
        now = self._clock.monotonic()
        six, four = self._memory.recall((name, "AAAA"), now), self._memory.recall((name, "A"), now)
        if six is not None and four is not None:
            return _together(name, six, four)
        return _together(name, *await asyncio.gather(self._find((name, "AAAA")), self._find((name, "A"))))

    async def txt(self, name: str) -> tuple[str, ...]:
        """TXT records, the strings of each joined. Raises DnsNone, DnsTemporary."""
        key = (name.lower(), "TXT")
        known = self._memory.recall(key, self._clock.monotonic()) or await self._find(key)
        return _records(known, name)  # type: ignore[return-value]

    async def names(self, address: str) -> tuple[str, ...]:
        """The names an address leads to (PTR). Raises DnsNone, DnsTemporary, ValueError."""
        pointer = ipaddress.ip_address(address).reverse_pointer
        return _records(await self.look_up(pointer, "PTR"), pointer)  # type: ignore[return-value]

    # --- asking ----------------------------------------------------------------------------------------------------

    async def _find(self, key: Key) -> DnsAnswer:
        """From memory, from a question under way, or by asking."""
        known = self._memory.recall(key, self._clock.monotonic())
        if known is not None:
            return known
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(*key))
            task.add_done_callback(lambda done: self._answered(key, done))
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def _answered(self, key: Key, task: asyncio.Task[DnsAnswer]) -> None:
        del self._asking[key]
        if not task.cancelled() and task.exception() is None:
            self._memory.keep(key, task.result())

    async def _ask(self, name: str, kind: str) -> DnsAnswer:
        """Follow the name and its aliases to an answer, or say why there is none."""
        try:
            # The time is for the whole chain: each link has no more of it than the ones before left over.
            async with asyncio.timeout(self._timeout + 0.5):
                return await self._followed(name, kind)
        except DnsTemporary as trouble:
            state = DnsState.BOGUS if isinstance(trouble, DnsBogus) else DnsState.TEMPORARY
            return DnsAnswer(state, why=str(trouble), until=self._clock.monotonic() + SHORTEST)
        except TimeoutError:
            why = f"{name} {kind}: its aliases were not followed to an end in time"
            return DnsAnswer(DnsState.TEMPORARY, why=why, until=self._clock.monotonic() + SHORTEST)

    async def _followed(self, name: str, kind: str) -> DnsAnswer:
        ttl, validated, wanted = LONGEST, True, name
        for _ in range(CHAIN):
            asked = question(wanted, kind)
            if asked is None:
                until = self._clock.monotonic() + LONGEST_NEGATIVE
                return DnsAnswer(DnsState.NONE, canonical=wanted, why="no such name can exist", until=until)
            response, server = await self._servers.ask(asked)
            validated = validated and response.authentic and server in self._trusted
            step = _read(response, asked)
            ttl, wanted = min(ttl, step.ttl), step.last
            if step.whole:
                until = self._clock.monotonic() + max(ttl, SHORTEST)
                known = DnsState.SECURE if validated else DnsState.INSECURE
                state = DnsState.NONE if response.rcode == NXDOMAIN else known
                return DnsAnswer(state, step.values, validated, wanted, until=until)
        raise DnsTemporary(f"{name} is an alias of an alias without end")


class _Step(msgspec.Struct, frozen=True):
    """How far one response leads: the last name, its values, how long that holds, and whether it is the end."""

    last: str
    values: Values
    ttl: float
    whole: bool


def _read(response: Response, asked: Question) -> _Step:
    """Follow the aliases inside one response. Raises DnsTemporary."""
    kind, wanted, ttl = KINDS[asked.kind], asked.name, LONGEST
    for _ in range(CHAIN):
        found = response.sets.get((wanted, kind))
        if found is not None:
            return _Step(wanted, found[1], min(ttl, found[0]), whole=True)
        alias = response.sets.get((wanted, KINDS["CNAME"]))
        if alias is None:
            break
        ttl, wanted = min(ttl, alias[0]), str(alias[1][0])
    else:
        raise DnsTemporary(f"{asked.name} is an alias of an alias without end")
    negative = NO_SOA if response.negative is None else min(response.negative, LONGEST_NEGATIVE)
    whole = response.rcode == NXDOMAIN or wanted == asked.name or response.negative is not None
    return _Step(wanted, (), min(ttl, negative) if whole else ttl, whole)


def _records(known: DnsAnswer, name: str) -> Values:
    """The records, or the kind of no there is."""
    match known.state:
        case DnsState.SECURE | DnsState.INSECURE:
            return known.records
        case DnsState.NONE:
            raise DnsNone(name)
        case DnsState.BOGUS:
            raise DnsBogus(known.why)
    raise DnsTemporary(known.why)


def _together(name: str, six: DnsAnswer, four: DnsAnswer) -> tuple[str, ...]:
    if found := (*six.records, *four.records):
        return tuple([str(record) for record in found])
    for known in (six, four):
        if known.state in (DnsState.BOGUS, DnsState.TEMPORARY):
            _records(known, name)
    if DnsState.NONE in (six.state, four.state):
        raise DnsNone(name)
    return ()


def _loopback(family: str) -> tuple[str, ...]:
    return {"ipv4": ("127.0.0.1",), "ipv6": ("::1",)}.get(family, ("::1", "127.0.0.1"))
