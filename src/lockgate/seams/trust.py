"""What is found out of others, and what is shown to them: DNS, proof of senders, keys, TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from lockgate.mail.authentication import Authenticated
from lockgate.mail.dkim.held import HeldKey
from lockgate.mail.dkim.sign import SigningKey
from lockgate.mail.dns import DnsAnswer, MxHost
from lockgate.mail.sts import StsPolicy


class Resolver(Protocol):
    """DNS. NXDOMAIN, no such record, and failure are different answers. Kept by probes/trust/resolver.py."""

    async def look_up(self, name: str, kind: str) -> DnsAnswer:
        """The whole answer, for who has to know how far it may be believed (DANE). Never raises.

        `kind` is A, AAAA, CNAME, MX, PTR, TLSA or TXT.
        """

    async def mx(self, domain: str) -> tuple[MxHost, ...]:
        """Mail exchangers, best first; the null MX is one host named ""; none published: ().

        Raises DnsNone, DnsTemporary.
        """

    async def addresses(self, name: str, family: str = "any") -> tuple[str, ...]:
        """Textual addresses, IPv6 and IPv4 as `family` allows; () if the name has none.

        Raises DnsNone, DnsTemporary.
        """

    async def txt(self, name: str) -> tuple[str, ...]:
        """TXT records, the strings of each joined (RFC 7208 3.3), octets as Latin-1; () if there are none.

        Raises DnsNone, DnsTemporary.
        """

    async def names(self, address: str) -> tuple[str, ...]:
        """The names an address leads to (PTR), without trailing dot; () if there are none.

        Raises DnsNone, DnsTemporary, ValueError if it is no address.
        """


class Authenticator(Protocol):
    """Who sent this message? Kept by probes/trust/sender.py."""

    async def authenticate(self, peer: str, helo: str, sender: str, octets: bytes) -> Authenticated:
        """What proves the sender; `sender` is the envelope sender ("" for none), `octets` the message as it came.

        `peer` is "" where nobody knows from where it came: then no address proves anything. Trouble with DNS is the
        result temperror. Raises ValueError if `peer` is no address.
        """


class SigningKeys(Protocol):
    """The keys with which an organisation signs now. Kept by flow/signing_keys.py, faked by testing/signing.py."""

    def key_for(self, organisation: str, domain: str) -> SigningKey | None:
        """The active key of this domain, else that of the organisation's initial or default domain.

        None if it has none. No file is read for it while nothing changes. Raises OSError when a key that should sign
        cannot be read.
        """

    def keys_for(self, organisation: str, domain: str) -> tuple[SigningKey, ...]:
        """The same, one of each algorithm that is wanted, RSA first; the first one is that of `key_for`."""


class KeyStore(Protocol):
    """All signing keys of the installation, and what is known of each. Kept by storage/signing_keys.py.

    Promises: a change is durable when `change` returns and seen by every process at its next look; a kill at any
    moment leaves the keys before or after it; private keys are readable by nobody else. Synchronous, it reads files;
    faked by MemoryKeys in testing/signing_store.py.
    """

    def held(self) -> tuple[HeldKey, ...]:
        """Every key, in the order in which they were made; costs one stat while nothing changes. Raises OSError."""

    def private(self, key: HeldKey) -> SigningKey:
        """The key itself; its file is read once. Raises OSError."""

    def change(
        self, edit: Callable[[tuple[HeldKey, ...]], tuple[HeldKey, ...]], secrets: Mapping[str, bytes]
    ) -> tuple[HeldKey, ...]:
        """Put what `edit` makes of the keys in their place; the keys now. One change at a time.

        `secrets` are the private keys (PEM) of new ones by their `name`; those of revoked ones are deleted.
        Raises OSError.
        """


class TlsResults(Protocol):
    """Told how each TLS session with another mail server went, for reports (RFC 8460). Never blocks, never raises.

    Kept by storage/report_batches.py, faked by ListedTlsResults in testing/reports.py.
    """

    def note(
        self, organisation: str, domain: str, kind: str, result: str, *, receiving_mx: str = "", sending_ip: str = ""
    ) -> None:
        """One session for mail of this organisation to `domain` (the policy domain, A-label).

        `kind` is the type of policy (tlsa, sts, no-policy-found), `result` "success" or the word for the failure (RFC
        8460 4.3: starttls-not-supported, certificate-expired, ...), `sending_ip` our own address.
        """


class StsPolicies(Protocol):
    """The MTA-STS policies of other domains (RFC 8461), kept over restarts. Faked by testing/sts.py."""

    async def policy_for(self, domain: str) -> StsPolicy | None:
        """The policy in force for mail to this domain (A-label, lower case), or None if it has none.

        A policy that was fetched holds to the end of its life, whatever happens to the TXT record or the web server
        meanwhile (RFC 8461 3.3, 5.1). What could not be found out is None, as if there were none. Never raises; bounded
        in time, and quick for a domain asked about before.
        """

    def recheck(self, domain: str) -> None:
        """Have the policy of this domain fetched anew soon: its hosts did not fit it (RFC 8461 3.3). Never blocks."""
