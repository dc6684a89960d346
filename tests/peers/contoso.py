"""The organisation of most tests of the running service: one domain, whose mail goes to one server of its own."""

from __future__ import annotations

_POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
domain_type = "{domain_type}"
vouched_by_operator = true

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
{connector}
"""


def contoso(host: str, *, domain_type: str = "authoritative", connector: str = "") -> str:
    """Its policy; `host` is its server, `connector` are further lines of the connector to it."""
    return _POLICY.format(host=host, domain_type=domain_type, connector=connector)


def mail_users(*names: str) -> str:
    """The recipients NAME@contoso.com as CSV."""
    return "address,kind\n" + "".join(f"{name}@contoso.com,mail_user\n" for name in names)
