"""Fields of a message that came in our name: where they may be ours, and the header without those that are not.

Nobody else may write them (RFC 8601 5). What an own server hands over that has passed us before may bear ours from
then. The same test says what rules see of them and what leaves with a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lockgate.mail.authentication_results import claims_to_be, is_ours_by_name
from lockgate.mail.message import Message
from lockgate.mail.ruling import Candidate


def may_be_ours(message: Message, candidates: Iterable[Candidate], organisation: str) -> bool:
    """Whether one of the organisation's servers hands the message back; `candidates` are those that the session is."""
    return message.own_hops > 0 and any(candidate.organisation == organisation for candidate in candidates)


def is_in_our_name(name: str, value: str, hostname: str) -> bool:
    """Whether an unfolded field might be taken for our word; `hostname` is what we are called. In doubt, yes."""
    kind = name.lower()
    if is_ours_by_name(kind):
        return True
    return kind == "authentication-results" and claims_to_be(value.encode(), hostname)


def without_forged(fields: Sequence[tuple[str, str]], hostname: str) -> tuple[tuple[str, str], ...]:
    """The unfolded header fields but those in our name, as they leave when a stranger wrote them."""
    return tuple([(name, value) for name, value in fields if not is_in_our_name(name, value, hostname)])
