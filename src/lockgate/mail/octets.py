"""What is known of a message's octets from having looked at each of them once."""

from __future__ import annotations

import msgspec


class SeenOctets(msgspec.Struct, frozen=True, gc=False):
    """Octets that came in by SMTP: CRLF alone ends their lines, and there is no NUL (else they were no message).

    `eight_bit` tells that an octet is above 127, `dotted` that a line may begin with a dot. Who does not know this of
    octets has to look at all of them again before they leave (RFC 5321 2.3.8, 4.5.2; RFC 6152).
    """

    eight_bit: bool
    dotted: bool
