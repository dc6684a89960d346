"""The life of a signing key: made, seen in DNS and signing, put to rest while its mail is under way, revoked.

A key never signs before exactly its public half was seen in DNS; until then the one before it signs. What it signed is
verified later, elsewhere, so its record has to stay published for a while after it has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from lockgate.flow.signing_keys import ALGORITHMS
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.published import what_is_wrong
from lockgate.mail.dkim.sign import load_key, public_record
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.seams import Audit, Clock, DnsNone, DnsTemporary, KeyStore, Resolver

AT_ONCE = 10
"""So many names are asked for at the same time."""

REVOKED_KEPT = 20
"""Revoked keys of one domain that are remembered."""

Keys = tuple[HeldKey, ...]


class Fresh(NamedTuple):
    """A private key (PEM) just made, and the selector for it."""

    selector: str
    pem: bytes


class Look(NamedTuple):
    """What DNS said of one key: `said` is what is wrong ("" for nothing), `silent` that it gave no answer."""

    name: str
    said: str
    silent: bool = False

    @property
    def right(self) -> bool:
        """Whether exactly this key is published."""
        return not self.said


class Rotation(msgspec.Struct, frozen=True):
    """Changes the keys; wired once by the app.

    `make` makes a private key of an algorithm and size, beside the loop; `keep` is for how many seconds the record of a
    key that signs no more has to stay. Every change is audited. What cannot be read or written raises OSError.
    """

    store: KeyStore
    resolver: Resolver
    clock: Clock
    audit: Audit
    make: Callable[[str, int], Fresh]
    keep: float

    async def rotate(self, config: DkimSigningConfig, by: str) -> Keys:
        """Make the keys that `config` wants and that are not waiting already; all that wait now."""
        wanted = missing(config, self.store.held())
        fresh = {one: await asyncio.to_thread(self.make, *one) for one in wanted}
        now = self.clock.now()
        made = [_held(config, algorithm, bits, one, now) for (algorithm, bits), one in fresh.items()]
        secrets = {key.name: one.pem for key, one in zip(made, fresh.values(), strict=True)}

        def edit(keys: Keys) -> Keys:
            # Asked again: of two rotations at the same time, the first makes the keys.
            still = missing(config, keys)
            new = [key for key in made if (key.algorithm, key.bits) in still]
            stale = {key.name for key in keys if _waits(key, config) and any(_alike(key, one) for one in new)}
            return (*[_moved(key, KeyState.REVOKED, now) if key.name in stale else key for key in keys], *new)

        after = await self._change(edit, secrets, by)
        return tuple([key for key in after if _waits(key, config) and key.algorithm in config.algorithms])

    async def revoke(self, key: HeldKey, by: str) -> HeldKey:
        """Never use this key again, and delete its private half."""
        now = self.clock.now()
        after = await self._change(
            lambda keys: tuple([_moved(one, KeyState.REVOKED, now) if one.name == key.name else one for one in keys]),
            {}, by,
        )  # fmt: skip
        return next(one for one in after if one.name == key.name)

    async def look(self, keys: Iterable[HeldKey]) -> Sequence[Look]:
        """What DNS says of these keys now; changes nothing."""
        few = asyncio.Semaphore(AT_ONCE)

        async def one(key: HeldKey) -> Look:
            async with few:
                return await self._looked(key)

        return await asyncio.gather(*[one(key) for key in keys])

    async def _looked(self, key: HeldKey) -> Look:
        try:
            found = await self.resolver.txt(key.name)
        except DnsNone:
            found = ()
        except DnsTemporary as trouble:
            return Look(key.name, f"DNS gave no answer about {key.name}: {trouble}"[:300], silent=True)
        return Look(key.name, what_is_wrong(key.name, key.record, found))

    async def take(self, looks: Sequence[Look], by: str) -> Keys:
        """Act on what DNS says: waiting keys that are there begin to sign, those before them retire; old ones end."""
        now, said = self.clock.now(), {look.name: look for look in looks}
        return await self._change(lambda keys: forgotten(seen(keys, said, now, self.keep), now), {}, by)

    async def _change(self, edit: Callable[[Keys], Keys], secrets: Mapping[str, bytes], by: str) -> Keys:
        before: Keys = ()

        def noted(keys: Keys) -> Keys:
            nonlocal before
            before = keys
            return edit(keys)

        after = await asyncio.to_thread(self.store.change, noted, secrets)
        old = {key.name: key.state for key in before}
        for key in after:
            if old.get(key.name) is not key.state:
                self._tell(key, old.get(key.name), by)
        return after

    def _tell(self, key: HeldKey, before: KeyState | None, by: str) -> None:
        self.audit.wrote(
            by, f"dkim key {key.state}", before=before, after=key.state, object=key.name,
            organisation=key.organisation, domain=key.domain, algorithm=key.algorithm, bits=key.bits,
        )  # fmt: skip


# --- the rules, pure --------------------------------------------------------------------------------------------------


def missing(config: DkimSigningConfig, keys: Keys) -> tuple[tuple[str, int], ...]:
    """Algorithm and bits of the keys that a rotation has to make: those of which none is waiting."""
    waiting = {(key.algorithm, key.bits) for key in keys if _waits(key, config)}
    wanted = [(one, config.key_size if one == "rsa" else 256) for one in ALGORITHMS if one in config.algorithms]
    return tuple([one for one in wanted if one not in waiting])


def seen(keys: Keys, looks: Mapping[str, Look], now: float, keep: float) -> Keys:
    """The keys after a look at DNS. The newest waiting key that is published takes the place of those before it."""
    noted = [_noted(key, looks[key.name], now) if key.name in looks else key for key in keys]
    ready: dict[tuple[str, str, str], HeldKey] = {}
    for key in noted:
        if key.state is KeyState.WAITING and key.name in looks and looks[key.name].right:
            ready[_place(key)] = key
    return tuple([_succeeded(key, ready.get(_place(key)), now, keep) for key in noted])


def _succeeded(key: HeldKey, heir: HeldKey | None, now: float, keep: float) -> HeldKey:
    if heir is None:
        return key
    if key.name == heir.name:
        return _moved(key, KeyState.ACTIVE, now)
    if key.state is KeyState.ACTIVE:
        return msgspec.structs.replace(_moved(key, KeyState.RETIRING, now), until=now + keep)
    return _moved(key, KeyState.REVOKED, now) if key.state is KeyState.WAITING and key.made <= heir.made else key


def forgotten(keys: Keys, now: float) -> Keys:
    """Without what is over: retiring keys whose mail has arrived are revoked, and few revoked ones are remembered."""
    ended = [
        _moved(key, KeyState.REVOKED, now) if key.state is KeyState.RETIRING and key.until <= now else key
        for key in keys
    ]
    left: dict[tuple[str, str], int] = {}
    kept: list[HeldKey] = []
    for key in reversed(ended):
        if key.state is KeyState.REVOKED:
            count = left[key.organisation, key.domain] = left.get((key.organisation, key.domain), 0) + 1
            if count > REVOKED_KEPT:
                continue
        kept.append(key)
    return tuple(reversed(kept))


def _noted(key: HeldKey, look: Look, now: float) -> HeldKey:
    there = now if look.right else key.seen
    return msgspec.structs.replace(key, looked=now, seen=there, said=look.said, silent=look.silent)


def _moved(key: HeldKey, state: KeyState, now: float) -> HeldKey:
    return key if key.state is state else msgspec.structs.replace(key, state=state, since=now, until=0.0)


def _held(config: DkimSigningConfig, algorithm: str, bits: int, fresh: Fresh, now: float) -> HeldKey:
    record = public_record(load_key(config.domain_name, fresh.selector, fresh.pem))
    return HeldKey(
        config.organisation, config.domain_name, fresh.selector, algorithm, bits, record, KeyState.WAITING, now, now
    )


def _place(key: HeldKey) -> tuple[str, str, str]:
    return key.organisation, key.domain, key.algorithm


def _alike(key: HeldKey, other: HeldKey) -> bool:
    return _place(key) == _place(other)


def _waits(key: HeldKey, config: DkimSigningConfig) -> bool:
    of = (key.organisation, key.domain)
    return key.state is KeyState.WAITING and of == (config.organisation, config.domain_name)
