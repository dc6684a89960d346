"""Every certificate, CA file and revocation list of the installation: until when, what for, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from lockgate.app.config import OperatorFile
from lockgate.app.showing import certificate_files
from lockgate.edge.shown import CertificateFiles, Stamp, load, stamp_of
from lockgate.mail.certificate_names import name_covered
from lockgate.policy.policy import Policy
from lockgate.seams import Clock
from lockgate.wire.bundles import Listed, chain_end, read_bundle
from lockgate.wire.certificates import CaStore, key_kind, leaf_facts, read_store
from lockgate.wire.tls import Identity, server_context

SHOWN, CLIENT, AUTHORITY, REVOCATIONS = "certificate", "client certificate", "CA certificate", "revocation list"
"""What a credential is."""

_AGAIN = 5.0
"""Seconds for which what was gathered is good."""

_SHORT_LIFE = 0.25
"""Of its life must be left before anybody is told: certificates that live for weeks are renewed in their last third."""

_MOST_IN_FILE = 200


class Credential(msgspec.Struct, frozen=True):
    """One of them. Times are seconds since the epoch, 0 if unknown.

    `uses` says where it is used, `matched` which of our names it has, `missing` what its chain lacks, `trouble` why it
    cannot be used. `spki` is the SHA-256 of its public key, as TLSA records with selector 1 and pins have it.
    """

    kind: str
    name: str
    file: str
    uses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    key: str = ""
    issuer: str = ""
    serial: str = ""
    spki: str = ""
    begin: float = 0.0
    end: float = 0.0
    matched: tuple[str, ...] = ()
    missing: str = ""
    self_signed: bool = False
    ordered: bool = False
    trouble: str = ""


class Credentials:
    """Gathers them, at most every few seconds; wired once, in the desk's process."""

    def __init__(self, config: OperatorFile, policy: Callable[[], Policy], clock: Clock) -> None:
        self._config = config
        self._policy = policy
        self._clock = clock
        self._known: dict[tuple[object, ...], tuple[tuple[Stamp, ...], tuple[Credential, ...]]] = {}
        self._authorities: dict[str, tuple[Stamp, CaStore | None]] = {}
        self._gathered: tuple[float, tuple[Credential, ...]] = (float("-inf"), ())

    def all(self, *, anew: bool = False) -> tuple[Credential, ...]:
        """All of them, those that the listeners show first. Reads files; never raises for what is in them."""
        at, found = self._gathered
        if anew or self._clock.monotonic() - at >= _AGAIN:
            found = self._gather()
            self._gathered = (self._clock.monotonic(), found)
        return found

    def ends(self) -> dict[str, float]:
        """When each certificate that is shown ends, by file."""
        return {one.file: one.end for one in self.all() if one.kind == SHOWN and one.end}

    def wrong(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What a person should hear of: what cannot be used, and what ends soon."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        now, steps = self._clock.now(), self._config.alerts.certificate_days
        for one in self.all():
            about = {"file": one.file, "used": ", ".join(one.uses)}
            if one.trouble:
                found[f"{one.kind} cannot be used", one.file] = {**about, "because": one.trouble, "do": mend(one)}
            elif (step := ends_soon(one.begin, one.end, now, steps)) is not None:
                days = round((one.end - now) / 86400, 1)
                told = {"name": one.name, "days": days, **about, "do": mend(one)}
                found[_words(one.kind, step), f"{one.file} {one.serial}".rstrip()] = told
        return found

    # --- gathering

    def _gather(self) -> tuple[Credential, ...]:
        before, self._known = self._known, {}
        named = self._named()
        bundles = [str(self._config.ca_bundle or ""), *[file for kind, file, _ in named if kind != CLIENT]]
        roots = tuple([store for file in dict.fromkeys(bundles) if (store := self._root(file)) is not None])
        shown = certificate_files(self._config)
        found: list[Credential] = []
        for files in shown:
            first = files == shown[0]
            read = partial(self._shown, files, roots, default=first)
            found += self._once(before, (SHOWN, files, first), files.files, read)
        for (kind, file, key), uses in named.items():
            if kind == CLIENT:
                pair = CertificateFiles(file, key or file)
                found += self._once(before, (kind, pair, uses), pair.files, partial(_client, pair, uses, roots))
            else:
                found += self._once(before, (file, uses), (file,), partial(_bundle, file, uses))
        return tuple(found)

    def _once(
        self,
        before: dict[tuple[object, ...], tuple[tuple[Stamp, ...], tuple[Credential, ...]]],
        what: tuple[object, ...],
        files: Iterable[str],
        read: Callable[[], Sequence[Credential]],
    ) -> tuple[Credential, ...]:
        """What was read of files that have not changed since."""
        stamps = tuple(stamp_of(name) for name in files)
        known = before.get(what)
        if known is None or known[0] != stamps:
            known = (stamps, tuple(read()))
        self._known[what] = known
        return known[1]

    def _root(self, file: str) -> CaStore | None:
        """The authorities of a file; None for one without any, which is told elsewhere."""
        known = self._authorities.get(file)
        stamp = stamp_of(file)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, read_store(Path(file).read_bytes()))
            except (OSError, ValueError):
                known = (stamp, None)
            self._authorities[file] = known
        return known[1]

    def _shown(self, files: CertificateFiles, roots: Sequence[CaStore], *, default: bool) -> list[Credential]:
        config = self._config
        uses = ["listeners, for every name that has no other"] if default else ["listeners, for its names"]
        if files.awaited:
            uses.append("ordered by ACME")
        one = _pair(SHOWN, files, tuple(uses), roots)
        ours = dict.fromkeys([config.hostname, *config.acme.names])
        matched = tuple(name for name in ours if name_covered(name, one.names) is not None)
        return [msgspec.structs.replace(one, matched=matched, ordered=files.awaited)]

    def _named(self) -> dict[tuple[str, str, str], tuple[str, ...]]:
        """Files that documents and the operator's file name: (kind, file, key file) -> where."""
        found: dict[tuple[str, str, str], list[str]] = {}

        def add(where: str, one: BaseModel) -> None:
            for key in type(one).model_fields:
                value = getattr(one, key)
                if not value or not key.endswith("_file") or key == "key_file":
                    continue
                kind = CLIENT if key == "certificate_file" else AUTHORITY
                private = str(getattr(one, "key_file", None) or "") if kind == CLIENT else ""
                found.setdefault((kind, str(value), private), []).append(f"{where}, {key}")

        add("[mailboxes]", self._config.mailboxes)
        add("[acme]", self._config.acme)
        add("[delivery]", self._config.delivery)
        try:
            organisations = self._policy().organisations
        except Exception:
            organisations = {}  # no policy in force; that is told elsewhere
        for name, mine in organisations.items():
            for inbound in mine.inbound.values():
                add(f"inbound connector {name}/{inbound.name}", inbound)
            for outbound in mine.outbound.named.values():
                add(f"outbound connector {name}/{outbound.name}", outbound)
            if mine.store is not None:
                add(f"mailbox store {name}/{mine.store.name}", mine.store)
        return {what: tuple(where) for what, where in found.items()}


def _pair(kind: str, files: CertificateFiles, uses: tuple[str, ...], roots: Sequence[CaStore]) -> Credential:
    try:
        identity: Identity = load(files)
        server_context(identity)
        facts = leaf_facts(identity.chain)
        return Credential(
            kind, facts.names[0] if facts.names else facts.common_name or facts.subject, files.chain, uses,
            facts.names, key_kind(identity.chain), facts.issuer, facts.serial, facts.spki_sha256, facts.not_before,
            facts.not_after, missing=chain_end(identity.chain, roots), self_signed=facts.self_signed,
        )  # fmt: skip
    except (OSError, ValueError) as trouble:
        return Credential(kind, Path(files.chain).name, files.chain, uses, trouble=str(trouble))


def _client(files: CertificateFiles, uses: tuple[str, ...], roots: Sequence[CaStore]) -> list[Credential]:
    return [_pair(CLIENT, files, uses, roots)]


def _bundle(file: str, uses: tuple[str, ...]) -> list[Credential]:
    try:
        listed = read_bundle(Path(file).read_bytes())
        if not listed:
            raise ValueError("there is neither a certificate nor a revocation list in it")
    except (OSError, ValueError) as trouble:
        return [Credential(AUTHORITY, Path(file).name, file, uses, trouble=str(trouble))]
    return [_listed(one, file, uses) for one in listed[:_MOST_IN_FILE]]


def _listed(one: Listed, file: str, uses: tuple[str, ...]) -> Credential:
    kind = REVOCATIONS if one.revocations else AUTHORITY
    return Credential(
        kind, one.name, file, uses, issuer=one.issuer, serial=one.serial, begin=one.begin, end=one.end, spki=one.spki
    )


# --- in words


def ends_soon(begin: float, end: float, now: float, steps: Iterable[int]) -> int | None:
    """The smallest number of days that was passed; 0: it has ended; None: there is time, or nobody wants to know.

    What lives for a short time is told of only when a quarter of its life is left.
    """
    nearest = next((step for step in sorted(steps) if end - now < step * 86400), None)
    if not end or nearest is None:
        return None
    if end <= now:
        return 0
    return nearest if end - now <= _SHORT_LIFE * (end - begin) else None


def _words(kind: str, step: int) -> str:
    if not step:
        return f"{kind} has ended"
    return f"{kind} ends within {step} day{'s' if step > 1 else ''}"


def mend(one: Credential) -> str:
    """What to do about it, in a sentence."""
    match one.kind:
        case _ if one.ordered:
            return f"lockgate certificate renew {Path(one.file).stem}"
        case kind if kind == REVOCATIONS:
            return f"put a newer list of {one.name} into {one.file}"
        case kind if kind == AUTHORITY:
            return f"ask the partner for the new CA certificate and add it to {one.file}"
        case kind if kind == CLIENT:
            return f"replace {one.file} and its key; partners that pin the key must know the new one first"
        case _:
            return f"replace {one.file} and its key; they are taken up within seconds"
