"""Services that send the mail of many customers from the same addresses, under certificates in their own name.

An address of theirs proves that somebody is a customer there, not who. The larger ranges and names, as their SPF
records and their servers show them; a smaller service that is not listed is not found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lockgate.policy.networks import Network, parse_networks
from lockgate.policy.tries import NetworkMap


class SharedHost(NamedTuple):
    """One service: the domains in which its mail hosts and the names of its certificates lie, and its networks."""

    name: str
    domains: tuple[str, ...]
    networks: tuple[str, ...] = ()


SHARED_HOSTS = (
    SharedHost(
        "Exchange Online",
        ("protection.outlook.com", "mx.microsoft"),
        (
            "40.92.0.0/15", "40.107.0.0/16", "52.100.0.0/15", "52.102.0.0/16", "52.103.0.0/17", "104.47.0.0/17",
            "2a01:111:f400::/48", "2a01:111:f403::/48",
        ),
    ),
    SharedHost(
        "Google Workspace",
        ("google.com", "googlemail.com", "gmail.com"),
        (
            "35.190.247.0/24", "64.233.160.0/19", "66.102.0.0/20", "66.249.80.0/20", "72.14.192.0/18", "74.125.0.0/16",
            "108.177.8.0/21", "172.217.0.0/19", "173.194.0.0/16", "209.85.128.0/17", "216.58.192.0/19",
            "216.239.32.0/19", "2607:f8b0:4000::/36", "2a00:1450:4000::/36",
        ),
    ),
    SharedHost(
        "Amazon SES",
        ("amazonaws.com", "amazonses.com"),
        (
            "23.249.208.0/20", "23.251.224.0/19", "54.240.0.0/18", "69.169.224.0/20", "76.223.128.0/19",
            "76.223.176.0/20", "199.127.232.0/22", "199.255.192.0/22",
        ),
    ),
    SharedHost(
        "SendGrid",
        ("sendgrid.net",),
        (
            "50.31.32.0/19", "149.72.0.0/16", "159.183.0.0/16", "167.89.0.0/17", "168.245.0.0/17", "192.254.112.0/20",
            "198.21.0.0/21", "198.37.144.0/20", "208.117.48.0/20",
        ),
    ),
    SharedHost(
        "Mailgun",
        ("mailgun.org",),
        ("69.72.32.0/20", "143.55.224.0/20", "159.135.224.0/20", "166.78.68.0/22", "198.61.254.0/23"),
    ),
    SharedHost("Proofpoint", ("pphosted.com",)),
    SharedHost("Mimecast", ("mimecast.com",)),
)  # fmt: skip

_BY_NETWORK: NetworkMap[SharedHost] = NetworkMap(
    (network, host) for host in SHARED_HOSTS for text in host.networks for network in parse_networks(text)
)


def sharing(networks: Iterable[Network]) -> SharedHost | None:
    """The service whose range holds the beginning of one of these networks, or None."""
    return next((host for network in networks if (host := _BY_NETWORK.find(network.packed)) is not None), None)


def host_of(name: str) -> SharedHost | None:
    """The service to which a mail host of this name (A-label, lower case) belongs, or None."""
    return next((host for host in SHARED_HOSTS if any(below(name, domain) for domain in host.domains)), None)


def below(name: str, domain: str) -> bool:
    """Whether the name is the domain or lies below it."""
    return name == domain or name.endswith(f".{domain}")
