"""The resolver, and who proves senders with it, as the operator's file wants them."""

from __future__ import annotations

from lockgate.app.config import OperatorFile, resolvers
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sender import SenderCheck
from lockgate.seams import Clock


def resolver_of(config: OperatorFile, clock: Clock, *, remembers: bool = True) -> DnsResolver:
    """The resolver of one process; one that does not remember asks anew every time."""
    dns = config.dns
    size = dns.cache_size if remembers else 0
    return DnsResolver(resolvers(config), clock, timeout=dns.timeout, size=size, trusted=dns.trusted)


def sender_check_of(config: OperatorFile, clock: Clock) -> SenderCheck:
    """Who finds out who sent a message.

    It has a resolver of its own: a thousand names that strangers have us look up, slow ones above all, must not stand
    in the way of mail that goes out.
    """
    dns = config.dns
    return SenderCheck(
        resolver_of(config, clock),
        clock,
        config.hostname,
        seconds=dns.message_time,
        questions=dns.message_questions,
    )
