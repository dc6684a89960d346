"""One worker without sockets and disks: intake, judge, queue in memory, delivery and a courier of the test's choice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from lockgate.decision.judge import judge
from lockgate.flow.bounce import Bounce
from lockgate.flow.commit import Commit
from lockgate.flow.delivery import Carriage, Delivery
from lockgate.flow.hops import Pool, plan
from lockgate.flow.intake import Guest, Reception
from lockgate.flow.own_mail import OwnMail
from lockgate.flow.reconsider import Reconsider
from lockgate.flow.retry import Schedule
from lockgate.flow.rule_letters import RuleLetters
from lockgate.flow.rule_watch import RuleWatch
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.reply import Reply
from lockgate.policy.policy import Policy
from lockgate.seams import Courier
from lockgate.testing.builders import address, connection_of, people, policy_of, who_of
from lockgate.testing.clock import HandClock
from lockgate.testing.courier import RecordingCourier
from lockgate.testing.journal import ListJournal
from lockgate.testing.memory import MemorySpool

CONTOSO = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[outbound_connector]]
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
"""
OURS = "192.0.2.25"


class House:
    """Everything one worker has; attributes may be replaced before mail is sent."""

    def __init__(
        self, courier: Courier | None = None, *, policy: str = CONTOSO, rules: RuleWatch | None = None
    ) -> None:
        self.clock = HandClock()
        self.journal = ListJournal()
        self.spool = MemorySpool(self.clock, delay_notice=1800.0)
        self.courier = courier or RecordingCourier()
        self.policy: Policy = policy_of(policy)
        self.ask: Callable = people(who_of("contoso", "ben@contoso.com"), who_of("contoso", "amy@contoso.com"))
        self.judge: Callable = judge
        recorder = Recorder()
        numbers = itertools.count(1)
        pools = {"main": Pool("main", "", "", "mx.lockgate.test")}

        def ask(questions):
            return self.ask(questions)

        def judge_with(*given):
            return self.judge(*given)

        def new_id() -> str:
            return f"id-{next(numbers)}"

        own = OwnMail(self.spool, ask, recorder, self.clock, new_id, "test-house", 86400.0)
        bounce = Bounce(own, self.journal, lambda tasks: self.delivery.take(tasks))
        self.letters = RuleLetters(own, self.journal, b"secret", lambda tasks: self.delivery.take(tasks))
        self.reconsider = Reconsider(
            lambda: self.policy, judge_with, ask, self.spool, recorder, letters=self.letters, rules=rules
        )
        self.schedule = Schedule(steps=(60.0, 600.0), life=7200.0, delay_notice=1800.0)
        self.delivery = Delivery(
            Carriage(
                self.spool, self.courier, lambda: self.policy, lambda p, r: plan(p, r, pools, lambda name: name),
                bounce, self.reconsider, self.schedule, self.clock, self.journal,
            )
        )  # fmt: skip
        self.spool.receive_with(self.delivery.take)
        self.reception = Reception(
            lambda: self.policy, judge_with, ask, self.spool, Commit(recorder, lambda policy, name: 7200.0, 60.0),
            recorder, self.clock, self.journal, new_id, lambda tasks: self.take(tasks), "test-house",
            letters=self.letters, rules=rules,
        )  # fmt: skip
        self.take: Callable = self.delivery.take

    def guest(self, peer: str = "198.51.100.7") -> Guest:
        connection: Connection = connection_of(peer)
        return Guest(self.reception, connection)

    async def send(
        self, *recipients: str | RecipientId, sender: str = "x@sender.test", peer: str = "198.51.100.7",
        fields: bytes = b"",
    ) -> list[Reply]:  # fmt: skip
        """A whole conversation: the replies to MAIL, to each RCPT and to the end of data (if it comes to that)."""
        guest = self.guest(peer)
        said = [guest.mail(Envelope(address(sender) if sender else None))]
        if said[0].code != 250:
            return said
        for recipient in recipients:
            one = recipient if isinstance(recipient, RecipientId) else RecipientId(address(recipient))
            said.append(guest.rcpt(one))
        if not any(reply.code == 250 for reply in said[1:]):
            return said
        body = guest.begin()
        if isinstance(body, Reply):
            return [*said, body]
        body.write(fields + b"Subject: Hello\r\nMessage-ID: <m1@sender.test>\r\n\r\nHello\r\n")
        return [*said, await guest.done(body)]

    async def settle(self) -> None:
        """Let the runners come to rest."""
        for _ in range(200):
            await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Time passes, the keeper hands out what is due, the runners work."""
        self.clock.move(seconds)
        self.spool.assign()
        await self.settle()

    def statuses(self) -> dict[str, str]:
        """Recipient of each trace row: its status word (the rows of our own reports are marked)."""
        return {
            ("report to " if t.message.envelope.sender is None else "") + t.recipient: str(t.status)
            for t in self.spool.traces.values()
        }
