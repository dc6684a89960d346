"""A name server of somebody else, for the demonstration: knows the domains of its people, and nothing else.

Run as a process of its own: `python -m lockgate.cli.demo_names FOLDER`. FOLDER/zone.json maps a name to its records by
type, `{"outside.test": {"TXT": ["v=spf1 -all"]}}`, and is read for each question, so that it can be changed; any other
name does not exist. The port (UDP on 127.0.0.1) is written to FOLDER/port.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

_TTL = 60

Zone = Mapping[str, Mapping[str, Sequence[str]]]


def answer(zone: Zone, datagram: bytes) -> bytes | None:
    """The answer to one question, None for what is no question."""
    try:
        query = dns.message.from_wire(datagram)
        question = query.question[0]
    except (dns.exception.DNSException, IndexError):
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    name = question.name.to_text(omit_final_dot=True).lower()
    kind = question.rdtype.name
    if name not in zone:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif kind in zone[name]:
        records = [_strings(text) if kind == "TXT" else text for text in zone[name][kind]]
        response.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", kind, *records))
    return response.to_wire()


def _strings(text: str) -> str:
    """A text record as zone files have it: strings of at most 255 octets."""
    return " ".join(json.dumps(text[at : at + 255]) for at in range(0, len(text), 255))


class Questions(asyncio.DatagramProtocol):
    """Answers each datagram at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """One question."""
        said = answer(json.loads(self._file.read_text("utf-8")), data)
        if said is not None and self._transport is not None:
            self._transport.sendto(said, addr)


async def serve(folder: Path) -> None:
    """Listen on a free port of 127.0.0.1 until SIGTERM."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Questions(folder / "zone.json"), ("127.0.0.1", 0))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = transport.get_extra_info("sockname")[1]
    partial = folder / "port.new"
    await asyncio.to_thread(partial.write_text, str(port))
    await asyncio.to_thread(partial.rename, folder / "port")
    await stop.wait()
    transport.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
