"""The mailbox stores: does each take mail by LMTP, with the TLS demanded, or are its Maildirs there?"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import shlex
from collections.abc import Iterator, Mapping

import msgspec

from lockgate.app.checkup.hops import PATIENCE, greeted
from lockgate.app.config import OperatorFile
from lockgate.app.ways import keeps_of, read_secret
from lockgate.couriers.dial import Dialler
from lockgate.couriers.settings import CourierSettings
from lockgate.flow.checkup import Found, Level, blocked, passed, warned
from lockgate.flow.hops import Pool, plan
from lockgate.mail.hop import HopKind, NextHop
from lockgate.mail.ruling import Route, TlsLevel, Via
from lockgate.policy.objects.stores import MailboxStore, StoreKind
from lockgate.policy.policy import Policy
from lockgate.policy.spelling import smart_host_parts
from lockgate.seams import Clock, Resolver, Unreachable

_SOCKET = "unix:"


class _Place(msgspec.Struct, frozen=True):
    """One store: what it is called in a finding, how it is reached, and the object (None: the operator's own)."""

    subject: str
    route: Route
    store: MailboxStore | None = None


async def mailbox_stores(
    config: OperatorFile, made: Policy, resolver: Resolver, settings: CourierSettings, pools: Mapping[str, Pool],
    clock: Clock,
) -> list[Found]:  # fmt: skip
    """Dial every store as a courier would, up to where mail would begin, and part in peace."""
    dialler = Dialler(resolver, settings, clock, random.SystemRandom())
    groups = await asyncio.gather(*[_place(config, made, dialler, pools, one) for one in _places(made)])
    return [found for group in groups for found in group]


def _places(made: Policy) -> Iterator[_Place]:
    """The organisations' own stores, and once that of the operator if anybody has none."""
    others = []
    for name, mine in made.organisations.items():
        if mine.store is not None:
            route = Route(Via.MAILBOX, name, store=mine.store.name)
            yield _Place(f"mailbox store {mine.store.name}", route, mine.store)
        else:
            others.append(name)
    if others and made.keeps_mailboxes:
        yield _Place("mailboxes", Route(Via.MAILBOX, others[0]))


async def _place(
    config: OperatorFile, made: Policy, dialler: Dialler, pools: Mapping[str, Pool], place: _Place
) -> list[Found]:
    hop = plan(made, place.route, pools, read_secret, keeps_of(config))
    if isinstance(hop, str):
        return [_not_planned(place, hop)]
    if hop.kind is HopKind.MAILDIR:
        return [passed(place.subject, f"Maildirs below {config.mailboxes.directory}")]
    found = await asyncio.gather(*[_server(config, dialler, hop, place, server) for server in hop.smart_hosts])
    down = [one for one in found if one.level is Level.BLOCK]
    if len(down) == len(found):
        return found
    # Mail flows by the others meanwhile.
    return [warned(one.subject, one.what, one.mend) if one in down else one for one in found]


def _not_planned(place: _Place, why: str) -> Found:
    store = place.store
    if store is not None and not store.enabled:
        return warned(place.subject, f"{why} Mail for its mailboxes waits.", "enabled = true    # in [[mailbox_store]]")
    if store is not None and store.kind is StoreKind.MAILDIR:
        return blocked(place.subject, why, '[mailboxes]\ndirectory = "/var/lib/lockgate-mail"    # an existing folder')
    sockets = [one for one in store.servers if one.startswith(_SOCKET)] if store is not None else []
    listed = ", ".join(f'"{one}"' for one in sockets)
    return blocked(place.subject, why, f"[mailboxes]\nsockets = [{listed}]    # in the operator's file, and restart")


async def _server(config: OperatorFile, dialler: Dialler, hop: NextHop, place: _Place, server: str) -> Found:
    subject = place.subject
    try:
        tls = await greeted(dialler, msgspec.structs.replace(hop, smart_hosts=(server,)))
    except Unreachable as trouble:
        return blocked(subject, f"{server}: {trouble.reply.text}", _mend(place, server, str(trouble.reply)))
    except TimeoutError:
        return blocked(subject, f"{server}: no answer within {PATIENCE:g} seconds", _try(server))
    if tls or _here(server):
        return passed(subject, f"{server} takes mail, {tls or 'within this machine'}")
    if hop.tls.level is TlsLevel.OPPORTUNISTIC:
        mend = "switch STARTTLS on there, then set tls_settings to what you demand"
        return warned(subject, f"{server} takes mail, but in plain text", mend)
    return passed(subject, f"{server} takes mail")


def _here(server: str) -> bool:
    """Whether what is said to it never leaves this machine."""
    if server.startswith(_SOCKET):
        return True
    try:
        return ipaddress.ip_address(smart_host_parts(server)[0]).is_loopback
    except ValueError:
        return False


def _mend(place: _Place, server: str, said: str) -> str:
    where = "[[mailbox_store]]" if place.store is not None else "[mailboxes]"
    if "loopback" in said or "link-local" in said or "server itself" in said:
        return '[outgoing]\nallow = ["127.0.0.0/8"]    # only if the store really is on this machine'
    if "certificate" in said:
        return f'ca_file = "/etc/ssl/store-ca.pem"    # in {where}: who signs its certificate; or the right tls_domain'
    if "TLS" in said:
        return f"switch STARTTLS on at {server}, or a lower tls_settings in {where}"
    if "refused the session" in said:
        return f"does {server} speak LMTP (RFC 2033)? It has a port of its own, often 24; 25 and 587 speak SMTP"
    return _try(server)


def _try(server: str) -> str:
    if server.startswith(_SOCKET):
        path = shlex.quote(server.removeprefix(_SOCKET))
        return f"ls -l {path}    # is the store running, and may $(id -un) write to its socket?"
    host, port = smart_host_parts(server)
    return f"nc -vz {host} {port}    # is it running, and does a firewall stand between?"
