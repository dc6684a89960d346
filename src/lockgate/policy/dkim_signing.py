"""Can the domains sign that are said to sign, and which one signs for those that have no keys of their own?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.tries import DomainMap


def check_dkim_signing(
    documents: Documents, domains: Mapping[str, DomainMap[AcceptedDomain]], report: Report
) -> None:
    """That each domain is the organisation's own; `domains` are its accepted domains by organisation."""
    broken = documents.may_hold("accepted_domain")
    for written in documents.signing:
        config = written.value
        own = domains.get(config.organisation)
        domain = own.find(config.domain_name) if own is not None else None
        if domain is None and not broken:
            message = f"{config.domain_name} is no accepted domain of the organisation, so none of its mail is signed"
            report.wrong(written, ("domain_name", "organisation"), message)
        elif domain is not None and config.enabled and not domain.receives:
            message = f"{domain.domain_name} is not proven, so it signs nothing yet"
            report.doubtful(written, ("domain_name", "organisation"), message)
        if config.key_size == 1024 and "rsa" in config.algorithms:
            message = "RSA keys of 1024 bits are weak, and some receivers ignore them; 2048 fits into DNS as well"
            report.doubtful(written, ("key_size",), message)
        if "rsa" not in config.algorithms:
            message = "most verifiers know RSA only, and take mail that is signed with ed25519 alone for not signed"
            report.doubtful(written, ("algorithms",), message)


def signing_of(configs: Iterable[DkimSigningConfig]) -> Mapping[str, DkimSigningConfig]:
    """The configurations in use, by domain."""
    return MappingProxyType({config.domain_name: config for config in configs if config.enabled})


def signing_domain(domains: Iterable[AcceptedDomain], signing: Mapping[str, DkimSigningConfig]) -> str:
    """The domain that signs for those without a configuration: the initial one, else the default one; "" for none."""
    ranked = sorted(domains, key=lambda domain: (not domain.initial_domain, not domain.default, domain.domain_name))
    able = (domain for domain in ranked if domain.initial_domain or domain.default)
    return next((d.domain_name for d in able if d.receives and d.domain_name in signing), "")
