"""A mail server of somebody else, for the demonstration: takes every message and keeps it as a file.

It stands on aiosmtpd alone, so that what arrives was understood by a second implementation. Run as a process of its
own: `python -m lockgate.cli.demo_site NAME FOLDER [CHAIN.pem]`; it writes its port to FOLDER/port and each message to
FOLDER/NUMBER.eml. With a certificate (its key is CHAIN.key) it offers STARTTLS.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

ACCEPTED = "250 OK"
"""The other server's word for yes; what Lockgate itself says is written in mail/replies.py alone."""


class Mailbox:
    """What aiosmtpd calls at the end of data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  (aiosmtpd's name)
        """Keep one message with its envelope."""
        self._count += 1
        head = f"X-Envelope-From: <{envelope.mail_from}>\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        path = self._folder / f"{self._count}.eml"
        await asyncio.to_thread(path.write_bytes, head.encode() + envelope.content)
        return ACCEPTED


async def serve(name: str, folder: Path, chain: Path | None = None) -> None:
    """Listen on a free port of 127.0.0.1 until SIGTERM."""
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(folder)
    context = None
    if chain is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(chain, chain.with_suffix(".key"))
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname=name, enable_SMTPUTF8=True, loop=loop, tls_context=context), "127.0.0.1", 0
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = server.sockets[0].getsockname()[1]
    partial = folder / "port.new"
    await asyncio.to_thread(partial.write_text, str(port))
    await asyncio.to_thread(partial.rename, folder / "port")
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None))
