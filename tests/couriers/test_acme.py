"""Ordering from a real ACME server: what it gives, and what is said when it gives nothing."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
from cryptography import x509

from lockgate.app.acme import PATH, new_key
from lockgate.couriers.acme import Authority, Known, NotOrdered
from lockgate.couriers.acme import order as order_at
from lockgate.couriers.reach import Reach
from lockgate.wire.certificates import key_kind, leaf_facts
from lockgate.wire.tls import Identity, server_context
from peers.certificates import Authority as Ca
from peers.pebble import Pebble, needs_pebble, pebble

HERE = Reach(["127.0.0.0/8"])


def order(*args, **kwargs) -> bytes:
    return order_at(*args, now=time.time(), **kwargs)


class TokenServer:
    """What the service's own listener does, in a thread."""

    def __init__(self, port: int) -> None:
        self.tokens: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.tokens.get(self.path.removeprefix(PATH))
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def tokens(request) -> Iterator[TokenServer]:
    server = TokenServer(request.getfixturevalue("acme").http_port)
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(scope="module")
def acme(tmp_path_factory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), PEBBLE_WFE_NONCEREJECT="30") as here:
        yield here


def authority(acme: Pebble, **more) -> Authority:
    settings = {"contact": ("admin@contoso.com",), "timeout": 30.0, "ca_file": str(acme.ca_file), **more}
    return Authority(acme.directory, **settings)


def known(uri: str = "") -> Known:
    return Known(new_key("ecdsa").decode(), uri)


@needs_pebble
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_a_certificate_is_ordered_though_nonces_are_refused(acme, tokens, kind):
    key, uris = new_key(kind), []
    names = ["mx.contoso.com", "mail.contoso.com"]
    chain = order(authority(acme), known(), key, names, tokens.tokens, HERE, introduced=uris.append)
    assert set(leaf_facts(chain).names) == set(names) and key_kind(chain) == kind
    assert len(x509.load_pem_x509_certificates(chain)) == 2
    server_context(Identity(chain, key))
    assert len(uris) == 1 and uris[0].startswith("https://localhost:")
    assert tokens.tokens == {} and len(tokens.asked) >= 2


@needs_pebble
def test_an_account_is_used_again_and_a_lost_address_is_found_again(acme, tokens):
    account, uris = known(), []
    for before in ("", None, ""):  # new, with its address, with the key only
        there = Known(account.key, uris[-1] if before is None else "")
        order(authority(acme), there, new_key("ecdsa"), ["mx.contoso.com"], tokens.tokens, HERE, introduced=uris.append)
    assert len(uris) == 2 and uris[0] == uris[1]


@needs_pebble
def test_an_authority_that_has_forgotten_us_is_told_again(acme, tokens):
    uris: list[str] = []
    gone = known(f"https://localhost:{acme.port}/my-account/99999")
    order(authority(acme), gone, new_key("ecdsa"), ["mx.contoso.com"], tokens.tokens, HERE, introduced=uris.append)
    assert len(uris) == 1


@needs_pebble
def test_a_name_that_is_not_proven_is_named_with_the_reason(acme):
    server = TokenServer(acme.http_port)
    server.tokens = {}

    class Nowhere(dict):
        def __setitem__(self, token, content):
            super().__setitem__(token, b"something else")

    server.tokens = Nowhere()
    try:
        with pytest.raises(NotOrdered, match=r"mx\.contoso\.com: .*unauthorized"):
            order(authority(acme), known(), new_key("ecdsa"), ["mx.contoso.com"], server.tokens, HERE)
        assert not server.tokens
    finally:
        server.server.shutdown()
        server.server.server_close()
    with pytest.raises(NotOrdered, match=r"mx\.contoso\.com: .*connection"):
        order(authority(acme), known(), new_key("ecdsa"), ["mx.contoso.com"], {}, HERE)


@needs_pebble
def test_a_name_that_is_not_given_out(acme, tokens):
    with pytest.raises(NotOrdered, match=r"rejectedIdentifier|malformed"):
        order(authority(acme), known(), new_key("ecdsa"), ["not_a_name.contoso.com"], tokens.tokens, HERE)


@needs_pebble
def test_only_what_may_be_reached_is_dialled(acme):
    with pytest.raises(NotOrdered, match=r"127\.0\.0\.1 is a loopback address, which \[outgoing\] allow does not list"):
        order(authority(acme), known(), new_key("ecdsa"), ["mx.contoso.com"], {}, Reach())
    with pytest.raises(NotOrdered, match="an address of this server itself"):
        order(authority(acme), known(), new_key("ecdsa"), ["mx.contoso.com"], {},
              Reach(["127.0.0.0/8"], [f"127.0.0.1:{acme.port}"]))  # fmt: skip


@needs_pebble
def test_an_authority_without_a_certificate_that_is_trusted(acme, tmp_path):
    other = Ca(tmp_path, "Another")
    with pytest.raises(NotOrdered, match="certificate verify failed"):
        order(authority(acme, ca_file=str(other.file)), known(), new_key("ecdsa"), ["mx.contoso.com"], {}, HERE)


@needs_pebble
def test_an_account_bound_to_a_customer(tmp_path):
    secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with pebble(tmp_path / "pebble", external={"kid-1": secret}) as acme:
        server = TokenServer(acme.http_port)
        try:
            with pytest.raises(NotOrdered, match="externalAccountRequired"):
                order(authority(acme), known(), new_key("ecdsa"), ["mx.contoso.com"], server.tokens, HERE)
            bound = authority(acme, external=("kid-1", secret))
            assert order(bound, known(), new_key("ecdsa"), ["mx.contoso.com"], server.tokens, HERE)
        finally:
            server.server.shutdown()
            server.server.server_close()


class Odd:
    """An HTTPS server that answers the directory as a test wants it."""

    def __init__(self, folder, answer) -> None:
        ca = Ca(folder, "Odd HTTPS")
        self.ca_file = ca.file
        self.paths: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.server.socket = ca.issue("localhost").server_context().wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def authority(self, timeout: float = 5.0) -> Authority:
        return Authority(f"https://localhost:{self.port}/dir", ca_file=str(self.ca_file), timeout=timeout)


def _json(handler: http.server.BaseHTTPRequestHandler, value: object) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.wfile.write(json.dumps(value).encode())


def _elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
    urls = {name: f"https://metadata.test/{name}" for name in ("newNonce", "newAccount", "newOrder")}
    _json(handler, urls)


def _redirect(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "https://127.0.0.1:1/")
    handler.end_headers()


def _endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65536)
    except (OSError, ssl.SSLError):
        pass


def _silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(3)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_elsewhere, "leads to https://metadata.test/newNonce, which is not the host of its directory"),
        (_redirect, "redirects"),
        (_endless, "does not end"),
        (_silent, "time"),
        (lambda handler: _json(handler, {}), "not understood"),
        (lambda handler: _json(handler, ["\x1b[2J"]), "not understood"),
        (lambda handler: handler.send_error(503), "503"),
    ],
    ids=["elsewhere", "redirect", "endless", "silent", "empty", "list", "503"],
)
def test_an_authority_that_is_none(tmp_path, answer, why):
    odd = Odd(tmp_path, answer)
    try:
        began = time.monotonic()
        with pytest.raises(NotOrdered) as caught:
            order(odd.authority(2.0), known(), new_key("ecdsa"), ["mx.contoso.com"], {}, HERE)
        assert why in str(caught.value) and str(caught.value).isprintable()
        assert time.monotonic() - began < 10
        assert set(odd.paths) <= {"/dir"}
    finally:
        odd.server.shutdown()
        odd.server.server_close()
