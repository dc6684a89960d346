"""The MTA-STS policies of other domains: discovered, kept to the end of their lives, refreshed in time (RFC 8461)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import msgspec

from lockgate.mail.sts import KeptSts, StsLook, StsPolicy
from lockgate.mail.sts_text import NotAnnounced, PolicyBroken, announced, read_policy
from lockgate.probes.trust.sts_fetch import FetchFailed
from lockgate.probes.trust.sts_memory import Entry, StsMemory
from lockgate.seams import Clock, DnsState, Journal, Resolver, StsShelf

__all__ = ["StsKeeper", "StsTimes"]

T = TypeVar("T")
Fetch = Callable[[str], Awaitable[bytes]]
"""The text of the policy of a domain. Raises FetchFailed."""

_LEAST, _MOST = 60.0, 3600.0
"""Seconds that what DNS said of a domain holds, whatever its TTL."""

_SLACK = 15.0
_FETCHES = 50
_AT_ONCE = 4
_TRIED = 3600.0
_A_TURN = 200
_USED_WITHIN = 60 * 86400.0
_DAY = 86400.0
_WAIT = 0.1


class StsTimes(msgspec.Struct, frozen=True):
    """In seconds. `first` is how long mail waits for the policy of a domain that nothing is known of; `fetch` how long
    one fetch takes at most; `calm` for how long nobody tries again after a failure (RFC 8461 3.3: five minutes); `age`
    how old a policy becomes before it is fetched anew although its id is the same.
    """

    first: float = 10.0
    fetch: float = 60.0
    calm: float = 300.0
    age: float = _DAY


class _Said(NamedTuple):
    """What DNS says of a domain: `id` of its policy, or why not. `silent`: it does not try to. `hold`: seconds."""

    id: str
    why: str
    silent: bool
    hold: float
    records: tuple[str, ...]


class _Outcome(NamedTuple):
    """What a look found: the policy that holds, for how many seconds nobody needs to look again, and the `word` for
    why there is none although one is announced.
    """

    policy: StsPolicy | None
    hold: float
    word: str = ""


class StsKeeper:
    """Implements seams.StsPolicies. `resolver` should remember nothing: how long TXT holds is kept here.

    One look at a domain goes on at a time in this process, and one fetch on the whole machine (StsShelf.claim).
    """

    def __init__(
        self, resolver: Resolver, fetch: Fetch, shelf: StsShelf, clock: Clock, journal: Journal,
        times: StsTimes = StsTimes(),  # noqa: B008  (it is frozen)
    ) -> None:  # fmt: skip
        self._resolver = resolver
        self._fetch = fetch
        self._shelf = shelf
        self._clock = clock
        self._journal = journal
        self._times = times
        self._memory = StsMemory()
        self._complained = False
        self._slots = asyncio.Semaphore(_FETCHES)
        self._looking: dict[str, tuple[float, asyncio.Task[StsPolicy | None]]] = {}

    async def policy_for(self, domain: str) -> StsPolicy | None:
        """See StsPolicies."""
        entry, now = self._memory.find(domain), self._clock.now()
        if entry is not None:
            policy = entry.policy
            if policy is None:
                if now < entry.look:
                    return None
            elif now < policy.until:
                if now >= entry.look:
                    self._look(domain)  # mail does not wait for it: what is known holds
                return policy
        begun, task = self._look(domain)
        # Who comes later waits for what is left of the time, so that a silent domain holds nobody up twice.
        await asyncio.wait((task,), timeout=max(0.0, begun + self._times.first - self._clock.monotonic()))
        return task.result() if task.done() and not task.cancelled() else None

    def recheck(self, domain: str) -> None:
        """See StsPolicies. At most once a minute for a domain."""
        entry = self._memory.find(domain)
        if entry is None or self._clock.now() >= entry.seen + _LEAST:
            self._look(domain)

    def missing(self, domain: str) -> str:
        """See StsPolicies."""
        entry = self._memory.find(domain)
        return entry.word if entry is not None else ""

    async def look(self, domain: str, *, fetch: bool) -> StsLook:
        """What is known, for a person to read. With `fetch` the policy is fetched now, else only if none is in force.

        Raises OSError if the shelf cannot be used.
        """
        said = await self._ask(domain)
        kept = await asyncio.to_thread(self._shelf.get, domain)
        look = StsLook(domain, said.records, said.id, said.why, kept)
        now = self._clock.now()
        if not said.id or not (fetch or kept is None or kept.alive(now) is None):
            return look
        try:
            policy = await self._fetched(domain, said.id)
        except FetchFailed as trouble:
            return msgspec.structs.replace(look, trouble=str(trouble))
        self._tell(policy, kept)
        await asyncio.to_thread(self._shelf.put, policy, now, 0.0)
        self._memory.put(domain, Entry(policy, now + said.hold, now))
        kept = await asyncio.to_thread(self._shelf.get, domain)
        return msgspec.structs.replace(look, kept=kept, fetched_now=True)

    async def refresh(self) -> int:
        """Fetch anew what is older than a day and in use, so that a policy never dies of old age; how many were due.

        Called by one process every few minutes (RFC 8461 3.3, 10.2). What cannot be had is tried again after an hour,
        and takes no turn from the others. Raises OSError.
        """
        now = self._clock.now()
        age, pause = self._times.age, min(_TRIED, self._times.age / 4)
        due = await asyncio.to_thread(self._shelf.due, now, age, now - _USED_WITHIN, pause, _A_TURN)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(domain: str) -> None:
            async with slots:
                await asyncio.wait((self._look(domain, used=False)[1],))

        await asyncio.gather(*[one(domain) for domain in due])
        return len(due)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [task for _, task in self._looking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- finding out -----------------------------------------------------------------------------------------------

    def _look(self, domain: str, *, used: bool = True) -> tuple[float, asyncio.Task[StsPolicy | None]]:
        """The look at this domain that is under way, or a new one, and when it began. `used`: there is mail for it."""
        found = self._looking.get(domain)
        if found is None:
            found = (self._clock.monotonic(), asyncio.ensure_future(self._find(domain, used=used)))
            self._looking[domain] = found
            found[1].add_done_callback(lambda _: self._looking.pop(domain, None))
        return found

    async def _find(self, domain: str, *, used: bool) -> StsPolicy | None:
        """The policy that holds now. Never raises; whatever goes wrong, what was known before holds."""
        before = self._memory.find(domain)
        outcome = _Outcome(before.policy if before is not None else None, _LEAST)
        try:
            outcome = await self._found(domain, before)
        except Exception as trouble:  # a mistake of ours: mail goes on
            self._journal.alarm("MTA-STS policy not looked up", domain=domain, because=trouble)
        now, known = self._clock.now(), outcome.policy
        if known is not None and now >= known.until:
            known = None
        used_before = before.used if before is not None else 0.0
        entry = Entry(known, now + outcome.hold, now, used_before, outcome.word if known is None else "")
        self._memory.put(domain, entry)
        if known is not None and used and now >= entry.used + _DAY:
            entry.used = now
            await self._kept(lambda: self._shelf.use(domain, now), None)
        return known

    async def _found(self, domain: str, before: Entry | None) -> _Outcome:
        """The policy that holds now, from whoever has it."""
        said, now = await self._ask(domain), self._clock.now()
        kept = await self._kept(lambda: self._shelf.get(domain), None)
        policy = kept.alive(now) if kept is not None else None
        if policy is None and before is not None and before.policy is not None and now < before.policy.until:
            policy = before.policy  # the shelf is out of order
        if not said.id:
            if not said.silent and (before is None or before.policy is not None):
                self._journal.note("MTA-STS record broken", domain=domain, because=said.why)
            return _Outcome(policy, said.hold)  # a record that has gone takes no policy with it (RFC 8461 3.3)
        if kept is not None and policy is not None and policy.id == said.id and not self._is_old(kept, now):
            return _Outcome(policy, said.hold)
        while True:
            async with self._slots:  # a thousand slow web servers are never all connected to at once
                if await self._claimed(domain):
                    return await self._renewed(domain, said, policy, kept)
            outcome = await self._awaited(domain, said, policy)
            if outcome is not None:
                return outcome

    async def _renewed(
        self, domain: str, said: _Said, policy: StsPolicy | None, kept: KeptSts | None
    ) -> _Outcome:
        """The policy as it is now; what held before where it cannot be had."""
        now = self._clock.now()
        try:
            fresh = await self._fetched(domain, said.id)
        except FetchFailed as trouble:
            await self._failed(domain, trouble, kept)
            return _Outcome(policy, min(said.hold, self._times.calm), trouble.word)
        except BaseException:
            await self._kept(lambda: self._shelf.fail(domain, now, "the fetch was broken off", "", now), None)
            raise
        self._tell(fresh, kept)
        await self._kept(lambda: self._shelf.put(fresh, self._clock.now(), 0.0), None)
        return _Outcome(fresh, said.hold)

    async def _claimed(self, domain: str) -> bool:
        """Whether it is ours to fetch."""
        now = self._clock.now()
        until = now + self._times.fetch + _SLACK
        return await self._kept(lambda: self._shelf.claim(domain, now, until), otherwise=True)

    async def _kept(self, use: Callable[[], T], otherwise: T) -> T:
        """What the shelf says; without it (a full disk) policies are fetched, and hold in this process."""
        try:
            found = await asyncio.to_thread(use)
        except OSError as trouble:
            if not self._complained:
                self._complained = True
                self._journal.alarm("MTA-STS policies cannot be kept", because=trouble)
            return otherwise
        self._complained = False
        return found

    def _is_old(self, kept: KeptSts, now: float) -> bool:
        """Whether to fetch although the id is the same: daily, and a short-lived one after half of its life."""
        life = kept.policy.until - kept.fetched if kept.policy is not None else 0.0
        return now >= kept.fetched + min(self._times.age, life / 2)

    async def _ask(self, domain: str) -> _Said:
        """What DNS says (RFC 8461 3.1). Aliases are followed by the resolver."""
        answer = await self._resolver.look_up(f"_mta-sts.{domain}", "TXT")
        if answer.state in (DnsState.TEMPORARY, DnsState.BOGUS):
            return _Said("", f"DNS gave no answer: {answer.why}", silent=True, hold=_LEAST, records=())
        hold = min(_MOST, max(_LEAST, answer.until - self._clock.monotonic()))
        records = tuple([str(record) for record in answer.records])
        try:
            return _Said(announced(records), "", silent=False, hold=hold, records=records)
        except NotAnnounced as trouble:
            return _Said("", str(trouble), silent=trouble.silent, hold=hold, records=records)

    async def _fetched(self, domain: str, name: str) -> StsPolicy:
        """The policy as it is served now. Raises FetchFailed."""
        octets = await self._fetch(domain)
        try:
            demands = read_policy(octets)
        except PolicyBroken as trouble:
            raise FetchFailed(f"what mta-sts.{domain} delivers is no policy: {trouble}", "sts-policy-invalid") from None
        until = self._clock.now() + demands.max_age
        return StsPolicy(domain, demands.mode, demands.mx, name, until, demands.lines)

    async def _awaited(
        self, domain: str, said: _Said, policy: StsPolicy | None
    ) -> _Outcome | None:
        """Somebody else fetches it, or has failed a moment ago: what comes of it; None if it was given up."""
        while True:
            kept, now = await self._kept(lambda: self._shelf.get(domain), None), self._clock.now()
            if kept is None:
                return _Outcome(policy, _LEAST)
            alive = kept.alive(now)
            if kept.failed:
                hold = said.hold if alive is not None else min(said.hold, max(kept.busy - now, 1.0))
                return _Outcome(alive, hold, kept.word)
            if now >= kept.busy:
                return _Outcome(alive, said.hold) if alive is not None else None
            if policy is not None:  # it holds, so nobody has to wait
                return _Outcome(policy, _LEAST)
            await asyncio.sleep(_WAIT)

    async def _failed(self, domain: str, trouble: FetchFailed, kept: KeptSts | None) -> None:
        now, why = self._clock.now(), str(trouble)
        if kept is None or kept.why != why:  # the same again is told once
            alive = kept.alive(now) if kept is not None else None
            still = {"still_in_force": alive.mode.value} if alive is not None else {}
            self._journal.note("MTA-STS policy not fetched", domain=domain, because=why, **still)
        await self._kept(lambda: self._shelf.fail(domain, now, why, trouble.word, now + self._times.calm), None)

    def _tell(self, fresh: StsPolicy, kept: KeptSts | None) -> None:
        old = kept.policy if kept is not None else None
        if old is not None and (old.mode, old.mx) == (fresh.mode, fresh.mx):
            return
        happening = "MTA-STS policy found" if old is None else "MTA-STS policy changed"
        was = {"was": old.mode.value, "was_mx": _few(old.mx)} if old is not None else {}
        days = (fresh.until - self._clock.now()) / _DAY
        self._journal.note(
            happening, domain=fresh.domain, mode=fresh.mode.value, mx=_few(fresh.mx), days=f"{days:.1f}", **was
        )


def _few(hosts: tuple[str, ...]) -> str:
    return " ".join(hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")
