"""The files of the demonstration: an organisation with a main site, a second site, and a partner."""

from __future__ import annotations

OPERATOR = """\
# The operator's file of the demonstration: what cannot change while Lockgate runs.
hostname = "mx.contoso.test"
state_directory = "state"
policy_directory = "policy"
workers = 1

[[listener]]
address = "127.0.0.1"
port = {port}

[dns]
resolvers = ["127.0.0.1"]       # nobody answers there: the demonstration needs no names from outside
timeout = "1s"

[delivery]
first_retry = "2s"
retry_steps = ["5s", "30s"]

[outgoing]
allow = ["127.0.0.0/8"]         # the other servers of the demonstration are on this machine

[log]
format = "lines"
destination = "lockgate.log"
"""

POLICY = """\
# What contoso.test wants. `lockgate --config run/lockgate.toml check` reads this; `... reload` puts it in force.

[operator]
ip_block_list = ["127.0.0.66"]

[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.test"
default = true
vouched_by_operator = true

[[accepted_domain]]
domain_name = "nola.contoso.test"
vouched_by_operator = true

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
smart_hosts = ["127.0.0.1:{hq}"]
tls_settings = "opportunistic"

# ... but the rule below takes New Orleans' mail by its own door.
[[outbound_connector]]
name = "New Orleans"
connector_type = "on_premises"
is_transport_rule_scoped = true
use_mx_record = false
smart_hosts = ["127.0.0.1:{nola}"]
tls_settings = "opportunistic"

[[outbound_connector]]
name = "Partner"
connector_type = "partner"
recipient_domains = ["partner.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{partner}"]
tls_settings = "opportunistic"

[[mail_flow_rule]]
name = "New Orleans by its own server"
recipient_domain_is = ["nola.contoso.test"]
route_message_outbound_connector = "New Orleans"
"""

RECIPIENTS = """\
address,kind,aliases,display_name,city
ann@contoso.test,mail_user,ann.smith@contoso.test,Ann Smith,Seattle
luis@nola.contoso.test,mail_user,,Luis Ortega,New Orleans
"""
