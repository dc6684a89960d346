"""Three organisations and their partners behind one running service: what the tests of inbound connectors share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.authority import CLIENT, DAY, EMAIL, SERVER, Identity, make
from lockgate.flow.asking import Explain, Kind
from lockgate.wire.certificates import certificate_facts
from peers.partner import Partner
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer

LISTED, OTHER, GATEWAY = "203.0.113.7", "198.51.100.9", "203.0.113.99"
ANN, EVA, LEA, INI = "ann@contoso.com", "eva@fabrikam.com", "lea@locked.test", "ini@initial.test"
NAME = "mail.bank.test"

_ORGANISATIONS = """
[[organisation]]
name = "contoso"
[[organisation]]
name = "fabrikam"
[[organisation]]
name = "locked"
"""
_DOMAIN = """
[[accepted_domain]]
organisation = "{0}"
domain_name = "{1}"
vouched_by_operator = true
[[outbound_connector]]
organisation = "{0}"
name = "To {1}"
connector_type = "on_premises"
recipient_domains = ["{1}"]
use_mx_record = false
smart_hosts = ["{2}"]
"""
DOMAINS = (
    ("contoso", "contoso.com"), ("fabrikam", "fabrikam.com"), ("locked", "locked.test"), ("locked", "initial.test"),
)  # fmt: skip
PEOPLE = {
    "contoso": "address,kind\nann@contoso.com,mail_user\n",
    "fabrikam": "address,kind\neva@fabrikam.com,mail_user\n",
    "locked": "address,kind\nlea@locked.test,mail_user\nini@initial.test,mail_user\n",
}


def inbound(name: str, organisation: str = "contoso", **values: Any) -> str:
    """An inbound connector as a document."""
    lines = ["[[inbound_connector]]", f'name = "{name}"', f'organisation = "{organisation}"']
    for key, value in values.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')
        lines.append(f"{key} = {shown}" if isinstance(value, bool | list) else f'{key} = "{value}"')
    return "\n".join([*lines, ""])


def base_policy(host: str) -> str:
    return _ORGANISATIONS + "".join(_DOMAIN.format(*one, host) for one in DOMAINS)


@dataclass
class Papers:
    """Certificates of this run: what an honest or a careless partner might show."""

    folder: Path
    root: Identity
    partner_root: Identity
    kinds: dict[str, Identity]
    files: dict[str, tuple[str, str]]
    pins: dict[str, str]

    @classmethod
    def made(cls, folder: Path) -> Papers:
        root, partner_root, stranger = (make(name, ca=True) for name in ("Public Root", "Partner Root", "Nobody"))
        middle = make("Issuing CA", issuer=root, ca=True)
        below = make(NAME, [NAME], issuer=middle)
        both = [SERVER, CLIENT]
        kinds = {
            "right": make(NAME, [NAME], issuer=root, purposes=both),
            "right, new key": make(NAME, [NAME], issuer=root, purposes=both),
            "wildcard": make("w", ["*.bank.test"], issuer=root),
            "several names": make("x", ["mx.other.test", NAME], issuer=root),
            "server purpose only": make(NAME, [NAME], issuer=root, purposes=[SERVER]),
            "client purpose only": make(NAME, [NAME], issuer=root, purposes=[CLIENT]),
            "with intermediate": below,
            "wrong name": make("mail.other.test", ["mail.other.test"], issuer=root, purposes=both),
            "common name only": make(NAME, issuer=root),
            "expired": make(NAME, [NAME], issuer=root, start=-3 * DAY, end=-DAY),
            "not yet valid": make(NAME, [NAME], issuer=root, start=DAY, end=3 * DAY),
            "unknown CA": make(NAME, [NAME], issuer=stranger),
            "intermediate missing": Identity(below.certificate, below.key),
            "self-signed": make(NAME, [NAME]),
            "self-signed, old key": make(NAME, [NAME]),
            "mail purpose": make(NAME, [NAME], issuer=root, purposes=[EMAIL]),
            "partner's CA": make(NAME, [NAME], issuer=partner_root),
            "own server": make("mail.contoso.com", ["mail.contoso.com", "contoso.com"], issuer=root),
            "fabrikam's server": make("fabrikam.com", ["fabrikam.com"], issuer=root),
            "locked's server": make("locked.test", ["locked.test"], issuer=root),
            "us": make(HOSTNAME, [HOSTNAME], issuer=root),
        }
        files = {kind: one.write(folder, kind.replace(" ", "-").replace("'", "")) for kind, one in kinds.items()}
        pins = {kind: certificate_facts(one.der_chain[0]).spki_sha256 for kind, one in kinds.items()}
        for name, one in (("root", root), ("partner", partner_root)):
            (folder / f"{name}.pem").write_bytes(one.chain_pem)
        return cls(folder, root, partner_root, kinds, files, pins)

    def ca(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


@dataclass
class World:
    service: Service
    sink: SmtpPeer
    papers: Papers
    policy: str

    def peer(self, address: str, kind: str = "", *, tls: bool = True, version: str = "") -> Partner:
        """A peer that shows this kind of certificate ("": none)."""
        return Partner(self.service, address, self.papers.files[kind] if kind else None, tls=tls, version=version)

    def why(self, text: str) -> str:
        """What `explain` tells of a refusal, by the id at the end of the reply, as the terminal prints it."""
        connection = text.rpartition("(id ")[2].rstrip(")")
        self.service.until(lambda: self.service.answer(Explain(connection)).kind == Kind.OK, "the refusal is written")
        code, out, err = self.service.command("explain", connection)
        assert code == 0, err
        return out

    def reload(self, policy: str) -> None:
        """Put it in force, and wait until the edge has it."""
        revision = int(self.service.reload(policy)["revision"])

        def seen() -> bool:
            with self.service.client("192.0.2.200") as client:
                assert client.letter("probe@probe.test", EVA)[0] == 250
            return int(self.service.trace(sender="probe@probe.test")[0]["revision"]) >= revision

        self.service.until(seen, f"revision {revision} is in force", pause=0.2)


@contextlib.contextmanager
def world_of(folder: Path, connectors: Any, delivery: dict[str, Any] | None = None, **operator: Any) -> Iterator[World]:
    """A running service; `connectors(papers)` gives the documents that come after the organisations."""
    folder.mkdir(exist_ok=True)
    papers = Papers.made(folder)
    with SmtpPeer() as sink:
        policy = base_policy(sink.host) + connectors(papers)
        chain, key = papers.files["us"]
        with running(
            folder / "service", policy, recipients=PEOPLE, certificate=[{"chain": chain, "key": key}],
            delivery={"ca_bundle": papers.ca("root"), **(delivery or {})}, **operator,
        ) as service:  # fmt: skip
            yield World(service, sink, papers, policy)
