"""The on-premises side of a hybrid: a Postfix with mailboxes that knows who lives in Lockgate, and routes both ways."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from peers.certificates import Authority
from peers.postfix import Postfix
from peers.service import HOSTNAME

NAME = "mail.contoso.com"
"""What its certificate says."""

NOBODY = 65534


class OnPremises(Postfix):
    """Mailboxes of contoso.com; mail for those who live in Lockgate goes to their target addresses over verified TLS.

    `here` are its own mailboxes, `there` the names of those who live in Lockgate (targets in `coexistence`). Mail for
    the Internet is given to `internet` ("host:port"), that for *.byus.test to Lockgate, which is its smart host then.
    """

    def __init__(
        self, ca: Authority, internet: str, here: Iterable[str], there: Iterable[str],
        coexistence: str = "contoso.mail.example", **settings: object,
    ) -> None:  # fmt: skip
        papers = ca.issue(NAME)
        self.mail = Path()
        self._internet, self._coexistence = internet, coexistence
        super().__init__(
            internet,
            **{
                "myhostname": NAME,
                "transport_maps": "",
                "default_transport": self._to(internet),
                "virtual_mailbox_domains": "contoso.com",
                "virtual_mailbox_maps": self._table({f"{one}@contoso.com": f"{one}/" for one in here}),
                "virtual_alias_maps": self._table({f"{one}@contoso.com": f"{one}@{coexistence}" for one in there}),
                "virtual_uid_maps": f"static:{NOBODY}",
                "virtual_gid_maps": f"static:{NOBODY}",
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": papers.chain,
                "smtpd_tls_key_file": papers.key,
                "smtpd_tls_CAfile": ca.file,
                "smtpd_tls_ask_ccert": "yes",
                "smtpd_tls_received_header": "yes",
                "smtp_tls_security_level": "may",
                "smtp_tls_CAfile": ca.file,
                "smtp_tls_cert_file": papers.chain,
                "smtp_tls_key_file": papers.key,
                "max_idle": "1s",
                "minimal_backoff_time": "1s",
                "maximal_backoff_time": "2s",
                "queue_run_delay": "1s",
                **settings,
            },
        )

    def sends_back(self, port: int, *, strips: str = "") -> None:
        """From now on it keeps no mailboxes, and gives mail for contoso.com to Lockgate; fields `strips` are lost."""
        us = f"[127.0.0.1]:{port}"
        self.leads_to(
            port, virtual_mailbox_domains="", virtual_alias_maps="", relay_domains="contoso.com",
            transport_maps=self._table({"contoso.com": f"smtp:{us}"}),
            header_checks=self.header_checks(f"{strips}:") if strips else "",
        )  # fmt: skip

    def header_checks(self, begins: str) -> str:
        """A setting by which fields whose names begin so are taken out."""
        checks = self._folder / "header_checks"
        checks.write_text(f"/^{begins}/ IGNORE\n")
        return f"regexp:{checks}"

    def leads_to(self, port: int, **settings: object) -> None:
        """From now on mail for the other side goes to this port of Lockgate, by verified TLS or not at all."""
        us = f"[127.0.0.1]:{port}"
        ways = self._table({self._coexistence: f"smtp:{us}", "byus.test": f"smtp:{us}"})
        policy = self._table({us: f"secure match={HOSTNAME}"})
        self.reload(**{"transport_maps": ways, "smtp_tls_policy_maps": policy, **settings})

    def mailbox(self, name: str) -> list[bytes]:
        """The messages in one of its mailboxes."""
        folder = self._folder / "mail" / name / "new"
        return [file.read_bytes() for file in sorted(folder.glob("*"))] if folder.is_dir() else []

    def arrived(self, name: str, mark: str, patience: float = 20.0) -> bytes:
        """The message in a mailbox whose subject is `mark`, once it is there."""
        deadline = time.monotonic() + patience
        while True:
            for message in self.mailbox(name):
                if f"\nSubject: {mark}\n".encode() in message:
                    return message
            assert time.monotonic() < deadline, f"no '{mark}' for {name}:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def _start(self) -> bool:
        mail = self._folder / "mail"
        mail.mkdir(exist_ok=True)
        shutil.chown(mail, NOBODY, NOBODY)
        self._settings = {**self._settings, "virtual_mailbox_base": mail}
        return super()._start()

    @staticmethod
    def _to(host: str) -> str:
        name, _, port = host.rpartition(":")
        return f"smtp:[{name}]:{port}"

    @staticmethod
    def _table(rows: dict[str, str]) -> str:
        inside = ", ".join(f"{{{key} = {value}}}" for key, value in rows.items())
        return f"inline:{{ {inside} }}" if rows else ""
