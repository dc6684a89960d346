"""Mailbox stores in documents: what is refused, in which words, and at which key."""

from __future__ import annotations

import pytest

from policies import policy, problems, warned

LMTP = '[[mailbox_store]]\nname = "Dovecot"\nkind = "lmtp"\nservers = ["store.contoso.com:24"]\n'


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (('servers = ["store.contoso.com:24"]', ""), "mailbox_store[0].servers", "needs servers"),
        (('"store.contoso.com:24"', '"store.contoso.com"'), "mailbox_store[0].servers[0]", "needs its port"),
        (('"store.contoso.com:24"', '"unix:run/lmtp"'), "mailbox_store[0].servers[0]", "by its whole path"),
        (('"store.contoso.com:24"', '"unix:/run/../etc/lmtp"'), "mailbox_store[0].servers[0]", "by its whole path"),
        (('"store.contoso.com:24"', '"10.0.0.0/8"'), "mailbox_store[0].servers[0]", "network"),
        (("lmtp", "maildir"), "mailbox_store[0].servers", "only for kind"),
        (("lmtp", "imap"), "mailbox_store[0].kind", "must be 'lmtp' or 'maildir'"),
        (("name", 'directory = "/etc"\nname'), "mailbox_store[0].directory", "there is no 'directory' here"),
    ],
)
def test_mistakes(change: tuple[str, str], path: str, words: str) -> None:
    (problem,) = problems(LMTP.replace(*change))
    assert problem.path == path and words in problem.message


def test_a_socket_has_no_tls_and_an_address_no_name() -> None:
    tls = 'tls_settings = "domain_validation"\n'
    (problem,) = problems(LMTP.replace("store.contoso.com:24", "unix:/run/lmtp") + tls)
    assert "a Unix socket has no TLS" in problem.message
    (problem,) = problems(LMTP.replace("store.contoso.com", "192.0.2.7") + tls)
    assert "no name to check" in problem.message
    assert not problems(LMTP + tls)


def test_what_is_never_looked_at_is_told() -> None:
    assert warned(LMTP + 'ca_file = "/etc/ca.pem"\ntls_domain = "x.test"\n') == [
        "mailbox_store[0].ca_file", "mailbox_store[0].tls_domain",
    ]  # fmt: skip


def test_one_store_is_in_use() -> None:
    second = LMTP.replace("Dovecot", "Cyrus")
    (problem,) = problems(LMTP + second)
    assert problem.path == "mailbox_store[1].enabled" and "'Dovecot' is in use already" in problem.message
    found = policy(LMTP + "enabled = false\n" + second).of("contoso").store
    assert found is not None and found.name == "Cyrus"


def test_a_disabled_store_is_still_the_one() -> None:
    found = policy(LMTP + "enabled = false\n").of("contoso").store
    assert found is not None and not found.enabled


def test_names_of_lanes_are_kept_for_them() -> None:
    for name in ("mailboxes", "Mailboxes", "mailbox:x"):
        (problem,) = problems(LMTP.replace("Dovecot", name))
        assert problem.path == "mailbox_store[0].name"
