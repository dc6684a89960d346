"""What is written: the operator's file, the certificates, the policy and the recipients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lockgate.app.config import OperatorFile
from lockgate.app.policies import read_documents
from lockgate.app.wiring import policies_of
from lockgate.edge.certificates import CertificateFiles, Certificates
from lockgate.flow.checkup import Found, blocked, passed, warned
from lockgate.mail.certificate_names import name_covered
from lockgate.policy.documents import Invalid
from lockgate.policy.objects.domains import DomainType, EdgeBlocking, RecipientValidation
from lockgate.policy.policy import Policy
from lockgate.seams import Journal
from lockgate.storage.recipients import RecipientStore
from lockgate.wire.certificates import leaf_facts, leaf_names


def certificates(config: OperatorFile, now: float, journal: Journal) -> Iterator[Found]:
    """Each can be used, covers our name, and lasts."""
    if not config.certificate:
        mend = f"[[certificate]]\nchain = \"tls/{config.hostname}.pem\"\nkey = \"tls/{config.hostname}.key\""
        yield warned("certificate", "there is none, so nobody can send by TLS", mend)
    for entry in config.certificate:
        yield from _certificate(entry.chain, entry.key, config, now, journal)


def _certificate(chain: Path, key: Path, config: OperatorFile, now: float, journal: Journal) -> Iterator[Found]:
    try:
        pem = chain.read_bytes()
        Certificates([CertificateFiles(str(chain), str(key))], journal)
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
    elif days < config.alerts.certificate_days:
        yield warned("certificate", f"{chain} expires in {days:.0f} days", renew)
    elif facts.self_signed:
        yield warned("certificate", f"{chain} is self-signed: partners that verify will not send", renew)
    else:
        yield passed("certificate", f"{chain} is good for {days:.0f} days")


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
