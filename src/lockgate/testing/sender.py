"""An authenticator that says what a test wants, and remembers whom it was asked about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lockgate.mail.authentication import Arc, ArcVerdict, Authenticated, Dmarc, DmarcVerdict, Spf, SpfVerdict


def authenticated(
    verdict: str, wish: str = "none", *, domain: str = "sender.test", test: bool = False, problem: str = ""
) -> Authenticated:
    """What was found out, as far as DMARC's verdict goes."""
    proven = verdict in ("pass", "bestguesspass")
    dmarc = Dmarc(
        DmarcVerdict(verdict), domain, domain, domain, wish, test, ("spf",) if proven else (), problem=problem
    )
    spf = Spf(SpfVerdict.PASS if proven else SpfVerdict.FAIL, domain)
    return Authenticated(spf, (), dmarc, Arc(ArcVerdict.NONE))


class ListedAuthenticator:
    """Implements seams.Authenticator. `asked` lists peer, HELO name, sender and octets of each question.

    `first` is awaited before each answer, to be slow or to fail.
    """

    def __init__(self, *answers: Authenticated, first: Callable[[], Awaitable[None]] | None = None) -> None:
        self._answers = list(answers)
        self._first = first
        self.asked: list[tuple[str, str, str, bytes]] = []

    async def authenticate(self, peer: str, helo: str, sender: str, octets: bytes) -> Authenticated:
        """The next answer; the last one is given again and again."""
        self.asked.append((peer, helo, sender, octets))
        if self._first is not None:
            await self._first()
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
