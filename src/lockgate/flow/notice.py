"""Mail of the installation itself to its operator: composed, routed like any other, and put into the queue.

From the null sender, so that nothing ever answers it; and never by a next hop that it complains about.
"""

from __future__ import annotations

import base64
import datetime as dt
from email.utils import format_datetime

import msgspec

from lockgate.flow.own_mail import NotSent, OwnMail, Written
from lockgate.mail.address import Address
from lockgate.mail.events import Event, Happening
from lockgate.policy.policy import Policy


class Letter(msgspec.Struct, frozen=True):
    """What is to be said to one address; `lines` are plain text. `avoid` names lanes it must not take."""

    to: Address
    subject: str
    lines: tuple[str, ...]
    avoid: frozenset[str] = frozenset()


class Notices(msgspec.Struct, frozen=True):
    """Writes letters and has them queued; wired once by the app."""

    mail: OwnMail

    async def send(self, policy: Policy, letter: Letter) -> str:
        """Queue the letter; its id, durable by then. Raises NotSent, Unavailable."""
        now, name = self.mail.clock.now(), self.mail.new_id()
        accepted = policy.accepted(letter.to.domain)
        organisation = accepted.organisation if accepted else next(iter(policy.organisations), "")
        if not organisation:
            raise NotSent("there is no organisation whose ways out could be used")
        text = self._text(policy, organisation, letter, name, now)
        sent = Event(now, Happening.RECEIVE, "alert of the service itself")
        await self.mail.queue(policy, organisation, Written(name, letter.to, text, sent, avoid=letter.avoid))
        return name

    def _text(self, policy: Policy, organisation: str, letter: Letter, name: str, now: float) -> bytes:
        when = format_datetime(dt.datetime.fromtimestamp(now, dt.UTC))
        head = (
            f"From: Lockgate <{policy.postmaster(organisation)}>",
            f"To: <{letter.to.text}>",
            f"Date: {when}",
            f"Message-ID: <{name}@{policy.hostname}>",
            f"Subject: {_ascii(letter.subject)[:200]}",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: base64",
        )
        text = "\r\n".join(letter.lines) + "\r\n"
        return "\r\n".join((*head, "", "")).encode("ascii") + base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")


def _ascii(text: str) -> str:
    """Printable ASCII on one line: a subject is made of names that strangers may have chosen."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
