"""The files of the demonstration: an organisation with mailboxes here and at two sites, and its partners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec


class Place(msgspec.Struct, frozen=True):
    """What is known only on the spot: our port, those of name server and other servers, the certificate authority."""

    port: int
    names: int
    ports: Mapping[str, int]
    authority: Path


ZONE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "outside.test": {"TXT": ("v=spf1 ip4:127.0.0.10 -all",)},
    "_dmarc.outside.test": {"TXT": ("v=DMARC1; p=reject",)},
    "payments.test": {"TXT": ("v=spf1 ip4:192.0.2.25 -all",)},
    "_dmarc.payments.test": {"TXT": ("v=DMARC1; p=reject",)},
    "home.test": {"MX": ("10 mx.home.test.",)},
    "mx.home.test": {"A": ("127.0.0.1",)},
}
"""What the name server knows: who may send for whom, and where mail for a private mailbox goes."""

OPERATOR = """\
# The operator's file of the demonstration: what cannot change while Lockgate runs.
hostname = "mx.contoso.test"
state_directory = "state"
policy_directory = "policy"
workers = 1

[[listener]]
address = "127.0.0.1"
port = {port}

[[certificate]]
chain = "tls/mx.contoso.test.pem"
key = "tls/mx.contoso.test.key"

[mailboxes]
directory = "mail"              # Maildirs of the recipients that are of the kind mailbox

[dns]
resolvers = ["127.0.0.1"]       # a name server of the demonstration: it needs no names from outside
port = {names}
timeout = "2s"

[delivery]
mx_port = {mx}
first_retry = "2s"
retry_steps = ["5s", "30s"]

[outgoing]
allow = ["127.0.0.0/8"]         # the other servers of the demonstration are on this machine

[log]
format = "lines"
destination = "lockgate.log"
"""

POLICY = """\
# What contoso.test wants. `lockgate --config run/lockgate.toml check` reads this; `... apply` puts it in force.

[operator]
ip_block_list = ["127.0.0.66"]

[[organisation]]
name = "contoso"
max_receive_size = 100000

[[accepted_domain]]
domain_name = "contoso.test"
default = true
vouched_by_operator = true

# Mail whose author is not who it says is refused or held, as the author's domain wishes.
[[anti_phishing_policy]]
name = "Default"
own_domain_spoof_action = "reject"
unclear_author_action = "reject"

# What leaves in our name is signed, and what is sent on for others is sealed with the same key.
[[dkim_signing_config]]
domain_name = "contoso.test"

# Our own server, known by its address, may send for us to anybody.
[[inbound_connector]]
name = "Headquarters sends"
connector_type = "on_premises"
sender_domains = ["contoso.test"]
sender_ip_addresses = ["127.0.0.3"]

# Mail for our domains goes to headquarters ...
[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.test", "*.contoso.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{headquarters}"]
tls_settings = "opportunistic"

# ... but the rule below takes the mail of those who work in New Orleans by its own door.
[[outbound_connector]]
name = "New Orleans"
connector_type = "on_premises"
is_transport_rule_scoped = true
use_mx_record = false
smart_hosts = ["127.0.0.1:{new_orleans}"]
tls_settings = "opportunistic"

# The bank's mail is taken only over TLS and with its certificate.
[[inbound_connector]]
name = "Bank"
connector_type = "partner"
sender_domains = ["bank.test"]
tls_sender_certificate_name = "mail.bank.test"
restrict_domains_to_certificate = true
ca_file = {authority}

# To partners mail leaves over TLS, to a server that proves its name, or it waits.
[[outbound_connector]]
name = "Partner"
connector_type = "partner"
recipient_domains = ["partner.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{partner}"]
tls_settings = "domain_validation"
tls_domain = "mx.partner.test"
ca_file = {authority}

[[outbound_connector]]
name = "Plain partner"
connector_type = "partner"
recipient_domains = ["plain.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{plain}"]
tls_settings = "encryption_only"

[[outbound_connector]]
name = "Impostor"
connector_type = "partner"
recipient_domains = ["impostor.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{impostor}"]
tls_settings = "domain_validation"
tls_domain = "mx.impostor.test"
ca_file = {authority}

[[mail_flow_rule]]
name = "New Orleans by its own server"
recipient_ad_attribute_contains_words = {{city = ["New Orleans"]}}
route_message_outbound_connector = "New Orleans"
"""

RECIPIENTS = """\
address,kind,aliases,display_name,city,forwarding_smtp_address,members
eva@contoso.test,mailbox,,Eva Brandt,Seattle,,
ann@contoso.test,mail_user,ann.smith@contoso.test,Ann Smith,Seattle,,
luis@contoso.test,mail_user,,Luis Ortega,New Orleans,,
rita@contoso.test,mailbox,,Rita Alba,Seattle,rita@home.test,
sales@contoso.test,distribution_group,,Sales,,,eva@contoso.test ann@contoso.test buyer@partner.test
"""


def documents(place: Place) -> dict[str, str]:
    """Every file by its name in the folder."""
    ports = {name.replace("-", "_"): port for name, port in place.ports.items()}
    authority = json.dumps(str(place.authority.resolve()), ensure_ascii=False)  # JSON's strings are TOML's as well
    return {
        "lockgate.toml": OPERATOR.format(port=place.port, names=place.names, mx=place.ports["home"]),
        "policy/contoso.toml": POLICY.format(authority=authority, **ports),
        "recipients.csv": RECIPIENTS,
    }
