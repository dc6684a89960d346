"""What explanations need of the machine: compiled policies by revision, kept a few, and certificates out of files."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from lockgate.app.policies import NoPolicy, Policies, Revision
from lockgate.edge.certificates import PUBLIC
from lockgate.flow.retelling import PolicyGone
from lockgate.mail.connection import Certificate
from lockgate.policy.policy import Policy
from lockgate.seams import Unavailable
from lockgate.wire.certificates import certificate_facts, read_chain, read_store, verify_chain

KEPT = 4
"""So many compiled revisions are kept: the one in force and those that people look at."""

_LOOK_AGAIN = 1.0


class CompiledRevisions:
    """Compiled policies of published revisions; compiling is done beside the loop, each revision once."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._kept: OrderedDict[int, Policy] = OrderedDict()
        self._one = asyncio.Lock()
        self._stamp: tuple[int, int] = (0, 0)
        self._newest = 0

    async def in_force(self) -> Policy:
        """The policy in force. Raises Unavailable while there is none."""
        stamp = self._policies.stamp()
        if stamp == self._stamp and self._newest in self._kept:
            return self._found(self._newest)
        try:
            revision = await asyncio.to_thread(self._policies.in_force)
        except NoPolicy as trouble:
            raise Unavailable(str(trouble)) from None
        policy = await self._compiled(revision.number, lambda: revision)
        self._stamp, self._newest = stamp, revision.number
        return policy

    async def at(self, number: int) -> Policy:
        """An earlier revision. Raises PolicyGone, or Invalid if its documents are refused today."""
        try:
            return await self._compiled(number, lambda: self._policies.at(number))
        except NoPolicy as trouble:
            raise PolicyGone(str(trouble)) from None

    async def draft(self, files: Mapping[str, str]) -> Policy:
        """The policy that these documents would make; it gets no number. Raises Invalid."""
        return await asyncio.to_thread(self._policies.draft, files)

    def keep(self, policy: Policy) -> None:
        """Take a published policy that somebody has compiled already."""
        self._kept[policy.revision] = policy
        self._kept.move_to_end(policy.revision)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def keep_warm(self, complain: Callable[[str], None]) -> None:
        """Compile each revision as it comes into force, so that the first to ask does not wait for it."""
        said = ""
        while True:
            try:
                await self.in_force()
            except Exception as trouble:  # told once; whoever asks is told as well
                if str(trouble) != said:
                    said = str(trouble)
                    complain(said)
            await asyncio.sleep(_LOOK_AGAIN)

    async def _compiled(self, number: int, read: Callable[[], Revision]) -> Policy:
        if number in self._kept:
            return self._found(number)
        async with self._one:
            if number not in self._kept:
                self.keep(await asyncio.to_thread(lambda: self._policies.compile(read())))
            return self._found(number)

    def _found(self, number: int) -> Policy:
        self._kept.move_to_end(number)
        return self._kept[number]


def presented(ca_bundle: Path | None) -> Callable[[str, Policy, float], tuple[Certificate, tuple[str, ...], str]]:
    """Reads certificates as a handshake would show them (flow.supposing.Presented); `ca_bundle` is the operator's."""

    def read(pem: str, policy: Policy, at: float) -> tuple[Certificate, tuple[str, ...], str]:
        chain = read_chain(pem)
        files = {PUBLIC: str(ca_bundle)} if ca_bundle else {}
        for mine in policy.organisations.values():
            files.update({one.ca_file: one.ca_file for one in mine.inbound.values() if one.ca_file})
        found = {name: _verified(chain, file, at) for name, file in files.items()}
        trusted = tuple(name for name, why in found.items() if not why)
        trouble = found.get(PUBLIC, "the operator has no bundle of public CA certificates")
        return certificate_facts(chain[0]), trusted, trouble

    return read


def _verified(chain: tuple[bytes, ...], file: str, at: float) -> str:
    try:
        return verify_chain(chain, read_store(Path(file).read_bytes()), at)
    except (OSError, ValueError) as trouble:
        return f"the CA file {file} cannot be read: {trouble}"
