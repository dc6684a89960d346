"""The last finish of a departing copy: our DKIM-Signature fields on top (RFC 6376 5, specification 2.1 O6)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping

import msgspec

from lockgate.decision.signing import leaves
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, sign
from lockgate.mail.headers import Headers, read_headers, unfold
from lockgate.mail.mailboxes import read_mailboxes
from lockgate.mail.task import Assigned
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, SigningKeys

LARGE = 1024 * 1024
"""Octets from which on a message is hashed beside the loop, so that small ones keep their pace."""

_SHORT = 500


class Signing(msgspec.Struct, frozen=True):
    """Signs what the organisation answers for; wired once by the app. Its `finish` is a departure.Finish."""

    keys: SigningKeys
    clock: Clock

    async def finish(self, policy: Policy, task: Assigned, content: bytes) -> bytes:
        """The message with a signature of each algorithm before it, or as it is where nobody signs.

        Raises OSError when there is a key that cannot be read: mail that has to be signed waits rather than leave
        without a signature.
        """
        route = task.route
        # What was held or put off was stamped before anybody knew its way.
        if not task.stamp.sign or route is None or not any(leaves(policy, route, r.target) for r in task.recipients):
            return content
        organisation = route.organisation
        mine = policy.organisations.get(organisation)
        if mine is None or not mine.signing:
            return content
        headers = read_headers(content)
        if unfit(headers):
            return content
        keys = self.keys.keys_for(organisation, author_domain(headers))
        if not keys:
            return content
        at = int(self.clock.now())
        if len(content) > LARGE:
            return await asyncio.to_thread(signed, content, headers, keys, mine.signing, at)
        return signed(content, headers, keys, mine.signing, at)


def unfit(headers: Headers) -> bool:
    """Whether readers might disagree about what the header says; we do not put our name to that (RFC 6376 8.15)."""
    return headers.malformed or headers.oversize or headers.count(b"from") != 1


def author_domain(headers: Headers) -> str:
    """The domain of the first author (A-label); "" where From cannot be read."""
    value = headers.first(b"from") or b""
    return _remembered(value) if len(value) < _SHORT else _first_domain(value)


@functools.lru_cache(maxsize=1024)
def _remembered(value: bytes) -> str:
    return _first_domain(value)


def _first_domain(value: bytes) -> str:
    found = read_mailboxes(unfold(value)).found
    return found[0].domain if found else ""


def signed(
    content: bytes,
    headers: Headers,
    keys: tuple[SigningKey, ...],
    configs: Mapping[str, DkimSigningConfig],
    at: int,
) -> bytes:
    """The message under a signature of each key; `configs` say how each domain canonicalises, `at` is in seconds.

    All of them are over the message as it was before, so that none depends on another.
    """
    bodies = Bodies(content[headers.end :])
    fields = []
    for key in keys:
        config = configs.get(key.domain)  # none: it was taken away in this instant
        fields.append(
            sign(
                headers.fields, bodies, key, at=at,
                relaxed_header=config is None or config.header_canonicalization == "relaxed",
                relaxed_body=config is None or config.body_canonicalization == "relaxed",
            )
        )  # fmt: skip
    return b"".join([*fields, content])
