"""A hybrid of two sides: Lockgate with mailboxes of its own, a Postfix as the on-premises side, and the Internet."""

from __future__ import annotations

import contextlib
import re
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.certificates import Authority
from peers.client import letter
from peers.names import Names
from peers.onpremises import NAME, OnPremises
from peers.postfix import need_postfix
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import Mail, SmtpPeer

APPLICATION = "192.0.2.80"
"""An own server of this side: what people here send by."""

POLICY = """
[[organisation]]
name = "contoso"
reject_direct_send = false

[[accepted_domain]]
domain_name = "contoso.com"
domain_type = "{domain_type}"
default = true
vouched_by_operator = true

[[accepted_domain]]
domain_name = "contoso.mail.example"
coexistence = true
vouched_by_operator = true

[[inbound_connector]]
name = "From on-premises"
connector_type = "on_premises"
sender_domains = ["*"]
tls_sender_certificate_name = "*.contoso.com"
ca_file = "{ca}"
cloud_services_mail_enabled = true

[[inbound_connector]]
name = "Application"
connector_type = "on_premises"
sender_domains = ["*"]
sender_ip_addresses = ["192.0.2.80"]
treat_messages_as_internal = true

[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = {by_mx}
smart_hosts = [{host}]
tls_settings = "domain_validation"
tls_domain = "{name}"
ca_file = "{ca}"
certificate_file = "{chain}"
key_file = "{key}"
cloud_services_mail_enabled = true
route_all_messages_via_on_premises = {central}
"""
PEOPLE = (
    "address,kind,aliases,forwarding_smtp_address,deliver_to_mailbox_and_forward,city\n"
    "david@contoso.com,mailbox,,,,Seattle\n"
    "frank@contoso.com,mailbox,,frank@home.test,true,Bonn\n"
    "julie@contoso.com,mail_user,j@contoso.com,,,Boston\n"
)
HERE, THERE = ("david", "frank"), ("julie",)
OUTSIDE = "x@home.test"


@dataclass
class Hybrid:
    """Both sides and the Internet. `mail` is the folder of the mailboxes here."""

    service: Service
    onprem: OnPremises
    internet: SmtpPeer
    names: Names
    policy: dict[str, Any]
    mail: Path

    def reload(self, *more: str, **policy: Any) -> int:
        """Another policy in force, at every worker."""
        told = self.service.reload(text({**self.policy, **policy}), *more)
        time.sleep(1.2)  # workers look twice a second
        return int(told["revision"])

    def from_internet(self, sender: str, *recipients: str, mark: str) -> str:
        """Mail that comes to Lockgate, which is the MX; its id."""
        return self.service.send(sender, *recipients, content=letter(sender, recipients[0], mark))

    def from_here(self, sender: str, *recipients: str, mark: str) -> str:
        """Mail that somebody whose mailbox is here sends; its id."""
        return self.service.send(sender, *recipients, content=letter(sender, recipients[0], mark), peer=APPLICATION)

    def to_premises(self, sender: str, *recipients: str, mark: str, fields: bytes = b"") -> None:
        """Mail that on-premises gets first: from its own people, or because it is the MX; with these header fields."""
        with smtplib.SMTP("127.0.0.1", self.onprem.port, timeout=20) as client:
            client.sendmail(sender, list(recipients), fields + letter(sender, recipients[0], mark))

    def here(self, name: str, mark: str, patience: float = 20.0) -> bytes:
        """The message in a mailbox here, once it is there."""
        return self._found(lambda: self.mailbox(name), mark, patience)

    def mailbox(self, name: str) -> list[bytes]:
        """The messages in a mailbox here."""
        folder = self.mail / "contoso" / "contoso.com" / name / "new"
        return [file.read_bytes() for file in sorted(folder.glob("*"))] if folder.is_dir() else []

    def outside(self, mark: str, recipient: str = "", patience: float = 20.0) -> Mail:
        """The message that reached the Internet, once it has."""
        deadline = time.monotonic() + patience
        while True:
            for mail in self.all_outside(mark):
                if not recipient or any(recipient in command for command in mail.rcpt):
                    return mail
            assert time.monotonic() < deadline, f"no '{mark}' outside:\n{self.service.said()}\n{self.onprem.log()}"
            time.sleep(0.05)

    def all_outside(self, mark: str) -> list[Mail]:
        """Every copy of it that reached the Internet."""
        return [mail for mail in self.internet.mails if f"Subject: {mark}\r\n".encode() in mail.content]

    def quiet(self, patience: float = 20.0) -> None:
        """Wait until nothing is under way on either side."""
        self.service.until(lambda: not self.service.queue(), "the queue is empty", patience)
        time.sleep(0.5)

    def _found(self, messages: Any, mark: str, patience: float) -> bytes:
        deadline = time.monotonic() + patience
        while True:
            for message in messages():
                if f"\nSubject: {mark}\n".encode() in message.replace(b"\r\n", b"\n"):
                    return message
            assert time.monotonic() < deadline, f"no {mark!r}:\n{self.service.said()}\n{self.onprem.log()[-4000:]}"
            time.sleep(0.05)


def path(message: bytes) -> list[str]:
    """The servers a message has passed, the first one first: "here" and "there"."""
    head = re.sub(rb"\r?\n[ \t]+", b" ", re.split(rb"\r?\n\r?\n", message)[0])
    found = re.findall(rb"^Received: .*? by (\S+) \((Lockgate|Postfix)[^)]*\)", head, re.MULTILINE)
    return ["here" if product == b"Lockgate" else "there" for _, product in reversed(found)]


def ids(message: bytes) -> list[str]:
    """The network message ids of our own passes, the first one first."""
    return [one.decode() for one in reversed(re.findall(rb"^X-Lockgate-Hop: [^;]+; (\S+?)\r?$", message, re.MULTILINE))]


def text(values: dict[str, Any]) -> str:
    """The policy with these values."""
    host = f'"{values["host"]}"' if values["host"] else ""
    return POLICY.format(**{**values, "host": host}, name=NAME)


@contextlib.contextmanager
def hybrid(folder: Path, *more: str, recipients: str = PEOPLE, **wishes: Any) -> Iterator[Hybrid]:
    """Both sides, up and connected. `wishes` are for the policy: central, domain_type, by_mx."""
    need_postfix()
    ca = Authority(folder)
    ours = ca.issue(HOSTNAME)
    mail = folder / "mail"
    mail.mkdir()
    exchangers = {"home.test": ["mx.home.test"], "byus.test": ["mx.home.test"]}
    with (
        SmtpPeer() as internet,
        Names(exchangers, {"mx.home.test": ["127.0.0.1"]}) as names,
        OnPremises(ca, internet.host, THERE, HERE) as onprem,
    ):
        policy: dict[str, Any] = {
            "ca": ca.file, "chain": ours.chain, "key": ours.key, "host": onprem.host, "central": "false",
            "domain_type": "authoritative", "by_mx": "false", **wishes,
        }  # fmt: skip
        with running(
            folder / "service", text(policy), *more, recipients=recipients, dns=names.settings,
            delivery={"mx_port": internet.port}, mailboxes={"directory": str(mail)},
            certificate=[{"chain": ours.chain, "key": ours.key}],
        ) as service:  # fmt: skip
            onprem.leads_to(service.port)
            yield Hybrid(service, onprem, internet, names, policy, mail)
