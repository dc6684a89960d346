"""The compiled whole: immutable, with a digest. What the stages may ask of the owner's wishes.

This file fixes the questions; `compile.py` fills the tables. Every look-up is O(1) or one walk over labels or
prefix lengths (docs/performance.md has the growth laws).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.policy.enhanced_filtering import EnhancedFiltering
from lockgate.policy.objects.anti_phishing import AntiPhishingPolicy
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import Limits
from lockgate.policy.objects.remote_domains import RemoteDomain
from lockgate.policy.objects.stores import MailboxStore
from lockgate.policy.problems import Problem
from lockgate.policy.rules import CompiledRules
from lockgate.policy.tries import CertificateNames, DomainMap, NetworkMap


@dataclass(frozen=True, slots=True)
class PartnerIndex:
    """The enabled Partner inbound connectors of one organisation, by what finds them (specification 2.3).

    `by_sender` has exact sender domains and `*.x` (which covers x too); use `every`, most specific first.
    `any_sender` are those whose sender domains hold `*`; they alone cover the null sender. `by_address` gives with
    `every` the connectors of all networks that hold the address, with `find` those of the smallest only.
    `by_organisation` are those that trust an organisation of this installation; nothing else finds them (1.1).
    """

    by_certificate: CertificateNames[InboundConnector]
    by_address: NetworkMap[tuple[InboundConnector, ...]]
    by_sender: DomainMap[tuple[InboundConnector, ...]]
    any_sender: tuple[InboundConnector, ...] = ()
    by_organisation: Mapping[str, tuple[InboundConnector, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutboundIndex:
    """The enabled, not rule-scoped outbound connectors of one organisation by rank (specification 2.4).

    `exact` by recipient domain, `wildcard` by the x of `*.x` (covers names below x only), then `all_accepted`, then
    `everything` (`*`), `central` for route_all_messages_via_on_premises. Ties are sorted already: best first.
    `named` holds every connector of the organisation, disabled and rule-scoped ones too, by name.
    """

    exact: Mapping[str, tuple[OutboundConnector, ...]]
    wildcard: DomainMap[tuple[OutboundConnector, ...]]
    all_accepted: tuple[OutboundConnector, ...]
    everything: tuple[OutboundConnector, ...]
    central: tuple[OutboundConnector, ...]
    named: Mapping[str, OutboundConnector]


@dataclass(frozen=True, slots=True)
class PeerLists:
    """IP allow and block list; values are the entry as the administrator wrote it (for the explanation).

    `gateways` are the perimeter gateways of an organisation, which count as allowed (specification 1.3).
    """

    allow: NetworkMap[str]
    block: NetworkMap[str]
    gateways: NetworkMap[str] = field(default_factory=NetworkMap)


@dataclass(frozen=True, slots=True)
class OrganisationPolicy:
    """All that one organisation wants, compiled. `inbound` holds every inbound connector by name, disabled ones too.

    `accepted` are its accepted domains, proven or not; `postmaster` is the address that generated mail comes from;
    `remote` finds the remote domain for a destination, None where the defaults hold. `store` is where its mailboxes
    lie: the enabled one, else a disabled one (mail waits), else None (as the operator has it).
    `anti_phishing` is the enabled anti-phishing policy, None where nobody asks who the author is.
    `trusted_sealers` are the domains whose ARC seals it trusts.
    `rewriting_domain` is the default accepted domain if it receives here: senders of mail that is sent on are rewritten
    under it; "" if there is none.
    `home_domain` is the domain whose mailboxes the coexistence domain addresses: the default one of the others; "" if
    there is none. `hybrid` tells that an enabled on-premises inbound connector has the hybrid switch, so that those
    without it do not stand for the other side.
    `signing` are the enabled DKIM signing configurations by domain, `signing_domain` is the one of them that signs for
    domains without ("" where there is none). `enhanced` says how the true source of mail over a connector is looked
    for, by the name of the connector.
    """

    organisation: Organisation
    partners: PartnerIndex
    outbound: OutboundIndex
    peers: PeerLists
    rules: CompiledRules
    inbound: Mapping[str, InboundConnector]
    accepted: tuple[AcceptedDomain, ...]
    postmaster: str
    remote: DomainMap[RemoteDomain] = field(default_factory=DomainMap)
    store: MailboxStore | None = None
    anti_phishing: AntiPhishingPolicy | None = None
    trusted_sealers: frozenset[str] = frozenset()
    rewriting_domain: str = ""
    home_domain: str = ""
    hybrid: bool = False
    signing: Mapping[str, DkimSigningConfig] = field(default_factory=dict)
    signing_domain: str = ""
    enhanced: Mapping[str, EnhancedFiltering] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """The compiled policy of the whole installation.

    `domains` finds the most specific accepted domain that covers a recipient domain (exact, or by
    match_sub_domains); only proven or vouched domains are in it. `own_by_certificate` finds the enabled on-premises
    inbound connectors by a name of the certificate, `own_by_address` by peer address (of all networks that hold it).
    `alone` are the (organisation, name) of those whose certificate attributes mail by itself (specification 2.3
    rule 8). `hostname` is our own name; `warnings` is what the linter advises. `keeps_mailboxes` tells that the
    operator's file says where hosted mailboxes lie.
    """

    digest: str
    revision: int
    hostname: str
    limits: Limits
    operator_peers: PeerLists
    domains: DomainMap[AcceptedDomain]
    own_by_certificate: CertificateNames[InboundConnector]
    own_by_address: NetworkMap[tuple[InboundConnector, ...]]
    organisations: Mapping[str, OrganisationPolicy] = field(default_factory=dict)
    alone: frozenset[tuple[str, str]] = frozenset()
    warnings: tuple[Problem, ...] = ()
    keeps_mailboxes: bool = False

    def accepted(self, domain: str) -> AcceptedDomain | None:
        """The accepted domain that covers this recipient domain (A-label), or None."""
        return self.domains.find(domain)

    def of(self, organisation: str) -> OrganisationPolicy:
        """One organisation's policy. KeyError if there is none of that name."""
        return self.organisations[organisation]

    def postmaster(self, organisation: str) -> str:
        """The address that reports of this organisation come from; the installation's for an unknown one."""
        found = self.organisations.get(organisation)
        return found.postmaster if found is not None else f"postmaster@{self.hostname}"

    def own_servers_named(self, name: str) -> tuple[InboundConnector, ...]:
        """The enabled on-premises connectors whose certificate name this name of a certificate satisfies."""
        return self.own_by_certificate.find(name)

    def is_own_address(self, connector: InboundConnector, packed: bytes) -> bool:
        """Whether the peer's address is one of this on-premises connector's."""
        return any(connector is found for found in self.own_by_address.find(packed) or ())

    def proves_alone(self, connector: InboundConnector) -> bool:
        """Whether the connector's certificate attributes mail of any sender (specification 2.3 rule 8).

        False: the name does not itself tie back to an accepted domain; then only mail with an own sender domain is
        the organisation's (specification 2.2 A2).
        """
        return (connector.organisation, connector.name) in self.alone
