"""Pebble, Let's Encrypt's ACME server for tests, with a DNS server that leads every name to this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers.certificates import Authority
from peers.ports import free_port

needs_pebble = pytest.mark.skipif(
    shutil.which("pebble") is None or shutil.which("pebble-challtestsrv") is None, reason="pebble is not installed"
)
PATIENCE = 15.0


@dataclass
class Pebble:
    """One that runs. `ca_file` is the authority of its own HTTPS; `http_port` is where it asks for tokens."""

    folder: Path
    port: int
    management: int
    dns_port: int
    http_port: int
    ca_file: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> str:
        """The address of its directory."""
        return f"https://localhost:{self.port}/dir"

    def root(self) -> str:
        """The root certificate of what it issues, made anew at each start."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        link = http.client.HTTPSConnection("localhost", self.management, context=context, timeout=5)
        link.request("GET", "/roots/0")
        answer = link.getresponse().read().decode()
        link.close()
        return answer

    def start(self, **environment: str) -> None:
        """Start it, or start it anew: it has forgotten everything then."""
        self.stop()
        surroundings = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", **environment}
        with (self.folder / "pebble.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["pebble", "-config", str(self.folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{self.dns_port}"],
                env=surroundings, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                self.root()
                return
            time.sleep(0.05)
        raise RuntimeError(f"pebble did not start: {(self.folder / 'pebble.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def pebble(folder: Path, *, external: dict[str, str] | None = None, **environment: str) -> Iterator[Pebble]:
    """A running one; `external` demands accounts bound to one of these keys, `environment` makes it difficult."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder, "Pebble HTTPS")
    papers = authority.issue("localhost")
    here = Pebble(folder, free_port(), free_port(), free_port(), free_port(), authority.file)
    settings = {
        "listenAddress": f"127.0.0.1:{here.port}", "managementListenAddress": f"127.0.0.1:{here.management}",
        "certificate": str(papers.chain), "privateKey": str(papers.key), "httpPort": here.http_port,
        "tlsPort": free_port(), "ocspResponderURL": "", "externalAccountBindingRequired": external is not None,
        "externalAccountMACKeys": external or {},
    }  # fmt: skip
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    names = subprocess.Popen(
        ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "",
         "-tlsalpn01", "", "-dns01", f"127.0.0.1:{here.dns_port}", "-management", f"127.0.0.1:{free_port()}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        here.start(**environment)
        yield here
    finally:
        here.stop()
        names.kill()
        names.wait()
