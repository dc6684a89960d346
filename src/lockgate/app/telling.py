"""Tells people of alerts, by mail through our own queue and by HTTP, in the background: looking never waits."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from lockgate.app.alerts import Alert, Notice, sentence
from lockgate.app.backup import moment_text
from lockgate.app.config import OperatorFile
from lockgate.app.config_operation import Webhook
from lockgate.app.own_post import own_post
from lockgate.app.policies import Policies
from lockgate.couriers.post import NotPosted, post
from lockgate.couriers.reach import Reach
from lockgate.flow.notice import Letter, Notices
from lockgate.flow.own_mail import NotSent
from lockgate.mail.address import parse_address
from lockgate.seams import Clock, Journal, Unavailable

TRIES = (0.0, 2.0, 10.0, 60.0, 300.0)
"""Seconds before each attempt to tell one thing to one place."""

MOST_UNDER_WAY = 50
"""Tellings under way at the same time; what is beyond is dropped, and the next repetition tells it."""

MOST_LETTERS = 20
"""Letters an hour; a storm of alerts must not become a storm of mail."""

_WORDS = {"raised": "ALERT", "repeated": "STILL", "over": "OVER"}


class Tellers:
    """The ways to tell; wired once, in the desk's process. `secret` reads a reference, `pause` waits."""

    def __init__(
        self, config: OperatorFile, policies: Policies, clock: Clock, journal: Journal,
        listening: Sequence[str], secret: Callable[[str], str],
        pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._config = config
        self._policies = policies
        self._clock = clock
        self._journal = journal
        self._reach = Reach(config.outgoing.allow, listening)
        self._secret = secret
        self._pause = pause
        self._tasks: set[asyncio.Task[None]] = set()
        self._letters: list[float] = []

    def tell(self, notices: Sequence[Notice]) -> None:
        """Begin to tell; returns at once and never raises."""
        alerts = self._config.alerts
        for notice in notices:
            for address in alerts.mail_to:
                self._begin(notice, address, lambda n=notice, a=address: self._mail(n, a))  # type: ignore[misc]
            for hook in alerts.webhook:
                self._begin(notice, hook.url, lambda n=notice, h=hook: self._post(n, h))  # type: ignore[misc]

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, notice: Notice, where: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if len(self._tasks) >= MOST_UNDER_WAY:
            self._journal.note("alert not told", to=where, alert=notice.alert.id, because="too much to tell at once")
            return
        task = asyncio.ensure_future(self._persist(notice, where, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _persist(self, notice: Notice, where: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        why = ""
        for pause in TRIES:
            await self._pause(pause)
            try:
                await work()
            except NotSent as trouble:
                why = str(trouble)
                break  # another attempt would end the same way
            except (NotPosted, Unavailable, OSError) as trouble:
                why = str(trouble)
            except Exception as trouble:
                self._journal.alarm("unforeseen", at="telling an alert", trouble=trouble)
                return
            else:
                self._journal.note("alert told", to=where, alert=notice.alert.id, kind=notice.kind)
                return
        # In the log only: an alert about alerts could go round in circles.
        self._journal.note("alert not told", to=where, alert=notice.alert.id, kind=notice.kind, because=why)

    # --- by mail

    async def _mail(self, notice: Notice, address: str) -> None:
        now = self._clock.monotonic()
        self._letters = [at for at in self._letters if now - at < 3600.0]
        if len(self._letters) >= MOST_LETTERS:
            raise NotSent(f"{MOST_LETTERS} letters have gone out within the hour")
        self._letters.append(now)
        policy = self._policies.compile(self._policies.in_force())
        alert = notice.alert
        letter = Letter(
            parse_address(address),
            f"{_WORDS[notice.kind]} {self._config.hostname}: {alert.what} {alert.which}".rstrip(),
            self._lines(notice),
            frozenset({alert.which}),
        )
        async with own_post(self._config, self._clock, self._journal) as mail:
            await Notices(mail).send(policy, letter)

    def _lines(self, notice: Notice) -> tuple[str, ...]:
        alert = notice.alert
        lines = [
            sentence(alert), "", f"On {self._config.hostname}, since {moment_text(alert.since)}.",
        ]  # fmt: skip
        if notice.kind == "over":
            lines += [f"It is over since {moment_text(alert.over)}."]
        else:
            lines += ["", f"lockgate alert ack {alert.id}    says that you look after it, and stops the repetitions",
                      "lockgate status             says how the service is"]  # fmt: skip
        return tuple(lines)

    # --- by HTTP

    async def _post(self, notice: Notice, hook: Webhook) -> None:
        now = self._clock.now()
        body = payload(notice, self._config.hostname, now)
        headers = {"Content-Type": "application/json", "User-Agent": "Lockgate"}
        if hook.secret:
            try:
                key = self._secret(hook.secret)
            except (OSError, KeyError) as trouble:
                raise NotPosted(f"the secret {hook.secret} cannot be read: {trouble}") from None
            headers["X-Lockgate-Signature"] = signature(key, body, now)
        ca_file = str(self._config.ca_bundle or "")
        await asyncio.to_thread(post, hook.url, body, headers, reach=self._reach, timeout=hook.timeout, ca_file=ca_file)


def payload(notice: Notice, hostname: str, now: float) -> bytes:
    """What is posted: a JSON object; times are seconds since the epoch."""
    alert: Alert = notice.alert
    return msgspec.json.encode({
        "version": 1, "event": notice.kind, "hostname": hostname, "at": now, "id": alert.id, "what": alert.what,
        "which": alert.which, "since": alert.since, "over": alert.over, "details": alert.details,
        "text": sentence(alert),
    })  # fmt: skip


def signature(key: str, body: bytes, now: float) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA-256 over "SECONDS." and the body, so that an old post cannot be sent again later."""
    when = str(int(now))
    return f"t={when},v1={hmac.new(key.encode(), when.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
