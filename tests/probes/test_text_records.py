"""TXT records are read by us, because most of what is asked is one; the library says what is right."""

from __future__ import annotations

import struct

import dns.exception
import dns.flags
import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from lockgate.probes.trust.dns.message import question, read

ASKED = question("a.test", "TXT")
TXT = dns.rdatatype.TXT
STRINGS = st.lists(st.binary(max_size=255), max_size=5).map(
    lambda parts: b"".join(bytes((len(part),)) + part for part in parts)
)


def answer_with(rdata: bytes) -> bytes:
    head = struct.pack("!HHHHHH", 7, dns.flags.QR | dns.flags.RA, 1, 1, 0, 0)
    return head + ASKED.octets + struct.pack("!HHHIH", 0xC00C, TXT, 1, 60, len(rdata)) + rdata


@given(STRINGS | st.binary(max_size=300))
def test_our_reading_is_the_library_s(rdata: bytes) -> None:
    try:
        theirs = dns.rdata.from_wire(dns.rdataclass.IN, TXT, rdata, 0, len(rdata))
    except dns.exception.DNSException:
        theirs = None
    ours = read(answer_with(rdata), ASKED, 7)
    if theirs is None:
        assert ours is None, "rubbish is no answer"
    else:
        assert ours is not None
        assert ours.sets["a.test", TXT][1] == (b"".join(theirs.strings).decode("latin-1"),)
