"""Certificates from an authority (RFC 8555), in the desk's process: ordered, renewed in time, put in place, or told of.

Nothing of it is on the way of mail: workers read files, and show what they have while an authority is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lockgate.app.config import OperatorFile
from lockgate.app.config_certificates import EXTRA
from lockgate.app.monitor import Monitor, Page
from lockgate.app.showing import wanted_of
from lockgate.couriers.reach import Reach
from lockgate.edge.shown import Stamp, stamp_of
from lockgate.flow.renewal import Attempt, Held, Wanted, after_failure, due, due_at, worrying
from lockgate.policy.policy import Policy
from lockgate.seams import Audit, Clock, Journal
from lockgate.storage.acme_files import Account, AcmeFiles
from lockgate.wire.certificates import leaf_facts
from lockgate.wire.tls import Identity, server_context

if TYPE_CHECKING:
    from lockgate.couriers.acme import Authority

PAUSE = 30.0
"""Seconds between two looks at what is due."""

PATH = "/.well-known/acme-challenge/"
"""Where the authority asks for a token (RFC 8555 8.3)."""

_RSA_BITS = 2048
_TOKEN = "application/octet-stream"
_ATTEMPTS = msgspec.json.Decoder(dict[str, Attempt])


def new_key(kind: str) -> bytes:
    """A private key as PEM. Takes a moment for RSA."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = rsa.generate_private_key(65537, _RSA_BITS) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class AcmeRoom:
    """What the desk's process has for ordered certificates; wired once.

    `policy` gives the policy in force (raising what it raises), `secret` reads a reference.
    """

    def __init__(
        self,
        config: OperatorFile,
        policy: Callable[[], Policy],
        clock: Clock,
        journal: Journal,
        audit: Audit,
        listening: Sequence[str],
        secret: Callable[[str], str],
    ) -> None:
        self._config = config
        self._policy = policy
        self._clock = clock
        self._journal = journal
        self._audit = audit
        self._secret = secret
        self._reach = Reach(config.outgoing.allow, listening)
        self.files = AcmeFiles(config.acme_directory)
        self._tokens: dict[str, bytes] = {}
        self._one_at_a_time = asyncio.Lock()
        self._attempts = self._noted()
        self._read: dict[str, tuple[Stamp, Held | None]] = {}

    def wanted(self, *, rehearsal: bool = False) -> tuple[Wanted, ...]:
        """The certificates there should be, or would be if there were an authority."""
        return wanted_of(self._config, self._policy(), rehearsal=rehearsal)

    def file(self, one: Wanted) -> Path:
        """Where it lies, or will lie."""
        return self.files.certificate_file(one.name)

    def held(self, one: Wanted) -> Held | None:
        """What is there; None also for what cannot be read, because then a new one is needed."""
        file = str(self.file(one))
        stamp = stamp_of(file)
        known = self._read.get(file)
        if known is None or known[0] != stamp:
            known = self._read[file] = (stamp, _held(Path(file)))
        return known[1]

    def attempt(self, one: Wanted) -> Attempt:
        """How the last orders of it ended."""
        return self._attempts.get(one.name, Attempt())

    def due_at(self, one: Wanted) -> float:
        """When it is ordered next (seconds since the epoch), rests included; 0: now."""
        return max(due_at(one, self.held(one)), self.attempt(one).rest_until)

    def wrong(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What a person should hear of: orders that fail."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        with contextlib.suppress(Exception):  # without a policy nothing is wanted; that is told elsewhere
            for one in self.wanted():
                attempt, held = self.attempt(one), self.held(one)
                if worrying(one, held, attempt):
                    what = "certificate cannot be renewed" if held else "certificate cannot be ordered"
                    days = {"days_left": round((held.not_after - self._clock.now()) / 86400, 1)} if held else {}
                    told = {"because": attempt.because, "failures": attempt.failures, **days}
                    do = f"lockgate certificate show {one.name}"
                    found[what, one.name] = {"certificate": one.name, **told, "do": do}
        return found

    async def run(self, pause: float = PAUSE) -> None:
        """Order what is due until cancelled. Does nothing without an authority."""
        while self._config.acme.directory is not None:
            try:
                await self.look()
            except Exception as trouble:
                self._journal.alarm("certificates not looked after", because=trouble)
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Order what is due now."""
        wanted = self.wanted()
        held = {one.name: there for one in wanted if (there := self.held(one)) is not None}
        for one in due(wanted, held, self._attempts, self._clock.now()):
            if not await self.place(one):
                self._audit.wrote(f"{os.getuid()} desk", "certificate order", after={"certificate": one.name})

    async def place(self, one: Wanted, staging: str = "") -> str:
        """Order it now and put it in place; why it is not there, or "". From `staging` nothing is put in place."""
        async with self._one_at_a_time:
            before = self.held(one)
            try:
                async with self._answering():
                    why = await asyncio.to_thread(self._ordered, one, staging)
            except OSError as trouble:
                why = str(trouble)
            if staging:
                return why
            await asyncio.to_thread(self._note, one, why)
            if why:
                self._journal.note("certificate not ordered", certificate=one.name, because=why)
            else:
                told = "ordered" if before is None else "renewed"
                self._journal.note(f"certificate {told}", certificate=one.name, names=", ".join(one.names))
            return why

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Listeners that serve the tokens of the order, and nothing else. Raises OSError."""

        def page(path: str) -> Page | None:
            content = self._tokens.get(path.removeprefix(PATH)) if path.startswith(PATH) else None
            if content is None:
                return None

            async def serve() -> tuple[int, str, bytes]:
                return 200, _TOKEN, content

            return serve

        opened: list[Monitor] = []
        try:
            for one in self._config.acme.listener:
                listener = Monitor({}, page)
                try:
                    await listener.open(one.address, one.port)
                except OSError as trouble:
                    why = trouble.strerror or trouble
                    raise OSError(f"[[acme.listener]] {one.address} port {one.port}: {why}") from None
                opened.append(listener)
            yield
        finally:
            for listener in opened:
                await listener.close()

    # --- in a thread

    def _ordered(self, one: Wanted, staging: str) -> str:
        try:
            from lockgate.couriers.acme import Known, NotOrdered, order
        except ImportError:
            return f"the client of ACME is not installed: {EXTRA}"
        authority = self._authority(staging)
        try:
            account = self.files.account(authority.directory)
            if account is None:  # kept before the authority hears of it, so that a kill leaves no account without key
                account = Account(authority.directory, new_key("ecdsa").decode())
                self.files.keep_account(account)
            kept = account
            key = self._key(one, staging)
            chain = order(
                authority, Known(account.key, account.uri), key, one.names, self._tokens, self._reach,
                now=self._clock.now(),
                introduced=lambda uri: self.files.keep_account(msgspec.structs.replace(kept, uri=uri)),
            )  # fmt: skip
            _look_over(one, key, chain)
            if not staging:
                self.files.keep_pair(one.name, key, chain)
        except NotOrdered as trouble:
            return str(trouble)
        except (OSError, KeyError, ValueError) as trouble:
            return f"{type(trouble).__name__}: {trouble}"
        return ""

    def _authority(self, staging: str) -> Authority:
        from lockgate.couriers.acme import Authority

        acme = self._config.acme
        bound = acme.external_account if not staging else None
        external = (bound.key_id, self._secret(bound.secret)) if bound is not None else None
        return Authority(
            staging or str(acme.directory), acme.contact, str(acme.ca_file or self._config.ca_bundle or ""), external,
            acme.timeout,
        )  # fmt: skip

    def _key(self, one: Wanted, staging: str) -> bytes:
        there = self.files.pair(one.name) if self._config.acme.reuse_key and not staging else b""
        return there[: there.index(b"-----BEGIN CERTIFICATE")] if there else new_key(one.kind)

    # --- attempts

    def _noted(self) -> dict[str, Attempt]:
        try:
            return _ATTEMPTS.decode(self.files.notes() or b"{}")
        except (OSError, msgspec.MsgspecError) as trouble:
            self._journal.alarm("attempts to order certificates are forgotten", because=str(trouble))
            return {}

    def _note(self, one: Wanted, why: str) -> None:
        if why:
            self._attempts[one.name] = after_failure(self.attempt(one), why, self._clock.now(), one.name)
        elif self._attempts.pop(one.name, None) is None:
            return
        try:
            self.files.keep_notes(msgspec.json.encode(self._attempts))
        except OSError as trouble:
            self._journal.alarm("an attempt to order a certificate cannot be noted", because=str(trouble))


def _held(file: Path) -> Held | None:
    try:
        facts = leaf_facts(file.read_bytes())
    except (OSError, ValueError):
        return None
    return Held(facts.names, facts.not_before, facts.not_after, facts.serial)


def _look_over(one: Wanted, key: bytes, chain: bytes) -> None:
    """What an authority gave is used only if it is what was asked for. Raises ValueError."""
    server_context(Identity(chain, key))
    if missing := sorted(set(one.names) - set(leaf_facts(chain).names)):
        raise ValueError(f"the authority's certificate lacks {', '.join(missing)}")
