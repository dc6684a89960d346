"""How one listener behaves. Times in seconds, sizes in octets."""

from __future__ import annotations

import msgspec

from lockgate.edge.company import BATCH


class DoorSettings(msgspec.Struct, frozen=True):
    """The settings of one Door.

    `command_timeout` runs from our last reply to the end of the next command, whatever arrives in between (RFC 5321
    4.5.3.2.7). A message must be complete within `data_timeout`, however many chunks it comes in, and in every
    `rate_window` in which its octets are awaited at least `min_rate` octets a second must arrive. `max_recipients`
    bounds the RCPT commands of one transaction that are taken, well above what policy allows. `greet_pause` holds the
    greeting back to catch peers that talk first. `linger` is how long a peer may still send after we have refused it,
    so that it can read why. `proxies` are the networks (CIDR) whose connections must begin with a PROXY header; nobody
    else's may. `bare_newlines` is "refuse" or "normalise". `text_line_limit` 0 takes text lines of any length (RFC 5321
    allows 1,000, honest mail has more). `max_connections` bounds this Door alone; limits per peer are policy and use
    the shared counts. `tick` is the resolution of all deadlines. After `silence` the lone dot of an old device ends its
    message. While many messages come, one that is complete waits `gather_delay` for others, or until `gather_most` are
    (edge/company.py).
    """

    hostname: str
    size_limit: int = 150 * 1024 * 1024
    implicit_tls: bool = False
    proxies: tuple[str, ...] = ()
    bare_newlines: str = "refuse"
    text_line_limit: int = 0
    max_errors: int = 20
    max_refusals: int = 200
    max_idle_commands: int = 100
    max_recipients: int = 10_000
    max_connections: int = 20_000
    greet_pause: float = 0.0
    proxy_timeout: float = 10.0
    handshake_timeout: float = 60.0
    command_timeout: float = 300.0
    data_timeout: float = 3600.0
    rate_window: float = 60.0
    min_rate: float = 100.0
    linger: float = 5.0
    silence: float = 5.0
    tick: float = 0.5
    refresh: float = 5.0
    backlog: int = 4096
    gather_delay: float = 0.016
    gather_most: int = BATCH

    @property
    def horizon(self) -> float:
        """How far ahead a deadline may lie unlooked at: no longer than the shortest time-out."""
        waits = (self.proxy_timeout, self.handshake_timeout, self.command_timeout, self.rate_window, self.silence)
        return min(*waits, self.linger, self.greet_pause or self.linger)
