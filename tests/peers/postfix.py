"""Debian's Postfix as a peer: its own folder, ports and processes, no DNS, ended by the id of its master."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

MASTER = Path("/usr/lib/postfix/sbin/master")
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def need_postfix() -> None:
    """Skip, with the reason, where Postfix cannot be run."""
    if not MASTER.exists() or shutil.which("postfix") is None:
        pytest.skip("Postfix is not installed (Debian: apt-get install postfix)")
    if os.geteuid() != 0:
        pytest.skip("Postfix can only be started by root")


class Postfix:
    """One instance; a context manager. Everything it takes goes to `next_hop` ("host:port")."""

    def __init__(self, next_hop: str, **settings: object) -> None:
        need_postfix()
        host, _, port = next_hop.rpartition(":")
        self._settings: Mapping[str, object] = {
            "compatibility_level": "3.6",
            "myhostname": "postfix.test",
            "mydestination": "",
            "alias_maps": "",
            "local_recipient_maps": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "relayhost": "",
            "transport_maps": f"static:smtp:[{host}]:{port}",
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "smtpd_peername_lookup": "no",
            "smtp_tls_loglevel": "1",
            **settings,
        }
        self.port = 0
        self._folder = Path()
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postfix:
        # Not pytest's folder: Postfix drops its privileges and has to walk down to its queue.
        self._folder = Path(tempfile.mkdtemp(prefix="postfix-peer-"))
        self._folder.chmod(0o755)
        try:
            for _ in range(3):  # somebody else may take the port in between
                if self._start():
                    return self
            raise AssertionError(f"Postfix did not start:\n{self.log()}")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._master is not None and self._master.poll() is None:
            self._master.terminate()
            try:
                self._master.wait(10)
            except subprocess.TimeoutExpired:
                self._master.kill()
                self._master.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> str:
        path = self._folder / "data" / "mail.log"
        return path.read_text("utf-8", "replace") if path.exists() else "(no log)"

    def logged(self, pattern: str, patience: float = 20.0) -> re.Match[str]:
        """Wait until the log holds this."""
        deadline = time.monotonic() + patience
        while not (found := re.search(pattern, self.log())):
            assert time.monotonic() < deadline, f"no {pattern} in Postfix's log:\n{self.log()[-4000:]}"
            time.sleep(0.05)
        return found

    def reload(self, **settings: object) -> None:
        """Run on with other settings."""
        self._settings = {**self._settings, **settings}
        self._write()
        before = self.log().count("reload -- version")
        assert self._master is not None
        self._master.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while self.log().count("reload -- version") == before:
            assert time.monotonic() < deadline, f"Postfix did not read its settings again:\n{self.log()[-4000:]}"
            time.sleep(0.05)
        time.sleep(2.0)  # processes of before end when they have been idle (max_idle)

    def _write(self) -> Path:
        """The configuration."""
        config, queue, data = (self._folder / name for name in ("config", "queue", "data"))
        settings = {
            "queue_directory": queue, "data_directory": data, "maillog_file_prefixes": data,
            "maillog_file": data / "mail.log", **self._settings,
        }  # fmt: skip
        (config / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        (config / "master.cf").write_text(SERVICES.format(port=self.port))
        return config

    def _start(self) -> bool:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config, queue, data = (self._folder / name for name in ("config", "queue", "data"))
        for made in (config, queue, data):
            made.mkdir(exist_ok=True)
        shutil.chown(data, "postfix")
        self._write()
        subprocess.run(["postfix", "-c", str(config), "check"], check=True, capture_output=True, timeout=30)
        self._master = subprocess.Popen(
            [str(MASTER), "-d", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._master.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                    if probe.recv(100).startswith(f"220 {self._settings['myhostname']}".encode()):
                        probe.sendall(b"QUIT\r\n")
                        return True
            except OSError:
                time.sleep(0.05)
        if self._master.poll() is None:
            self._master.kill()
        self._master.wait()
        return False
