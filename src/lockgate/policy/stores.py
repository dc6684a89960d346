"""Do the properties of a mailbox store go together, and is there one for each organisation at most?"""

from __future__ import annotations

from typing import Any

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.objects.stores import MailboxStore, StoreKind
from lockgate.policy.spelling import smart_host_parts

_OF_LMTP = ("servers", "tls_domain", "ca_file", "pinned_keys")
_CHECKED = (TlsLevel.CERTIFICATE_VALIDATION, TlsLevel.DOMAIN_VALIDATION)


def check_stores(documents: Documents, report: Report) -> None:
    """Every store by itself, and that no organisation has two in use."""
    used: dict[str, Written[Any]] = {}
    for written in documents.stores:
        store = written.value
        if store.enabled:
            first = used.setdefault(store.organisation, written)
            if first is not written:
                message = f"store '{first.value.name}' is in use already; an organisation has one, disable the other"
                report.wrong(written, ("enabled", "organisation", "name"), message)
        if store.kind is StoreKind.MAILDIR:
            _maildir(written, report)
        else:
            _lmtp(written, report)


def _maildir(written: Written[MailboxStore], report: Report) -> None:
    for key in _OF_LMTP:
        if getattr(written.value, key):
            report.wrong(written, (key, "kind"), f'{key} is only for kind = "lmtp"; a Maildir is written here')


def _lmtp(written: Written[MailboxStore], report: Report) -> None:
    store = written.value
    if not store.servers:
        report.wrong(written, ("servers", "kind"), "a store reached by LMTP needs servers, like store.contoso.com:24")
    checked = store.tls_settings is TlsLevel.DOMAIN_VALIDATION
    if store.tls_settings is not TlsLevel.OPPORTUNISTIC and any(one.startswith("unix:") for one in store.servers):
        message = "a Unix socket has no TLS; mail would wait for ever"
        report.wrong(written, ("tls_settings", "servers"), message)
    elif checked and not store.tls_domain and any(_is_address(one) for one in store.servers):
        message = "domain_validation needs tls_domain where a server is an address: there is no name to check"
        report.wrong(written, ("tls_settings", "tls_domain", "servers"), message)
    if store.tls_domain and not checked:
        message = 'the name is only checked with tls_settings = "domain_validation"'
        report.doubtful(written, ("tls_domain", "tls_settings"), message)
    for key in ("pinned_keys", "ca_file"):
        if getattr(store, key) and store.tls_settings not in _CHECKED:
            message = "certificates are only checked with certificate_validation or domain_validation"
            report.doubtful(written, (key, "tls_settings"), message)


def _is_address(entry: str) -> bool:
    if entry.startswith("unix:"):
        return False
    host, _ = smart_host_parts(entry)
    return ":" in host or host.replace(".", "").isdigit()
