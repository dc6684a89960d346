"""A policy that is announced and cannot be had: mail goes out, and the domain is told (RFC 8460 4.3)."""

from __future__ import annotations

import pytest

from couriers.senders import cargo, courier, hop
from lockgate.mail.outcome import Fate
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.reports import ListedTlsResults
from lockgate.testing.sts import ListedStsPolicies
from peers.smtp_peer import SmtpPeer

DOMAIN, NAME = "partner.test", "mx.partner.test"


@pytest.mark.parametrize(
    ("word", "kind", "result"),
    [
        ("sts-policy-fetch-error", "sts", "sts-policy-fetch-error"),
        ("sts-webpki-invalid", "sts", "sts-webpki-invalid"),
        ("sts-policy-invalid", "sts", "sts-policy-invalid"),
        ("", "no-policy-found", "starttls-not-supported"),
    ],
)
async def test_the_domain_hears_that_its_policy_cannot_be_had(word: str, kind: str, result: str) -> None:
    policies, results = ListedStsPolicies(), ListedTlsResults()
    policies.troubles[DOMAIN] = word
    with SmtpPeer() as peer:
        resolver = ZoneResolver({DOMAIN: [(10, NAME)]}, {NAME: ["127.0.0.1"]})
        sender = courier(resolver, results=results, sts=policies, mx_port=peer.port)
        (outcome,) = await sender.carry(hop(mx=DOMAIN, sts=True, organisation="contoso"), cargo())
        await sender.close()
        assert outcome.fate is Fate.DELIVERED and len(peer.mails) == 1
    assert [(one[1], one[2], one[3]) for one in results.noted] == [(DOMAIN, kind, result)]
