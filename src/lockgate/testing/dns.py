"""A resolver that answers from dictionaries, with the same three kinds of "no" as the real one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lockgate.seams import DnsAnswer, DnsBogus, DnsNone, DnsState, DnsTemporary, MxHost


class ZoneResolver:
    """Implements seams.Resolver. `exchangers` maps a domain to (preference, name) pairs, `hosts` a name to addresses.

    `texts` maps a name to TXT records, `reverse` an address to names. A name in none of them does not exist;
    a name in `silent` has no usable answer, one in `forged` has one that DNSSEC proves wrong, one in `signed` is
    proven. `keys` maps a name to TLSA records, `aliases` one to the name it is an alias of (which `look_up` follows).
    `asked` lists the questions in order.
    """

    def __init__(
        self,
        exchangers: Mapping[str, Iterable[tuple[int, str]]] | None = None,
        hosts: Mapping[str, Iterable[str]] | None = None,
        silent: Iterable[str] = (),
        *,
        texts: Mapping[str, Iterable[str]] | None = None,
        reverse: Mapping[str, Iterable[str]] | None = None,
        forged: Iterable[str] = (),
        signed: Iterable[str] = (),
        keys: Mapping[str, Iterable[str]] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.exchangers = {name: tuple(pairs) for name, pairs in (exchangers or {}).items()}
        self.hosts = {name: tuple(addresses) for name, addresses in (hosts or {}).items()}
        self.silent = set(silent)
        self.forged = set(forged)
        self.signed = set(signed)
        self.texts = {name: tuple(records) for name, records in (texts or {}).items()}
        self.reverse = {address: tuple(names) for address, names in (reverse or {}).items()}
        self.keys = {name: tuple(records) for name, records in (keys or {}).items()}
        self.aliases = dict(aliases or {})
        self.asked: list[tuple[str, str]] = []

    async def look_up(self, name: str, kind: str) -> DnsAnswer:
        """The whole answer; of the types that this one knows."""
        proven = name in self.signed
        if name in self.aliases and kind != "CNAME":
            found = await self.look_up(self.aliases[name], kind)
            both = proven and found.validated
            state = found.state if both or found.state is not DnsState.SECURE else DnsState.INSECURE
            return msgspec.structs.replace(found, state=state, validated=both)
        records: tuple[str, ...] | tuple[MxHost, ...]
        try:
            match kind:
                case "CNAME":
                    self.asked.append((name, kind))
                    records = (self.aliases[name],) if name in self.aliases else ()
                case "TLSA":
                    self._know(name, kind)
                    records = self.keys.get(name, ())
                case "MX":
                    records = await self.mx(name)
                case "A" | "AAAA":
                    records = await self.addresses(name, "ipv4" if kind == "A" else "ipv6")
                case "TXT":
                    records = await self.txt(name)
                case _:
                    self._know(name, kind)
                    records = ()
        except DnsNone:
            return DnsAnswer(DnsState.NONE, (), proven, name)
        except DnsBogus as trouble:
            return DnsAnswer(DnsState.BOGUS, why=str(trouble))
        except DnsTemporary as trouble:
            return DnsAnswer(DnsState.TEMPORARY, why=str(trouble))
        return DnsAnswer(DnsState.SECURE if proven else DnsState.INSECURE, records, proven, name)

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """Mail exchangers, best first."""
        self._know(domain, "MX")
        found = [MxHost(preference, name) for preference, name in self.exchangers.get(domain, ())]
        return tuple(sorted(found, key=lambda host: host.preference))

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """Textual addresses of the family."""
        name = self.aliases.get(name, name)
        self._know(name, family)
        found = self.hosts.get(name, ())
        if family == "any":
            return found
        return tuple([address for address in found if (":" in address) == (family == "ipv6")])

    async def txt(self, name: str) -> tuple[str, ...]:
        """TXT records."""
        self._know(name, "TXT")
        return self.texts.get(name, ())

    async def names(self, address: str) -> tuple[str, ...]:
        """The names an address leads to."""
        self._know(address, "PTR")
        return self.reverse.get(address, ())

    def _know(self, name: str, kind: str) -> None:
        self.asked.append((name, kind))
        if name in self.silent:
            raise DnsTemporary(f"{name} was not answered")
        if name in self.forged:
            raise DnsBogus(f"{name}: DNSSEC validation failed")
        if not any(name in known for known in (self.exchangers, self.hosts, self.texts, self.reverse, self.keys)):
            raise DnsNone(name)
