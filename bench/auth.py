"""What it costs to find out who sent a message: SPF, DKIM, DMARC and the look-ups, in microseconds of our own time.

    python bench/auth.py

Each figure is the best of many rounds (other work on the machine does not make it smaller), in one process on one core.
The look-ups of a miss go over real sockets to a server in another process, whose time does not count. The exit code is
1 if a figure is over its limit.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import sys
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import uvloop
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from lockgate.app.clock import SystemClock
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, public_record, sign
from lockgate.mail.dkim.signature import read_signature, signed_text
from lockgate.mail.headers import Headers, read_headers
from lockgate.probes.trust.dkim import check_signatures
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sender import SenderCheck
from lockgate.probes.trust.spf.check import check_host

ROUNDS, CALLS = 25, 400
KEY = SigningKey("sender.test", "s1", rsa.generate_private_key(65537, 2048))
ZONE = {
    "sender.test": ["v=spf1 ip4:192.0.2.0/24 include:_spf.one.test include:_spf.two.test -all", "other=text"],
    "_spf.one.test": ["v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/25 ~all"],
    "_spf.two.test": ["v=spf1 ip4:203.0.113.128/26 ip6:2001:db8::/32 ip4:100.64.0.0/10 ~all"],
    "s1._domainkey.sender.test": [public_record(KEY)],
    "_dmarc.sender.test": ["v=DMARC1; p=reject; rua=mailto:d@sender.test"],
}
HEAD = (
    b"Received: from a by b; Tue, 24 Nov 2026 10:00:00 +0000\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    b"From: Alice <alice@sender.test>\r\nTo: Bob <bob@contoso.test>\r\nSubject: Figures of the month\r\n"
    b"Message-ID: <figures@sender.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
LINE = b"The figures of the month are better than those of the month before, as was hoped.\r\n"
BODY = LINE * (4096 // len(LINE))
PEER = "100.64.0.1"
"""Only the last term of the last include has it."""


def serve(sock: socket.socket) -> None:
    """Answer every question for TXT out of the zone, or with one short record. Never returns."""
    while True:
        query, peer = sock.recvfrom(4096)
        end = query.index(b"\0", 12)
        labels, place = [], 12
        while query[place]:
            labels.append(query[place + 1 : place + 1 + query[place]].decode())
            place += 1 + query[place]
        texts = ZONE.get(".".join(labels), ["v=spf1 ip4:192.0.2.1 include:_spf.other.test -all"])
        answer = b""
        for text in texts:
            parts = [text[at : at + 255].encode() for at in range(0, len(text), 255)]
            data = b"".join(bytes((len(part),)) + part for part in parts)
            answer += struct.pack("!HHHIH", 0xC00C, 16, 1, 3600, len(data)) + data
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(texts), 0, 0)
        sock.sendto(head + query[12 : end + 5] + answer, peer)


async def best(work: Callable[[int], Awaitable[object]], calls: int = CALLS) -> float:
    """Microseconds a call."""
    found = float("inf")
    for turn in range(ROUNDS):
        gc.collect()
        gc.disable()
        begun = time.process_time()
        for number in range(turn * calls, (turn + 1) * calls):
            await work(number)
        found = min(found, (time.process_time() - begun) / calls)
        gc.enable()
    return found * 1e6


def message(body_form: str) -> tuple[bytes, Headers, bytes]:
    """A message signed over the fields that most senders sign, its header and its body."""
    digest = b64encode(Bodies(BODY).digest(relaxed=body_form == "relaxed"))
    tags = b"v=1; a=rsa-sha256; c=relaxed/%b; d=sender.test; s=s1; t=1;\r\n" % body_form.encode()
    tags += b"\th=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh=" + digest + b";\r\n\tb="
    unsigned = read_headers(b"DKIM-Signature: " + tags + b"AA==\r\n" + HEAD).fields
    text = signed_text(unsigned, read_signature(unsigned[0]).names, unsigned[0], relaxed=True)
    assert isinstance(KEY.key, rsa.RSAPrivateKey)
    value = b64encode(KEY.key.sign(text, padding.PKCS1v15(), SHA256()))
    folded = b"\r\n\t ".join(value[at : at + 72] for at in range(0, len(value), 72))
    octets = b"DKIM-Signature: " + tags + folded + b"\r\n" + HEAD + BODY
    headers = read_headers(octets)
    return octets, headers, octets[headers.end :]


async def measured(address: tuple[str, int]) -> list[tuple[str, float, float | None]]:
    """(what, microseconds, at most)."""
    clock = SystemClock()
    resolver = DnsResolver((address,), clock)
    check = SenderCheck(resolver, clock, "mx.contoso.test")
    octets, headers, body = message("relaxed")
    _, plain, _ = message("simple")
    found = await check.authenticate(PEER, "mx.sender.test", "alice@sender.test", octets)
    assert (found.spf.verdict, found.dkim[0].verdict, found.dmarc.verdict) == ("pass", "pass", "pass"), found
    assert (await check_signatures(resolver, plain, Bodies(body), clock.now()))[0].verdict == "pass"

    async def hit(_: int) -> object:
        return await resolver.txt("sender.test")

    async def miss(number: int) -> object:
        return await resolver.txt(f"n{number}.sender.test")

    async def spf(_: int) -> object:
        return await check_host(resolver, PEER, "sender.test", "alice@sender.test", "mx.sender.test")

    async def dkim(_: int) -> object:
        return await check_signatures(resolver, headers, Bodies(body), 2.0)

    async def dkim_simple(_: int) -> object:
        return await check_signatures(resolver, plain, Bodies(body), 2.0)

    async def signed(_: int) -> object:
        return sign(headers.fields, Bodies(body), KEY, at=1)

    async def whole(_: int) -> object:
        return await check.authenticate(PEER, "mx.sender.test", "alice@sender.test", octets)

    key, text = KEY.key.public_key(), b"x" * 800
    assert isinstance(key, rsa.RSAPublicKey) and isinstance(KEY.key, rsa.RSAPrivateKey)
    value = KEY.key.sign(text, padding.PKCS1v15(), SHA256())

    async def bare(_: int) -> object:
        return key.verify(value, text, padding.PKCS1v15(), SHA256())

    return [
        ("a look-up that is remembered", await best(hit), 5.0),
        ("a look-up that has to be asked (TXT over UDP)", await best(miss), 100.0),
        ("SPF, two includes, records remembered", await best(spf), 70.0),
        ("DKIM verify, 4 KB, key remembered, relaxed/simple", await best(dkim_simple), 60.0),
        ("DKIM verify, 4 KB, key remembered, relaxed/relaxed", await best(dkim), 60.0),
        ("of that OpenSSL, RSA-2048", await best(bare), None),
        ("DKIM sign, 4 KB, RSA-2048", await best(signed, 100), 450.0),
        ("SPF, DKIM, DMARC and ARC of that message", await best(whole, 200), None),
    ]


def main() -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    child = os.fork()
    if not child:
        serve(sock)
    try:
        rows = uvloop.run(measured(sock.getsockname()))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    over = False
    for what, cost, most in rows:
        late = most is not None and cost > most
        over = over or late
        limit = f"{most:7.0f}" if most is not None else "      -"
        print(f"{what:52}{cost:8.1f} us   at most{limit}{'   OVER' if late else ''}")
    print(json.dumps({what: round(cost, 2) for what, cost, _ in rows}))
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
