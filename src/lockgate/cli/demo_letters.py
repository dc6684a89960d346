"""The messages of the demonstration: who sends what to whom, and what should become of each and why."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

import msgspec

OUTSIDE, OURS, BLOCKED, BANK = "127.0.0.10", "127.0.0.3", "127.0.0.66", "127.0.0.20"
_PATIENCE = 15.0


class Letter(msgspec.Struct, frozen=True):
    """One message, and what should become of it.

    `expect` is the status of each recipient in the trace ("" stands for all of them, where the message was refused
    before or after them); `because` and `then` are words of the second and third line of its explanation. `site` is
    where copies should arrive, server or mailbox. `author` is who From says it is, if not the sender. `certificate` is
    shown by the client, `octets` are added to the body, and `smuggled` hides a second message behind a bare line feed.
    """

    what: str
    sender: str
    expect: Mapping[str, str]
    because: str
    then: str
    to: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    peer: str = OUTSIDE
    author: str = ""
    certificate: str = ""
    octets: int = 0
    smuggled: bool = False

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it is sent to."""
        return self.to or tuple(self.expect)


_ALICE, _ANN, _EVA = "alice@outside.test", "ann@contoso.test", "eva@contoso.test"

LETTERS = (
    Letter(
        "to a mailbox here, taken at the first try", _ALICE, {_EVA: "Delivered"}, "eva@contoso.test is a mailbox",
        "Deliver to mailbox", site=("eva",),
    ),
    Letter(
        "to an alias, whose mailbox is at headquarters", _ALICE, {"ann.smith@contoso.test": "Delivered"},
        "connector Headquarters", "Send to 127.0.0.1", site=("headquarters",),
    ),
    Letter(
        "to two: one mailbox is here, one at headquarters", _ALICE, {_EVA: "Delivered", _ANN: "Delivered"},
        "connector Headquarters", "Send to 127.0.0.1", site=("eva", "headquarters"),
    ),
    Letter(
        "to two people in two cities; a rule leads one of the copies to its site", _ALICE,
        {"luis@contoso.test": "Delivered", _ANN: "Delivered"}, "rule New Orleans by its own server",
        "Send to 127.0.0.1", site=("new-orleans", "headquarters"),
    ),
    Letter(
        "to a group, whose members are here, at headquarters and at a partner", _ALICE,
        {"sales@contoso.test": "Expanded", _EVA: "Delivered", _ANN: "Delivered", "buyer@partner.test": "Delivered"},
        "it has 3 members", "Send to 127.0.0.1", to=("sales@contoso.test",),
        site=("eva", "headquarters", "partner"),
    ),
    Letter(
        "to a mailbox that forwards, with its proof", _ALICE,
        {"rita@contoso.test": "Delivered", "rita@home.test": "Delivered"},
        "it is sent on for rita@contoso.test", "Send to mx.home.test", to=("rita@contoso.test",), site=("home",),
    ),
    Letter(
        "from our own server to a partner, TLS forced", _ANN, {"buyer@partner.test": "Delivered"},
        "connector Partner", "with TLSv1.3", site=("partner",), peer=OURS,
    ),
    Letter(
        "to a partner who has no TLS, TLS forced", _ANN, {"sam@plain.test": "Pending"}, "connector Plain partner",
        "STARTTLS", peer=OURS,
    ),
    Letter(
        "to a partner who shows a wrong certificate", _ANN, {"kim@impostor.test": "Pending"}, "connector Impostor",
        "certificate", peer=OURS,
    ),
    Letter(
        "from a partner with its certificate", "clerk@bank.test", {_EVA: "Delivered"}, "eva@contoso.test is a mailbox",
        "Deliver to mailbox", site=("eva",), peer=BANK, certificate="mail.bank.test",
    ),
    Letter(
        "as that partner, with a wrong certificate", "clerk@bank.test", {_EVA: "Refused"}, "partner connector Bank",
        "5.7.", peer=BANK, certificate="mail.stranger.test",
    ),
    Letter(
        "to somebody unknown", _ALICE, {"nobody@contoso.test": "Refused"}, "it does not know nobody@contoso.test",
        "5.4.1",
    ),
    Letter(
        "a relay attempt", _ALICE, {"eve@elsewhere.test": "Refused"}, "elsewhere.test is no accepted domain",
        "5.4.1",
    ),
    Letter(
        "from a blocked address", "mallory@outside.test", {"": "Refused"}, "it names 127.0.0.66", "5.7.513",
        to=(_ANN,), peer=BLOCKED,
    ),
    Letter(
        "a spoof: From names somebody else's bank", "mallory@outside.test", {_EVA: "Refused"},
        "nothing that passed is aligned with payments.test", "5.7.509", author="service@payments.test",
    ),
    Letter(
        "a spoof: From names our own chief", "mallory@outside.test", {_EVA: "Refused"},
        "From names contoso.test, a domain of this organisation", "5.7.68", author="chief@contoso.test",
    ),
    Letter(
        "with a second message smuggled behind a bare line feed", "mallory@outside.test", {"": "Refused"},
        "line ends", "5.6.11", to=(_ANN,), smuggled=True,
    ),
    Letter(
        "larger than allowed", _ALICE, {_ANN: "Refused"}, "contoso allows 100000", "5.3.4", octets=120_000,
    ),
)  # fmt: skip


def send(letter: Letter, port: int, papers: Path) -> str:
    """Send it as any program would; the answer that settled it."""
    try:
        with smtplib.SMTP("127.0.0.1", port, "client.test", _PATIENCE, source_address=(letter.peer, 0)) as client:
            if letter.certificate:
                client.starttls(context=_showing(papers / f"{letter.certificate}.pem", papers / "authority.pem"))
            client.ehlo()
            code, text = client.mail(letter.sender)
            for recipient in letter.recipients:
                if code < 400:
                    code, text = client.rcpt(recipient)
            return _said(code, text) if code >= 400 else _sent(client, letter)
    except smtplib.SMTPConnectError as refused:
        said = refused.smtp_error
        return _said(refused.smtp_code, said if isinstance(said, bytes) else str(said).encode())
    except (OSError, smtplib.SMTPException) as trouble:
        return f"no answer: {trouble}"


def _sent(client: smtplib.SMTP, letter: Letter) -> str:
    content = _content(letter)
    if not letter.smuggled:
        return _said(*client.data(content))
    code, text = client.docmd("DATA")
    if code >= 400:
        return _said(code, text)
    # By hand, because smtplib mends line ends: a server that takes "LF . CR LF" for the end sees a second message here.
    hidden = b"MAIL FROM:<ceo@contoso.test>\r\nRCPT TO:<ann@contoso.test>\r\nDATA\r\nPay at once.\r\n.\r\n"
    client.send(content + b"\n.\r\n" + hidden)
    return _said(*client.getreply())


def _content(letter: Letter) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = letter.author or letter.sender, ", ".join(letter.recipients)
    message["Subject"] = letter.what
    line = "x" * 70 + "\n"
    message.set_content(f"This is the demonstration: {letter.what}.\n" + line * (letter.octets // len(line)))
    return message.as_bytes().replace(b"\n", b"\r\n")


def _showing(chain: Path, authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = False  # it dials an address
    context.load_cert_chain(chain, chain.with_suffix(".key"))
    return context


def _said(code: int, text: bytes) -> str:
    return f"{code} {text.decode('utf-8', 'replace')}".replace("\n", " ")
