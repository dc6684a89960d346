"""From a route to the next hop by the settings of now, or why the mail has to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from lockgate.mail.hop import DaneMode, HopKind, Login, NextHop, TlsDemand
from lockgate.mail.ruling import Route, TlsLevel, TlsWish, Via
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.objects.stores import MailboxStore, StoreKind
from lockgate.policy.policy import Policy

_LEVELS = tuple(TlsLevel)


class Pool(msgspec.Struct, frozen=True):
    """Source addresses and the name said in EHLO; the first pool of the operator's file is the one for all mail."""

    name: str
    source_v4: str
    source_v6: str
    helo: str


class Keeps(msgspec.Struct, frozen=True):
    """Where the operator keeps mailboxes: Maildirs (`directory`), or a store reached by LMTP at `servers`.

    With both, `directory` is only for organisations that ask for it. `sockets` are the Unix sockets that an
    organisation's store may name; `tls` is the demand for `servers`.
    """

    directory: bool = False
    servers: tuple[str, ...] = ()
    sockets: frozenset[str] = frozenset()
    tls: TlsDemand = TlsDemand()
    concurrency: int = 20


NOWHERE = Keeps()
"""The operator keeps no mailboxes."""


def plan(
    policy: Policy,
    route: Route,
    pools: Mapping[str, Pool],
    read_secret: Callable[[str], str],
    keeps: Keeps = NOWHERE,
) -> NextHop | str:
    """The next hop, or a sentence why nothing may be dialled now. `read_secret` raises OSError or KeyError."""
    pool = next(iter(pools.values()))
    if route.via is Via.MAILBOX:
        return _store(policy, route, pool, keeps)
    if route.via is Via.MX:
        return _by_mx(policy, route, pool)
    mine = policy.organisations.get(route.organisation)
    connector = mine.outbound.named.get(route.connector) if mine is not None else None
    if connector is None:
        return route.waits or f"The outbound connector {route.connector} does not exist any more."
    if not connector.enabled:
        return f"The outbound connector {route.connector} is switched off."
    if connector.use_mx_record and not route.domain:
        return f"The outbound connector {route.connector} uses MX now, and this mail was routed to its smart hosts."
    try:
        login = _login(connector, read_secret)
    except (OSError, KeyError, ValueError) as trouble:
        return f"The login secret of the outbound connector {route.connector} cannot be read: {trouble}"
    own = _own_certificate(policy, route)
    return _hop(connector, route, pool, login, own)


def _by_mx(policy: Policy, route: Route, pool: Pool) -> NextHop:
    """Nobody's connector: what DNS and the domain say of TLS is heard, unless the message says otherwise."""
    certificate, key = _own_certificate(policy, route)
    heard = route.wish is not TlsWish.NOT_REQUIRED
    return NextHop(
        route.lane, TlsDemand(route.tls, certificate=certificate, key=key), pool.helo, mx_domain=route.domain,
        source_v4=pool.source_v4, source_v6=pool.source_v6, organisation=route.organisation, pool=pool.name,
        dane=DaneMode.OPPORTUNISTIC if heard else DaneMode.NONE, sts=heard,
        require_tls=route.wish is TlsWish.REQUIRED,
    )  # fmt: skip


def _own_certificate(policy: Policy, route: Route) -> tuple[str, str]:
    """The organisation's client certificate and its key, ("", "") if it has none."""
    mine = policy.organisations.get(route.organisation)
    organisation = mine.organisation if mine is not None else None
    if organisation is None or not organisation.certificate_file:
        return "", ""
    return organisation.certificate_file, organisation.key_file or ""


def _store(policy: Policy, route: Route, pool: Pool, keeps: Keeps) -> NextHop | str:
    """Into mailboxes: the organisation's store of now, or where the operator keeps them.

    Waiting mail follows its mailbox, so the store that was in use when it was judged does not matter any more.
    """
    mine = policy.organisations.get(route.organisation)
    store = mine.store if mine is not None else None
    if store is None:
        if keeps.servers:
            return _lmtp(route, pool, "mailboxes", keeps.servers, keeps.tls, keeps.concurrency, trusted=True)
        if keeps.directory:
            return _maildir(route, pool, "mailboxes", keeps.concurrency)
        return "Nobody says any more where mailboxes lie: no mailbox store, and no [mailboxes] in the operator's file."
    if not store.enabled:
        return f"The mailbox store {store.name} is switched off."
    if store.kind is StoreKind.MAILDIR:
        if keeps.directory:
            return _maildir(route, pool, store.name, store.concurrency)
        return f"The mailbox store {store.name} is a Maildir, and the operator's file has no [mailboxes] directory."
    if closed := [one for one in store.servers if one.startswith("unix:") and one not in keeps.sockets]:
        return f"The mailbox store {store.name} names {closed[0]}, which [mailboxes] sockets does not list."
    return _lmtp(route, pool, store.name, store.servers, _demand(store), store.concurrency, trusted=False)


def _maildir(route: Route, pool: Pool, name: str, concurrency: int) -> NextHop:
    return NextHop(
        route.lane, TlsDemand(), pool.helo, concurrency=concurrency, kind=HopKind.MAILDIR,
        store=name, organisation=route.organisation,
    )  # fmt: skip


def _lmtp(
    route: Route, pool: Pool, name: str, servers: tuple[str, ...], tls: TlsDemand, concurrency: int, *, trusted: bool
) -> NextHop:
    return NextHop(
        route.lane, tls, pool.helo, smart_hosts=servers, source_v4=pool.source_v4, source_v6=pool.source_v6,
        concurrency=concurrency, kind=HopKind.LMTP, store=name, organisation=route.organisation, trusted=trusted,
    )  # fmt: skip


def _demand(store: MailboxStore) -> TlsDemand:
    return TlsDemand(store.tls_settings, store.tls_domain or "", store.ca_file or "", store.pinned_keys)


def _hop(
    connector: OutboundConnector, route: Route, pool: Pool, login: Login | None, own: tuple[str, str]
) -> NextHop:
    by_mx, heard = connector.use_mx_record, route.wish is not TlsWish.NOT_REQUIRED
    dane = DaneMode(connector.smtp_dane_mode)
    if dane is DaneMode.OPPORTUNISTIC and not (by_mx and heard):
        dane = DaneMode.NONE
    certificate, key = (connector.certificate_file, connector.key_file or "") if connector.certificate_file else own
    return NextHop(
        lane=route.lane,
        tls=TlsDemand(
            # What was demanded when the message was judged still holds; a stricter connector is stricter at once.
            level=max(route.tls, connector.tls_settings, key=_LEVELS.index),
            name=connector.tls_domain or "",
            ca_file=connector.ca_file or "",
            pins=connector.pinned_keys,
            certificate=certificate,
            key=key,
        ),
        helo=connector.helo_name or pool.helo,
        smart_hosts=() if connector.use_mx_record else connector.smart_hosts,
        mx_domain=route.domain if connector.use_mx_record else "",
        source_v4=connector.source_address_v4 or pool.source_v4,
        source_v6=connector.source_address_v6 or pool.source_v6,
        family=connector.address_family,
        concurrency=connector.concurrency,
        rate=connector.rate_per_minute,
        login=login,
        size_limit=connector.size_limit,
        organisation=route.organisation,
        pool=_source(connector, pool),
        dane=dane,
        sts=by_mx and heard and connector.mta_sts_mode == "opportunistic",
        require_tls=route.wish is TlsWish.REQUIRED,
    )


def _source(connector: OutboundConnector, pool: Pool) -> str:
    """The pool's name, or the connector's own source addresses."""
    own = [address for address in (connector.source_address_v4, connector.source_address_v6) if address]
    return ", ".join(own) or pool.name


def _login(connector: OutboundConnector, read_secret: Callable[[str], str]) -> Login | None:
    if not connector.login_user or connector.login_secret is None:
        return None
    return Login(connector.login_user, read_secret(connector.login_secret))
