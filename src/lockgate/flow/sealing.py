"""The second finish of a departing copy: our ARC set on mail that is sent on for somebody (RFC 8617 5.1).

What is sent on from another address loses proofs, and may lose all of them later; the seal says what they were here.
"""

from __future__ import annotations

import asyncio
import re

import msgspec

from lockgate.mail.arc import SEAL, seal
from lockgate.mail.authentication import ArcVerdict
from lockgate.mail.authentication_results import FIELD, field
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SIGNED, SigningKey
from lockgate.mail.headers import Headers, read_headers
from lockgate.mail.task import Assigned
from lockgate.policy.policy import Policy
from lockgate.seams import Journal, SigningKeys

LARGE = 256 * 1024
"""Octets from which on a message is hashed beside the loop, so that small ones keep their pace."""

_MOST = 5
"""Fields of one name that are sealed, from the last one on."""

_SEALED = (*SIGNED, b"dkim-signature")
_GIVEN_UP = re.compile(rb"(?:^|;)[ \t\r\n]*cv[ \t\r\n]*=[ \t\r\n]*fail\b", re.I)


class Sealing(msgspec.Struct, frozen=True):
    """Seals what the organisation sends on; wired once by the app. Its `finish` is a departure.Finish."""

    keys: SigningKeys
    journal: Journal

    async def finish(self, policy: Policy, task: Assigned, content: bytes) -> bytes:
        """The message with our set on top, or as it is where nothing is sealed or the organisation has no key.

        Raises OSError when there is a key that cannot be read: a copy without its proof may be refused for good.
        """
        stamp = task.stamp
        if not stamp.chain or not stamp.results or task.route is None:
            return content
        mine = policy.organisations.get(task.route.organisation)
        if mine is None:
            return content
        key = self.keys.key_for(task.route.organisation, mine.rewriting_domain)
        if key is None:
            return content
        state = ArcVerdict(stamp.chain)
        try:
            if len(content) > LARGE:
                return await asyncio.to_thread(sealed, content, key, state, stamp.results, int(task.received))
            return sealed(content, key, state, stamp.results, int(task.received))
        except ValueError as trouble:  # the copy is still worth carrying
            self.journal.note("not sealed", id=task.id, organisation=task.route.organisation, because=str(trouble))
            return content


def sealed(content: bytes, key: SigningKey, state: ArcVerdict, results: tuple[str, ...], at: int) -> bytes:
    """The message under one set more, dated `at` (seconds since the epoch).

    A chain whose last sealer found it broken stays as it is (RFC 8617 5.1.2: nothing is gained by going on). Raises
    ValueError where no seal is possible.
    """
    headers = read_headers(content)
    if headers.malformed or headers.oversize:
        raise ValueError("readers would disagree about its header")
    if state is ArcVerdict.FAIL and _given_up(headers):
        return content
    bodies = Bodies(content[headers.end :])
    value = field(results)[len(FIELD) + 1 : -2].strip()
    fields = headers.fields
    return seal(fields, bodies, key, state=state, results=value, names=_names(headers), at=at) + content


def _given_up(headers: Headers) -> bool:
    return any(name.lower() == SEAL and _GIVEN_UP.search(value) for name, value in headers.fields)


def _names(headers: Headers) -> list[bytes]:
    """What the message signature is over: every field that a reader relies on, and the signatures of others."""
    there: dict[bytes, int] = {}
    for name, _ in headers.fields:
        lower = name.lower()
        there[lower] = there.get(lower, 0) + 1
    return [name for name in _SEALED for _ in range(min(there.get(name, name == b"from"), _MOST))]
