"""How mail comes in and goes out, as the operator's file says it, in the words of the rooms that do it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lockgate.app.config import OperatorFile
from lockgate.couriers.settings import CourierSettings, Patience
from lockgate.edge.settings import DoorSettings
from lockgate.flow.hops import Keeps, Pool
from lockgate.mail.hop import TlsDemand
from lockgate.policy.policy import Policy


def door_settings(config: OperatorFile, policy: Policy, implicit_tls: bool, proxies: Sequence[str]) -> DoorSettings:
    """How one listener behaves."""
    deadlines = config.deadlines
    return DoorSettings(
        hostname=config.hostname,
        size_limit=policy.limits.message_size,
        implicit_tls=implicit_tls,
        proxies=tuple(proxies),
        max_errors=policy.limits.errors_per_connection,
        # One too many is for the judge to refuse; this bounds what it has to look at, one address named ever again too.
        max_recipients=10 * policy.limits.recipients_per_message,
        proxy_timeout=deadlines.handshake,
        handshake_timeout=deadlines.handshake,
        command_timeout=deadlines.command,
        data_timeout=deadlines.whole_message,
        rate_window=min(60.0, deadlines.data),
        min_rate=float(deadlines.minimum_rate),
    )


def courier_settings(config: OperatorFile, listening: Sequence[str]) -> CourierSettings:
    """What all next hops have in common."""
    delivery = config.delivery
    reply = delivery.reply_timeout
    return CourierSettings(
        mx_port=delivery.mx_port,
        ca_bundle=str(config.ca_bundle or ""),
        crl_file=str(delivery.crl_file or ""),
        allowed=config.outgoing.allow,
        own_names=(config.hostname,),
        own_addresses=tuple(listening),
        patience=Patience(
            connect=delivery.connect_timeout,
            greeting=reply,
            hello=reply,
            handshake=min(60.0, reply),
            login=min(120.0, reply),
            mail=reply,
            rcpt=reply,
            data=min(120.0, reply),
            block=min(180.0, reply),
            final=delivery.data_timeout,
            idle=delivery.idle_connection,
        ),
    )


def keeps_of(config: OperatorFile) -> Keeps:
    """Where the operator keeps mailboxes."""
    boxes = config.mailboxes
    own = [one for one in boxes.servers if one.startswith("unix:")]
    return Keeps(
        directory=boxes.directory is not None,
        servers=boxes.servers,
        sockets=frozenset([*boxes.sockets, *own]),
        tls=TlsDemand(boxes.tls_settings, boxes.tls_domain, str(boxes.ca_file or "")),
        concurrency=boxes.concurrency,
    )


def pools_of(config: OperatorFile) -> Mapping[str, Pool]:
    """Source addresses and names for outgoing mail, the first one first."""
    return {
        one.name: Pool(one.name, one.source_address_v4, one.source_address_v6, one.helo_name or config.hostname)
        for one in config.pool
    }


def read_secret(reference: str) -> str:
    """The secret behind "file:PATH" or "env:NAME". Raises OSError or KeyError when it is not there."""
    scheme, _, where = reference.partition(":")
    if scheme == "env":
        return os.environ[where]
    return Path(where).read_text("utf-8").rstrip("\r\n")
