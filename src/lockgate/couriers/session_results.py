"""What is told of a TLS session, for the domain's own reports (RFC 8460 4), and whom a failure makes look again."""

from __future__ import annotations

from lockgate.couriers.link import Link
from lockgate.couriers.objection import Objection
from lockgate.couriers.terms import PolicyKind, Terms
from lockgate.mail.hop import NextHop
from lockgate.seams import StsPolicies, TlsResults
from lockgate.wire.smtp.client import TlsUse, Trouble

SUCCESS = "success"
NO_STARTTLS = "starttls-not-supported"
_BROKEN = "validation-failure"
_WORDS = {
    Trouble.TLS_MISSING: NO_STARTTLS,
    Trouble.TLS_REFUSED: NO_STARTTLS,
    Trouble.INJECTED: _BROKEN,
}


class SessionResults:
    """Told once for each session that came to the point at which TLS is made, or may not. Never raises."""

    def __init__(self, results: TlsResults | None, sts: StsPolicies | None) -> None:
        self._results = results
        self._sts = sts

    def note(self, hop: NextHop, terms: Terms, name: str, result: str, link: Link | None = None) -> None:
        """One session with the server called `name`; smart hosts are nobody's MX, and nobody wants to hear of them."""
        if not hop.mx_domain or hop.mx_domain.startswith("["):
            return
        domain = hop.mx_domain.lower()
        if result != SUCCESS and terms.kind is PolicyKind.STS and self._sts is not None:
            self._sts.recheck(domain)
        if self._results is not None and hop.organisation:
            sender = link.local_address if link is not None else ""
            kind = terms.kind
            if kind is PolicyKind.NONE and self._sts is not None and (missing := self._sts.missing(domain)):
                kind, result = PolicyKind.STS, missing  # it wants to hear that its policy cannot be had
            self._results.note(
                hop.organisation, domain, str(kind), result, receiving_mx=name, sending_ip=sender,
                policy=terms.published,
            )  # fmt: skip

    def opened(self, hop: NextHop, terms: Terms, name: str, link: Link, missed: Objection | None) -> None:
        """A connection on which mail may leave; `missed` is what a policy in testing mode would object to."""
        if not link.secure:
            result = NO_STARTTLS
        elif terms.testing and terms.uncovered:
            result = _BROKEN
        else:
            result = missed.result if missed is not None else SUCCESS
        self.note(hop, terms, name, result, link)

    def failed(
        self, hop: NextHop, terms: Terms, name: str, link: Link, objection: Objection | None, use: TlsUse
    ) -> None:
        """A connection on which none may; troubles that are none of TLS are not told."""
        word = objection.result if objection is not None else ""
        if not word and link.making_tls:
            word = _BROKEN
        if not word and link.opening.trouble is not None and use is not TlsUse.NEVER:
            word = _WORDS.get(link.opening.trouble, "")
        if word:
            self.note(hop, terms, name, word, link)
