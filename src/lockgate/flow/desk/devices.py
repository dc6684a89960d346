"""Devices at the desk: every host that sends as an own domain, what it does, what was refused, and what to do then."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.devices import DeviceList, DeviceShow
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.mail.devices import host_of
from lockgate.mail.redaction import Discretion
from lockgate.policy.policy import Policy

MOST_ROWS = 5_000
"""Rows of one answer."""

_FEW = 3
"""So many messages of other senders may be a mistake of a device."""

_RELAY = frozenset(("5.7.64", "5.7.68", "5.4.1"))
_LINE_ENDS, _BLOCKED = "5.6.11", "5.7.711"

Rows = Sequence[Mapping[str, Any]]


class DeviceBooks(Protocol):
    """Where devices are kept, as the desk sees it; rows are JSON-ready. Everything raises Unavailable."""

    async def devices(self, organisation: str, limit: int) -> Rows:
        """Devices without their senders, the latest first."""

    async def device(self, host: str, organisation: str) -> Rows:
        """One host with its senders, for each organisation that it sends for."""


class DeviceDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about devices. `discretion` hides what an organisation wants hidden by now."""

    books: DeviceBooks
    policy: Callable[[], Policy]
    discretion: Discretion

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            DeviceList: Handler(Right.RECIPIENTS_VIEW, self.list),
            DeviceShow: Handler(Right.RECIPIENTS_VIEW, self.show),
        }

    async def list(self, request: DeviceList, caller: Caller) -> Answer:
        """Every device, the latest first."""
        if not 1 <= request.limit <= MOST_ROWS:
            raise Misuse(f"between 1 and {MOST_ROWS} rows can be asked for")
        policy = self.policy()
        named = the_organisation(request.organisation, tuple(policy.organisations)) if request.organisation else ""
        rows = [self._told(policy, row) for row in await self.books.devices(named, MOST_ROWS)]
        shown = [row for row in rows if request.servers or row["kind"] == "device"]
        return Answer(result=shown[: request.limit])

    async def show(self, request: DeviceShow, caller: Caller) -> Answer:
        """One device with its senders; a row for each organisation."""
        policy = self.policy()
        named = the_organisation(request.organisation, tuple(policy.organisations)) if request.organisation else ""
        host = _host(request.address)
        found = await self.books.device(host, named)
        if not found:
            raise Nothing(f"no device with the address {host} has been seen")
        return Answer(result=[self._told(policy, row) for row in found])

    def _told(self, policy: Policy, row: Mapping[str, Any]) -> dict[str, Any]:
        told = {**row, "kind": kind_of(row), "state": state_of(policy, row), "advice": advice(policy, row)}
        told["tls"] = row["tls"] or "plain text"
        redactor = self.discretion(str(row["organisation"]))
        if redactor is not None:
            told["refusal"] = redactor.text(row["refusal"])
            if "senders" in row:
                told["senders"] = [{**one, "address": redactor.address(one["address"])} for one in row["senders"]]
        if "senders" in told:
            told["senders"] = [{**one, "address": one["address"] or "<>"} for one in told["senders"]]
        return told


def kind_of(row: Mapping[str, Any]) -> str:
    """Whether it is a device, or a mail server that sends for others as well."""
    return "mail server" if row["others"] > max(_FEW, row["messages"] // 10) else "device"


def state_of(policy: Policy, row: Mapping[str, Any]) -> str:
    """How it fares now: taken, refused, or partly refused (to some recipients, for want of a connector)."""
    if not row["refused"]:
        return "taken"
    if not row["messages"] or row["last_refused"] > row["last_taken"]:
        return "refused"
    return "partly refused" if _code(row) in _RELAY and not _named_by(policy, row) else "taken"


def advice(policy: Policy, row: Mapping[str, Any]) -> str:
    """What an administrator may do about the last refusal; "" where there is nothing to do."""
    organisation, host, code = row["organisation"], row["host"], _code(row)
    mine = policy.organisations.get(organisation)
    more = f" --organisation {shlex.quote(organisation)}" if len(policy.organisations) > 1 else ""
    if mine is None or state_of(policy, row) == "taken":
        return ""
    if code == _BLOCKED:
        return f"its connector is blocked: lockgate connector blocked show {shlex.quote(row['connector'])}{more}"
    if code == _LINE_ENDS and row["connector"]:
        name = shlex.quote(row["connector"])
        return f"let its line ends be mended: lockgate connector set {name} --inbound bare_newlines=normalise{more}"
    if code not in _RELAY and code != _LINE_ENDS:
        return f"look why: lockgate explain {row['refusal_id']}"
    if code in _RELAY and (there := _named_by(policy, row)):
        return f"connector {there} names it: look why that does not help: lockgate explain {row['refusal_id']}"
    known = [one.name for one in mine.inbound.values() if one.on_premises and one.enabled and one.sender_ip_addresses]
    if known:
        name = shlex.quote(known[0])
        return (
            f"if it is yours, add it to connector {known[0]}:"
            f" lockgate connector set {name} --inbound sender_ip_addresses+={host}{more}"
        )
    return (
        "if it is yours, make a connector for it: lockgate connector add Devices --inbound"
        f" connector_type=on_premises sender_ip_addresses={host}{more}"
    )


def _code(row: Mapping[str, Any]) -> str:
    """The enhanced code of the last refusal."""
    return str(row["refusal"] + "  ").split(" ", 2)[1]


def _named_by(policy: Policy, row: Mapping[str, Any]) -> str:
    """The own-server connector that names the host's address by now, or ""."""
    first = ipaddress.ip_network(row["host"], strict=False)[0].packed
    found = policy.own_by_address.find(first) or ()
    return next((one.name for one in found if one.organisation == row["organisation"]), "")


def _host(text: str) -> str:
    try:
        if "/" in text:
            network = ipaddress.ip_network(text, strict=False)
            return str(network) if network.version == 6 else str(network[0])
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Misuse(f"'{text[:60]}' is no IP address") from None
    return host_of(str(address), address.packed)
