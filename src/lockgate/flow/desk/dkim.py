"""Signing keys at the desk: which there are, what to publish, whether DNS has it; new ones, and the end of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.dkim import DkimCheck, DkimDns, DkimKeys, DkimRevoke, DkimRotate
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.rotation import Look, Rotation, missing
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.published import strings, zone_line
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.policy.policy import Policy
from lockgate.policy.spelling import domain as spelled
from lockgate.seams import Unavailable

Row = dict[str, Any]


class DkimDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about signing keys.

    `policy` gives the policy in force (raising Unavailable); `wake` has the caretaker look at DNS now rather than at
    its next turn, so that a key that was just published signs at once.
    """

    rotation: Rotation
    policy: Callable[[], Awaitable[Policy]]
    wake: Callable[[], None]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            DkimKeys: Handler(Right.POLICY_VIEW, self.keys),
            DkimDns: Handler(Right.POLICY_VIEW, self.dns),
            DkimCheck: Handler(Right.POLICY_VIEW, self.check),
            DkimRotate: Handler(Right.DOMAINS_AND_CONNECTORS, self.rotate),
            DkimRevoke: Handler(Right.DOMAINS_AND_CONNECTORS, self.revoke),
        }

    async def keys(self, request: DkimKeys, caller: Caller) -> Answer:
        """Every key with its state, and what DNS said of it when it was last asked."""
        policy = await self.policy()
        found = self._held(request.domain, request.organisation)
        wanted = [key for key in found if request.revoked or key.published]
        return Answer(result=[row_of(key, policy) for key in wanted])

    async def dns(self, request: DkimDns, caller: Caller) -> Answer:
        """The records to publish, each also as the line of a zone file; and those that may go."""
        domain = _domain(request.domain)
        held = self._held(domain, request.organisation)
        records = [record_row(key) for key in held if key.published]
        if not records:
            config = await self._config(domain, request.organisation)
            raise Nothing(f"{config.domain_name} has no keys yet; make them: lockgate dkim rotate {config.domain_name}")
        return Answer(result=records)

    async def check(self, request: DkimCheck, caller: Caller) -> Answer:
        """What DNS says of each key now, beside what it should say."""
        policy = await self.policy()
        held = [key for key in self._held(request.domain, request.organisation) if key.published]
        if not held:
            raise Nothing(f"there are no keys{f' of {request.domain[:80]}' if request.domain else ''}")
        looks = {look.name: look for look in await self.rotation.look(held)}
        if any(key.state is KeyState.WAITING and looks[key.name].right for key in held):
            self.wake()
        return Answer(result=[{**row_of(key, policy), **_compared(key, looks[key.name])} for key in held])

    async def rotate(self, request: DkimRotate, caller: Caller) -> Answer:
        """Make the keys that the configuration wants, unless they are waiting already."""
        config = await self._config(_domain(request.domain), request.organisation)
        wanted = missing(config, self._all())
        if request.what_if:
            made = [{"algorithm": algorithm, "bits": bits} for algorithm, bits in wanted]
            return Answer(result={"domain": config.domain_name, "made": made, "records": [], "what_if": True})
        before = {key.name for key in self._all()}
        try:
            waiting = await self.rotation.rotate(config, caller.name)
        except OSError as trouble:
            raise Unavailable(f"no key was made: {trouble}") from None
        return Answer(
            result={
                "domain": config.domain_name,
                "made": [_short(key) for key in waiting if key.name not in before],
                "records": [record_row(key) for key in waiting],
                "what_if": False,
            }
        )

    async def revoke(self, request: DkimRevoke, caller: Caller) -> Answer:
        """End one key at once."""
        domain = _domain(request.domain)
        found = [key for key in self._held(domain, request.organisation) if key.selector == request.selector]
        if not found:
            known = ", ".join(key.selector for key in self._held(domain, request.organisation) if key.published)
            raise Nothing(f"{domain} has no key '{request.selector[:80]}'; there are {known or 'none'}")
        key = found[-1]
        if key.state is KeyState.REVOKED:
            raise Nothing(f"{key.name} is revoked already")
        told = {**_short(key), "was": key.state, "what_if": request.what_if}
        if not request.what_if:
            try:
                await self.rotation.revoke(key, caller.name)
            except OSError as trouble:
                raise Unavailable(f"the key was not revoked: {trouble}") from None
        return Answer(result=told)

    # --- what is meant

    def _all(self) -> tuple[HeldKey, ...]:
        try:
            return self.rotation.store.held()
        except OSError as trouble:
            raise Unavailable(f"the signing keys cannot be read: {trouble}") from None

    def _held(self, domain: str, organisation: str) -> list[HeldKey]:
        name = _domain(domain) if domain else ""
        found = [
            key for key in self._all() if name in ("", key.domain) and organisation in ("", key.organisation)
        ]
        return sorted(found, key=lambda key: (key.organisation, key.domain))

    async def _config(self, domain: str, organisation: str) -> DkimSigningConfig:
        policy = await self.policy()
        found = [
            mine.signing[domain]
            for name, mine in policy.organisations.items()
            if domain in mine.signing and organisation in ("", name)
        ]
        if not found:
            raise Nothing(f"{domain} has no enabled DKIM signing configuration; make one: lockgate dkim add {domain}")
        if len(found) > 1:
            raise Misuse(f"several organisations have {domain}; say which: --organisation")
        return found[0]


def _domain(text: str) -> str:
    try:
        return spelled(text)
    except ValueError as trouble:
        raise Misuse(str(trouble)) from None


def row_of(key: HeldKey, policy: Policy) -> Row:
    """One key as every face shows it."""
    mine = policy.organisations.get(key.organisation)
    config = mine.signing.get(key.domain) if mine is not None else None
    used = config is not None and key.algorithm in config.algorithms
    return {
        "organisation": key.organisation,
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "bits": key.bits,
        "state": key.state.value,
        "since": key.since,
        "keep_record_until": key.until,
        "looked": key.looked,
        "seen": key.seen,
        "dns": dns_words(key),
        "signs": used and key.state is KeyState.ACTIVE,
        "note": _note(key, used=used),
    }


def dns_words(key: HeldKey) -> str:
    """What DNS said when it was last asked, in a word or a sentence."""
    if not key.looked:
        return "not asked yet"
    return key.said or "right"


def _note(key: HeldKey, *, used: bool) -> str:
    match key.state:
        case KeyState.REVOKED:
            return "its record may be taken out of DNS"
        case KeyState.RETIRING:
            return "its record has to stay in DNS until mail it signed has arrived"
        case KeyState.WAITING if used:
            return "signs as soon as its record is seen in DNS"
        case _ if not used:
            return "no enabled signing configuration wants it"
        case _:
            return ""


def record_row(key: HeldKey) -> Row:
    """What has to be published for one key."""
    return {
        **_short(key),
        "state": key.state.value,
        "name": key.name,
        "type": "TXT",
        "value": key.record,
        "strings": list(strings(key.record)),
        "zone": zone_line(key.name, key.record),
    }


def _short(key: HeldKey) -> Row:
    return {"domain": key.domain, "selector": key.selector, "algorithm": key.algorithm, "bits": key.bits}


def _compared(key: HeldKey, look: Look) -> Row:
    then = "begins to sign now" if key.state is KeyState.WAITING and look.right else ""
    return {"right": look.right, "silent": look.silent, "dns": look.said or "right", "then": then}
