"""A resolver over the zone data of the published SPF test suite, or of our own cases in the same shape."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.seams import DnsNone, DnsTemporary, MxHost


class SuiteZone:
    """`data` maps names to records ({type: value}, or the word TIMEOUT); CNAMEs are followed."""

    def __init__(self, data: Mapping[str, Sequence[Any]]) -> None:
        self._data = {name.lower().rstrip("."): list(records) for name, records in data.items()}
        self.asked = 0

    def _find(self, name: str, kind: str, depth: int = 0) -> list[Any]:
        self.asked += 1
        name = name.lower().rstrip(".")
        if any(len(label) > 63 or not label for label in name.split(".")):
            raise DnsNone(name)
        if name not in self._data:
            raise DnsNone(name)
        found: list[Any] = []
        for record in self._data[name]:
            if record == "TIMEOUT":
                # It stands for the questions that are not answered by what was written before it.
                if any(value != "NONE" for value in found):
                    break
                raise DnsTemporary(name)
            ((of, value),) = record.items()
            if of == kind:
                found.append(value)
            elif of == "CNAME" and depth < 8:
                return self._find(str(value), kind, depth + 1)
        if kind == "TXT":
            texts = [record["SPF"] for record in self._data[name] if isinstance(record, dict) and "SPF" in record]
            # The suite writes SPF for what is published as TXT, unless there is a TXT beside it.
            found = found or texts
            if "NONE" in found:
                found = []
            if any(value == "TIMEOUT" for value in found):
                raise DnsTemporary(name)
        return found

    async def txt(self, name: str) -> tuple[str, ...]:
        return tuple("".join(value) if isinstance(value, list) else str(value) for value in self._find(name, "TXT"))

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        kinds = {"ipv4": ["A"], "ipv6": ["AAAA"]}.get(family, ["A", "AAAA"])
        return tuple(str(value) for kind in kinds for value in self._find(name, kind))

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        return tuple(MxHost(int(n), str(host).rstrip(".")) for n, host in self._find(domain, "MX"))

    async def names(self, address: str) -> tuple[str, ...]:
        pointer = ipaddress.ip_address(address).reverse_pointer
        return tuple(str(value).rstrip(".") for value in self._find(pointer, "PTR"))
