"""What the tests of the couriers have in common: cargo, next hops and a courier for loopback."""

from __future__ import annotations

import random
import time

from lockgate.couriers.settings import CourierSettings, Patience
from lockgate.couriers.smtp import SmtpCourier
from lockgate.mail.address import Address, parse_address
from lockgate.mail.envelope import Body, Envelope
from lockgate.mail.hop import Cargo, CargoRecipient, NextHop, TlsDemand
from lockgate.seams import Resolver, StsPolicies, TlsResults
from lockgate.testing.dns import ZoneResolver

CONTENT = b"From: ann@here.test\r\nTo: bob@there.test\r\nSubject: hello\r\n\r\nThis is the body.\r\n"

QUICK = Patience(
    connect=5, greeting=5, hello=5, handshake=5, login=5, mail=5, rcpt=5, data=5, block=5, final=5, idle=5
)


class WallClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Notes:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def note(self, happening: str, **details: object) -> None:
        self.lines.append((happening, details))

    def alarm(self, happening: str, **details: object) -> None:
        self.lines.append((f"ALARM {happening}", details))


def courier(
    resolver: Resolver | None = None,
    *,
    sts: StsPolicies | None = None,
    results: TlsResults | None = None,
    **settings: object,
) -> SmtpCourier:
    given: dict[str, object] = {"allowed": ("127.0.0.0/8", "::1"), "patience": QUICK, **settings}
    return SmtpCourier(
        resolver or ZoneResolver(),
        CourierSettings(**given),  # type: ignore[arg-type]
        WallClock(),
        Notes(),
        chance=random.Random(7),
        sts=sts,
        results=results,
    )


def hop(*smart_hosts: str, mx: str = "", tls: TlsDemand | None = None, **more: object) -> NextHop:
    given: dict[str, object] = {"lane": "org/lane", "helo": "mail.here.test", **more}
    return NextHop(tls=tls or TlsDemand(), smart_hosts=smart_hosts, mx_domain=mx, **given)  # type: ignore[arg-type]


def cargo(
    *recipients: str | CargoRecipient,
    content: bytes = CONTENT,
    sender: str = "ann@here.test",
    body: Body = Body.SEVEN_BIT,
    utf8: bool = False,
    **envelope: object,
) -> Cargo:
    from_ = parse_address(sender, utf8=True) if sender else None
    assert from_ is None or isinstance(from_, Address)
    wanted = [r if isinstance(r, CargoRecipient) else CargoRecipient(r) for r in recipients or ("bob@there.test",)]
    return Cargo("id-1", Envelope(from_, body, utf8, **envelope), tuple(wanted), content)  # type: ignore[arg-type]
