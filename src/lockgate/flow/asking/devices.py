"""What can be asked about devices, and about blocks of own-server connectors."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class DeviceList(Ask, frozen=True, tag="device_list"):
    """Hosts that send as an own domain, the latest first; with `servers` also those that send for others as well."""

    organisation: str = ""
    servers: bool = False
    limit: int = 500


class DeviceShow(Ask, frozen=True, tag="device_show"):
    """One host, by its address (any address of an IPv6 /64)."""

    address: str
    organisation: str = ""


class ConnectorBlock(Ask, frozen=True, tag="connector_block"):
    """Stop relay over an own-server inbound connector until it is unblocked."""

    name: str
    organisation: str = ""
    reason: str = ""
    what_if: bool = False


class BlockedList(Ask, frozen=True, tag="blocked_list"):
    """Blocked connectors; with `lifted` also blocks that are over."""

    organisation: str = ""
    lifted: bool = False


class BlockedShow(Ask, frozen=True, tag="blocked_show"):
    """One block with its evidence, by the name of the connector or the id of the block."""

    name: str
    organisation: str = ""


class ConnectorUnblock(Ask, frozen=True, tag="connector_unblock"):
    """Lift a block; `usual`: the server always sends so, and what was seen is its history from now on."""

    name: str
    organisation: str = ""
    reason: str = ""
    usual: bool = False
    what_if: bool = False
