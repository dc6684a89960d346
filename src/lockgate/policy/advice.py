"""Do I need a connector? The table of specification 3.0, as a function of three answers."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Mailboxes(enum.StrEnum):
    """Where the organisation's mailboxes are."""

    HOSTED = "hosted"
    OWN_SERVERS = "own_servers"
    BOTH = "both"


class Advised(NamedTuple):
    """One connector that is advised: its table and type, whether mail does not flow without it, and why."""

    table: str
    connector_type: str
    needed: bool
    why: str


def advised(mailboxes: Mailboxes, *, devices: bool = False, partners: bool = False) -> tuple[Advised, ...]:
    """The connectors for this place; () means none are needed and none would do anything."""
    found: list[Advised] = []
    if mailboxes is not Mailboxes.HOSTED:
        whose = "all mailboxes are" if mailboxes is Mailboxes.OWN_SERVERS else "some mailboxes are"
        found += [
            Advised("inbound_connector", "on_premises", needed=True,
                    why=f"{whose} on servers of your own, which send their mail out through here"),
            Advised("outbound_connector", "on_premises", needed=True,
                    why=f"{whose} on servers of your own, to which mail from outside has to find its way"),
        ]  # fmt: skip
    if devices and mailboxes is Mailboxes.HOSTED:
        found.append(
            Advised("inbound_connector", "on_premises", needed=False,
                    why="printers and programs that cannot log in may then send to anybody")
        )  # fmt: skip
    if partners:
        found += [
            Advised("inbound_connector", "partner", needed=False,
                    why="refuses a partner's mail that comes without TLS, its certificate or from elsewhere"),
            Advised("outbound_connector", "partner", needed=False,
                    why="mail to the partner waits rather than leave without the TLS you agreed on"),
        ]  # fmt: skip
    return tuple(found)
