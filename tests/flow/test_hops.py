"""From a route to the next hop: what was demanded holds, and what is gone makes the mail wait."""

from __future__ import annotations

import msgspec

from lockgate.flow.hops import Keeps, Pool, plan
from lockgate.mail.hop import DaneMode, HopKind, Login, NextHop, TlsDemand
from lockgate.mail.ruling import Route, TlsLevel, TlsWish, Via
from lockgate.testing.builders import policy_of, spki_of

POOLS = {
    "main": Pool("main", "192.0.2.1", "2001:db8::1", "out.lockgate.test"),
    "other": Pool("other", "192.0.2.2", "", "other.lockgate.test"),
}
BASE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
FULL = BASE + f"""
[[outbound_connector]]
name = "hq"
recipient_domains = ["*"]
use_mx_record = false
smart_hosts = ["mail.hq.test:2525", "192.0.2.9"]
tls_settings = "domain_validation"
tls_domain = "*.hq.test"
ca_file = "/etc/ca.pem"
pinned_keys = ["{spki_of("k1")}"]
certificate_file = "/etc/client.pem"
key_file = "/etc/client.key"
source_address_v4 = "192.0.2.77"
helo_name = "hq-out.contoso.com"
address_family = "ipv4"
concurrency = 3
rate_per_minute = 60
size_limit = "25MB"
login_user = "relay"
login_secret = "env:HQ_SECRET"
"""
HQ = Route(Via.CONNECTOR, "contoso", "hq", "", TlsLevel.ENCRYPTION_ONLY)


def secret(reference: str) -> str:
    return {"env:HQ_SECRET": "s3cret"}[reference]


def hop(text: str, route: Route, read=secret) -> NextHop:
    found = plan(policy_of(text), route, POOLS, read)
    assert isinstance(found, NextHop), found
    return found


def test_everything_a_connector_says_reaches_the_courier() -> None:
    found = hop(FULL, HQ)
    assert found.smart_hosts == ("mail.hq.test:2525", "192.0.2.9")
    assert found.mx_domain == ""
    assert found.tls.level is TlsLevel.DOMAIN_VALIDATION
    assert (found.tls.name, found.tls.ca_file, found.tls.pins) == ("*.hq.test", "/etc/ca.pem", (spki_of("k1"),))
    assert (found.tls.certificate, found.tls.key) == ("/etc/client.pem", "/etc/client.key")
    assert (found.source_v4, found.source_v6, found.helo) == ("192.0.2.77", "2001:db8::1", "hq-out.contoso.com")
    assert (found.family, found.concurrency, found.rate, found.size_limit) == ("ipv4", 3, 60, 25 * 1024**2)
    assert found.login == Login("relay", "s3cret")
    assert found.lane == HQ.lane


def test_mx_uses_the_first_pool() -> None:
    found = hop(BASE, Route(Via.MX, "contoso", "", "example.net"))
    assert (found.mx_domain, found.source_v4, found.helo) == ("example.net", "192.0.2.1", "out.lockgate.test")
    assert found.tls.level is TlsLevel.OPPORTUNISTIC
    assert found.smart_hosts == ()


BY_MX = BASE + """
[[outbound_connector]]
name = "mx"
recipient_domains = ["*"]
smtp_dane_mode = "{}"
mta_sts_mode = "{}"
"""


def test_what_dns_and_the_domain_demand_is_heard_by_mx_only() -> None:
    plain = Route(Via.MX, "contoso", "", "example.net")
    found = hop(BASE, plain)
    assert (found.dane, found.sts, found.require_tls, found.organisation) == (
        DaneMode.OPPORTUNISTIC, True, False, "contoso",
    )  # fmt: skip
    waived = hop(BASE, msgspec.structs.replace(plain, wish=TlsWish.NOT_REQUIRED))
    assert (waived.dane, waived.sts) == (DaneMode.NONE, False)
    assert hop(BASE, msgspec.structs.replace(plain, wish=TlsWish.REQUIRED)).require_tls
    by = Route(Via.CONNECTOR, "contoso", "mx", "example.net")
    no = msgspec.structs.replace(by, wish=TlsWish.NOT_REQUIRED)
    for dane, sts, heard, waived_to in (
        ("opportunistic", "opportunistic", (DaneMode.OPPORTUNISTIC, True), (DaneMode.NONE, False)),
        ("none", "none", (DaneMode.NONE, False), (DaneMode.NONE, False)),
        # What the connector demands no message lifts.
        ("mandatory", "opportunistic", (DaneMode.MANDATORY, True), (DaneMode.MANDATORY, False)),
    ):
        text = BY_MX.format(dane, sts)
        assert (hop(text, by).dane, hop(text, by).sts) == heard
        assert (hop(text, no).dane, hop(text, no).sts) == waived_to
    assert (hop(FULL, HQ).dane, hop(FULL, HQ).sts) == (DaneMode.NONE, False)
    mandatory = FULL + 'smtp_dane_mode = "mandatory"\n'
    assert (hop(mandatory, HQ).dane, hop(mandatory, HQ).sts) == (DaneMode.MANDATORY, False)


def test_the_organisations_client_certificate_is_shown_unless_the_connector_has_one() -> None:
    own = 'name = "contoso"\ncertificate_file = "/etc/own.pem"\nkey_file = "/etc/own.key"'
    text = (BY_MX.format("none", "none")).replace('name = "contoso"', own, 1)
    for route in (Route(Via.MX, "contoso", "", "a.test"), Route(Via.CONNECTOR, "contoso", "mx", "a.test")):
        found = hop(text, route).tls
        assert (found.certificate, found.key) == ("/etc/own.pem", "/etc/own.key")
    found = hop(FULL.replace('name = "contoso"', own, 1), HQ).tls
    assert (found.certificate, found.key) == ("/etc/client.pem", "/etc/client.key")


def test_the_stricter_of_route_and_connector_holds() -> None:
    weak = FULL.replace("domain_validation", "opportunistic").replace('tls_domain = "*.hq.test"\n', "")
    assert hop(weak, HQ).tls.level is TlsLevel.ENCRYPTION_ONLY
    assert hop(FULL, HQ).tls.level is TlsLevel.DOMAIN_VALIDATION


def test_what_is_gone_or_switched_off_waits_with_a_sentence() -> None:
    waiting = Route(Via.CONNECTOR, "contoso", "hq", "", waits="The connector hq, which a rule names, is disabled.")
    off = FULL.replace('name = "hq"', 'name = "hq"\nenabled = false')
    assert plan(policy_of(off), HQ, POOLS, secret) == "The outbound connector hq is switched off."
    assert plan(policy_of(BASE), HQ, POOLS, secret) == "The outbound connector hq does not exist any more."
    assert plan(policy_of(BASE), waiting, POOLS, secret) == waiting.waits
    assert isinstance(plan(policy_of(FULL), waiting, POOLS, secret), NextHop)
    gone = BASE.replace("contoso", "fabrikam")
    assert plan(policy_of(gone), HQ, POOLS, secret) == "The outbound connector hq does not exist any more."


def test_a_secret_that_cannot_be_read_waits_and_is_not_shown() -> None:
    def missing(reference: str) -> str:
        raise FileNotFoundError(2, "No such file", "/etc/secret")

    assert str(plan(policy_of(FULL), HQ, POOLS, missing)).startswith("The login secret of the outbound connector hq")


STORE = """
[[mailbox_store]]
name = "Dovecot"
kind = "lmtp"
servers = ["store.contoso.com:24", "unix:/run/lmtp"]
tls_settings = "opportunistic"
concurrency = 7
"""
BOX = Route(Via.MAILBOX, "contoso", store="Dovecot")


def kept(text: str, keeps: Keeps, route: Route = BOX) -> NextHop | str:
    return plan(policy_of(text), route, POOLS, secret, keeps)


def test_the_store_of_now_takes_what_waits_for_a_mailbox() -> None:
    listed = Keeps(directory=True, sockets=frozenset({"unix:/run/lmtp"}))
    found = kept(BASE + STORE, listed)
    assert isinstance(found, NextHop)
    assert (found.kind, found.store, found.concurrency, found.trusted) == (HopKind.LMTP, "Dovecot", 7, False)
    assert found.smart_hosts == ("store.contoso.com:24", "unix:/run/lmtp") and found.lane == "contoso/mailbox:Dovecot"
    gone = kept(BASE, listed)
    assert isinstance(gone, NextHop)
    assert (gone.kind, gone.store, gone.organisation) == (HopKind.MAILDIR, "mailboxes", "contoso")
    moved = kept(BASE + STORE, listed, Route(Via.MAILBOX, "contoso"))
    assert isinstance(moved, NextHop) and moved.store == "Dovecot"


def test_the_operators_store_goes_before_the_operators_directory() -> None:
    demand = TlsDemand(TlsLevel.ENCRYPTION_ONLY)
    found = kept(BASE, Keeps(directory=True, servers=("127.0.0.1:24",), tls=demand))
    assert isinstance(found, NextHop)
    assert (found.kind, found.smart_hosts, found.trusted, found.tls) == (HopKind.LMTP, ("127.0.0.1:24",), True, demand)
    maildir = '[[mailbox_store]]\nname = "Here"\nkind = "maildir"\n'
    found = kept(BASE + maildir, Keeps(directory=True, servers=("127.0.0.1:24",)))
    assert isinstance(found, NextHop) and (found.kind, found.store) == (HopKind.MAILDIR, "Here")
    assert "has no [mailboxes] directory" in str(kept(BASE + maildir, Keeps(servers=("127.0.0.1:24",))))


def test_a_mailbox_that_cannot_be_reached_waits_with_a_sentence() -> None:
    off = BASE + STORE + "enabled = false\n"
    assert kept(off, Keeps(directory=True)) == "The mailbox store Dovecot is switched off."
    assert "which [mailboxes] sockets does not list" in str(kept(BASE + STORE, Keeps(directory=True)))
    assert "Nobody says any more where mailboxes lie" in str(kept(BASE, Keeps()))
def test_the_trace_is_told_whose_addresses_are_used():
    assert hop(BASE, Route(Via.MX, "contoso", "", "far.test")).pool == "main"
    assert hop(FULL, HQ).pool == "192.0.2.77"
    assert hop(FULL.replace('source_address_v4 = "192.0.2.77"\n', ""), HQ).pool == "main"
