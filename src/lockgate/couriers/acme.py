"""Orders one certificate from an ACME authority (RFC 8555), proving each name by HTTP-01. Blocks; for a thread.

The protocol is that of the library `acme`; here are the steps, and what went wrong in words.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import msgspec
import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.errors import Error as JoseError
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from lockgate.couriers.acme_way import Way
from lockgate.couriers.reach import Reach

Tokens = MutableMapping[str, bytes]
"""What is answered to whom asks for a token, while the order is under way."""


class Authority(msgspec.Struct, frozen=True):
    """Whom we order from. `external`: identifier and key (base64url) of an external account; `timeout` in seconds."""

    directory: str
    contact: tuple[str, ...] = ()
    ca_file: str = ""
    external: tuple[str, str] | None = None
    timeout: float = 120.0


class Known(msgspec.Struct, frozen=True):
    """Our account: its private key (PEM, P-256) and its address, "" before the authority knows us."""

    key: str
    uri: str = ""


class NotOrdered(Exception):
    """There is no certificate; the message says why, in words for people."""


def order(
    authority: Authority,
    account: Known,
    key: bytes,
    names: Sequence[str],
    tokens: Tokens,
    reach: Reach,
    *,
    now: float,
    introduced: Callable[[str], None] = lambda uri: None,
) -> bytes:
    """The chain (PEM, ours first) of a certificate for `names` and the private `key` (PEM).

    `now` is the time in seconds since the epoch. `introduced` is told our account's address when it is new. `tokens`
    must be answered meanwhile at port 80 of every name. Raises NotOrdered.
    """
    until = time.monotonic() + authority.timeout
    deadline = dt.datetime.fromtimestamp(now + authority.timeout)  # noqa: DTZ006 - as the library wants it
    mine: list[str] = []
    try:
        way = Way(_jwk(account.key), authority.directory, reach, authority.ca_file, until)
        with way.session:
            server = client.ClientV2(client.ClientV2.get_directory(authority.directory, way), way)
            _introduce(server, way, authority, account, introduced)
            csr = crypto_util.make_csr(key, domains=list(names))
            wanted = _new_order(server, way, authority, csr, introduced)
            for entry in wanted.authorizations:
                mine += _answer(server, way, entry, tokens)
            return str(server.poll_and_finalize(wanted, deadline).fullchain_pem).encode("ascii", "replace")
    except errors.ValidationError as trouble:
        raise NotOrdered("; ".join(_unproven(one) for one in trouble.failed_authzrs)) from None
    except (errors.TimeoutError, TimeoutError):
        raise NotOrdered(f"the authority was not ready within {authority.timeout:g} s") from None
    except (errors.Error, messages.Error, JoseError, requests.RequestException, OSError) as trouble:
        raise NotOrdered(_words(trouble)) from None
    except (ValueError, TypeError, KeyError, AttributeError) as trouble:
        # Answers of an authority that speaks something else reach the library's own parsing.
        raise NotOrdered(f"the authority was not understood: {type(trouble).__name__}: {trouble}") from None
    finally:
        for token in mine:
            tokens.pop(token, None)


def _jwk(pem: str) -> JWK:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the account's key is of another kind than was made here")
    return JWKEC(key=ComparableECKey(key))


def _introduce(
    server: client.ClientV2, way: Way, authority: Authority, account: Known, introduced: Callable[[str], None]
) -> None:
    if account.uri:
        way.account = messages.RegistrationResource(body=messages.Registration(), uri=account.uri)
    else:
        _register(server, way, authority, introduced)


def _register(server: client.ClientV2, way: Way, authority: Authority, introduced: Callable[[str], None]) -> None:
    """RFC 8555 7.3. Whoever registers twice with one key gets the first account."""
    way.account = None
    binding: dict[str, Any] | None = None
    if authority.external is not None and way.key is not None:
        kid, secret = authority.external
        binding = messages.ExternalAccountBinding.from_data(way.key.public_key(), kid, secret, server.directory)
    asked = messages.NewRegistration.from_data(
        contact=tuple(f"mailto:{address}" for address in authority.contact),
        external_account_binding=binding,
        terms_of_service_agreed=True,
    )
    try:
        uri = server.new_account(asked).uri
    except errors.ConflictError as known:
        uri = known.location
        way.account = messages.RegistrationResource(body=messages.Registration(), uri=uri)
    introduced(uri)


def _new_order(
    server: client.ClientV2, way: Way, authority: Authority, csr: bytes, introduced: Callable[[str], None]
) -> messages.OrderResource:
    try:
        return server.new_order(csr)
    except messages.Error as trouble:
        if trouble.code != "accountDoesNotExist":
            raise
    _register(server, way, authority, introduced)  # it has forgotten us
    return server.new_order(csr)


def _answer(server: client.ClientV2, way: Way, entry: messages.AuthorizationResource, tokens: Tokens) -> list[str]:
    """Put the token where it is asked for, and say that it is there; the tokens that were put."""
    if entry.body.status == messages.STATUS_VALID:
        return []
    name = entry.body.identifier.value
    for offered in entry.body.challenges:
        if isinstance(offered.chall, challenges.HTTP01):
            response, content = offered.response_and_validation(way.key)
            token = offered.chall.encode("token")
            tokens[token] = content.encode()
            server.answer_challenge(offered, response)
            return [token]
    kinds = ", ".join(one.chall.typ for one in entry.body.challenges)
    raise NotOrdered(f"the authority wants {name} proven by {kinds or 'nothing'}, and we can http-01")


def _unproven(entry: messages.AuthorizationResource) -> str:
    why = [_words(one.error) for one in entry.body.challenges if one.error is not None]
    return f"{entry.body.identifier.value}: {'; '.join(why) or 'not proven'}"


def _words(trouble: BaseException) -> str:
    """One line. A problem document says its kind and its detail (RFC 8555 6.7)."""
    if isinstance(trouble, messages.Error):
        parts = [f"{trouble.detail or trouble.title or 'no reason given'} ({trouble.code or trouble.typ})"]
        for one in trouble.subproblems or ():
            who = f"{one.identifier.value}: " if one.identifier is not None else ""
            parts.append(f"{who}{one.detail or one.code}")
        text = "; ".join(parts)
    else:
        cause = trouble
        while isinstance(cause, requests.RequestException) and cause.args and isinstance(cause.args[0], Exception):
            cause = cause.args[0]
        reason = getattr(cause, "reason", None)
        text = str(reason or cause) or type(trouble).__name__
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]
