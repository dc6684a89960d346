"""What is written: the operator's file, the certificates, the policy and the recipients."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.app.config import OperatorFile
from lockgate.app.config_certificates import CertificateFiles as Entry
from lockgate.app.credentials import ends_soon
from lockgate.app.policies import read_documents
from lockgate.app.wiring import policies_of
from lockgate.edge.certificates import Certificates
from lockgate.edge.shown import CertificateFiles, load
from lockgate.flow.checkup import Found, blocked, passed, warned
from lockgate.mail.certificate_names import name_covered
from lockgate.policy.objects.domains import DomainType, EdgeBlocking, RecipientValidation
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid
from lockgate.seams import Journal
from lockgate.storage.acme_files import AcmeFiles
from lockgate.storage.recipients import RecipientStore
from lockgate.wire.bundles import chain_end
from lockgate.wire.certificates import CaStore, leaf_facts, leaf_names, read_store


def certificates(config: OperatorFile, now: float, journal: Journal) -> Iterator[Found]:
    """Each can be used, covers our name, and lasts."""
    if config.acme.directory is not None:
        yield from _ordered(config)
    elif not config.certificate:
        mend = f"[[certificate]]\nchain = \"tls/{config.hostname}.pem\"\nkey = \"tls/{config.hostname}.key\""
        yield warned("certificate", "there is none, so nobody can send by TLS", mend)
    for entry in config.certificate:
        yield from _certificate(entry, config, now, journal)


def _ordered(config: OperatorFile) -> Iterator[Found]:
    """Those of the authority: is ours there?"""
    files = AcmeFiles(config.acme_directory)
    for kind in config.acme.key_types:
        name = f"{config.hostname}.{kind}"
        if files.pair(name):
            yield passed("certificate", f"{name} is there; `lockgate certificate list` says until when it is good")
        else:
            mend = f"lockgate serve    # it is ordered then; `lockgate certificate show {name}` says how that goes"
            yield warned("certificate", f"{name} is not there yet", mend)


def _certificate(entry: Entry, config: OperatorFile, now: float, journal: Journal) -> Iterator[Found]:
    chain, key = entry.chain, entry.key
    named = CertificateFiles(str(chain), str(key), str(entry.intermediates or ""))
    try:
        pem = load(named).chain
        Certificates([named], journal)
    except (OSError, ValueError) as trouble:
        yield blocked("certificate", f"{trouble}", f"put a chain and its own key at {chain} and {key}")
        return
    names = leaf_names(pem)
    facts = leaf_facts(pem)
    days = (facts.not_after - now) / 86400
    renew = f"replace {chain} and {key}; they are taken up while running"
    if name_covered(config.hostname, names) is None and chain == config.certificate[0].chain:
        yield warned("certificate", f"{chain} is for {', '.join(names[:3]) or 'no name'}, not {config.hostname}", renew)
    if days < 0:
        yield blocked("certificate", f"{chain} expired {-days:.0f} days ago", renew)
    elif ends_soon(facts.not_before, facts.not_after, now, config.alerts.certificate_days) is not None:
        yield warned("certificate", f"{chain} expires in {days:.0f} days", renew)
    elif missing := chain_end(pem, _public(config)):
        mend = f"add the missing certificates to {chain}, or name their file: intermediates = \"...\""
        yield warned("certificate", f"{chain}: {missing}", mend)
    elif facts.self_signed:
        yield warned("certificate", f"{chain} is self-signed: partners that verify will not send", renew)
    else:
        yield passed("certificate", f"{chain} is good for {days:.0f} days")


def _public(config: OperatorFile) -> tuple[CaStore, ...]:
    try:
        return (read_store(config.ca_bundle.read_bytes()),) if config.ca_bundle else ()
    except (OSError, ValueError):
        return ()


def policy(config: OperatorFile) -> tuple[list[Found], Policy | None]:
    """The documents of the folder, and the policy they make."""
    policies = policies_of(config)
    try:
        made = policies.check(config.policy_directory)
    except Invalid as trouble:
        return [blocked("policy", str(problem), f"edit {problem.file}") for problem in trouble.problems], None
    found = [warned("policy", f"{one.file}:{one.line}: {one.message}", f"edit {one.file}") for one in made.warnings]
    if not made.domains:
        found.append(blocked("policy", "no domain receives mail here", "lockgate domain add example.com"))
    if not found:
        found.append(passed("policy", f"{len(read_documents(config.policy_directory))} documents are sound"))
    return found, made


def recipients(config: OperatorFile, made: Policy) -> Iterator[Found]:
    """Domains that need to know their people know some."""
    needs = [
        domain.domain_name
        for mine in made.organisations.values()
        for domain in mine.accepted
        if domain.receives
        and domain.domain_type is DomainType.AUTHORITATIVE
        and domain.recipient_validation is RecipientValidation.DIRECTORY
        and domain.edge_blocking is EdgeBlocking.ENFORCE
    ]
    if not needs:
        return
    if RecipientStore(config.recipients_directory).holds_anybody():
        yield passed("recipients", "there are some")
    else:
        mend = "lockgate recipient import recipients.csv"
        yield blocked("recipients", f"none are loaded; mail for {', '.join(needs[:3])} is refused", mend)
