"""The DNS server for tests that do not run in a loop: the same one, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from peers.dns_server import DnsServer, Zone


@contextlib.contextmanager
def dns(zone: Zone, **modes: str) -> Iterator[DnsServer]:
    """A server of this zone; `server.modes` may be changed while it runs, and its address is known."""
    server = DnsServer(zone, dict(modes))
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
