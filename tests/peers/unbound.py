"""A real validating resolver, unbound, with a signed zone and one that is not, and a trust anchor of the test's own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.dnssec
import dns.dnssectypes
import dns.message
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from peers.ports import free_port

SIGNED = """
$ORIGIN signed.test.
@       300 IN SOA ns hostmaster 1 7200 900 1209600 60
@       300 IN NS ns
ns      300 IN A 192.0.2.53
@       300 IN MX 10 mx
@       300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
mx      300 IN A 192.0.2.25
_25._tcp.mx 300 IN TLSA 3 1 1 abababababababababababababababababababababababababababababababab
alias   300 IN CNAME mx
outside 300 IN CNAME www.plain.test.
forged  300 IN A 192.0.2.66
forged  300 IN MX 10 mx
forged  300 IN TXT "v=spf1 +all"
_dmarc.forged 300 IN TXT "v=DMARC1; p=none"
"""
PLAIN = """
$ORIGIN plain.test.
@       300 IN SOA ns hostmaster 1 7200 900 1209600 60
@       300 IN NS ns
ns      300 IN A 192.0.2.54
www     300 IN A 192.0.2.80
"""
_TAMPERED = (("192.0.2.66", "192.0.2.99"), ("+all", "?all"), ("forged 300 IN MX 10 mx", "forged 300 IN MX 20 mx"),
             ("p=none", "p=quarantine"))  # fmt: skip

_CONFIG = """
server:
    verbosity: 0
    use-syslog: no
    logfile: "{folder}/log"
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    interface: 127.0.0.1
    port: {port}
    num-threads: 1
    do-daemonize: no
    do-ip6: no
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
    local-zone: "test." nodefault
    outgoing-range: 64
    so-rcvbuf: 0
    ede: yes
    val-clean-additional: yes
    root-hints: "{folder}/root"
    do-not-query-localhost: yes
remote-control:
    control-enable: no
"""
_ZONE = """
auth-zone:
    name: "{name}"
    zonefile: "{folder}/{name}.zone"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
"""


@contextlib.contextmanager
def unbound(folder: Path, more: str = "") -> Iterator[tuple[str, int]]:
    """Runs until the block is left; gives its address. Skips where it is not installed.

    `more` are further lines of the signed zone.
    """
    program = shutil.which("unbound", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("unbound is not on this machine (Debian: apt-get install unbound)")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # The way to all other names leads to this machine, which is not asked: no test talks to the internet.
    (folder / "root").write_text(". 3600 IN NS nobody.\nnobody. 3600 IN A 127.0.0.1\n", "utf-8")
    text = _CONFIG.format(folder=folder, port=port, anchor=_signed(folder / "signed.test.zone", more))
    (folder / "plain.test.zone").write_text(PLAIN, "utf-8")
    text += "".join(_ZONE.format(folder=folder, name=name) for name in ("signed.test", "plain.test"))
    config = folder / "unbound.conf"
    config.write_text(text, "utf-8")
    process = subprocess.Popen([program, "-d", "-c", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        _wait(("127.0.0.1", port), process, folder)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


def _signed(file: Path, more: str) -> str:
    """Write the signed zone, with the records of `forged` changed after signing; returns the trust anchor (DS)."""
    zone = dns.zone.from_text(SIGNED + more, "signed.test.", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = dns.dnssectypes.Algorithm.ECDSAP256SHA256
    public = dns.dnssec.make_dnskey(key.public_key(), algorithm, flags=0x0101)
    now = datetime.now(UTC)
    with zone.writer() as change:
        dns.dnssec.sign_zone(
            zone, change, keys=[(key, public)], dnskey_ttl=300, inception=now - timedelta(hours=1),
            expiration=now + timedelta(days=1),
        )  # fmt: skip
    lines = zone.to_text(relativize=False).splitlines()
    changed = [_tampered(line) if "forged" in line and " RRSIG " not in line else line for line in lines]
    assert changed != lines
    file.write_text("\n".join(changed) + "\n", "utf-8")
    ds = dns.dnssec.make_ds("signed.test.", public, "SHA256")
    return f"signed.test. IN DS {ds.to_text()}"


def _tampered(line: str) -> str:
    for true, false in _TAMPERED:
        line = line.replace(true, false)
    return line.replace(" MX 10 ", " MX 20 ")


def _wait(server: tuple[str, int], process: subprocess.Popen[str], folder: Path) -> None:
    query = dns.message.make_query("signed.test", "SOA").to_wire()
    for _ in range(200):
        if process.poll() is not None:
            told = process.stderr.read() if process.stderr is not None else ""
            log = folder / "log"
            pytest.fail(f"unbound ended: {told}{log.read_text() if log.exists() else ''}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            try:
                sock.connect(server)
                sock.send(query)
                if dns.message.from_wire(sock.recv(4096)).rcode() == dns.rcode.NOERROR:
                    return
            except OSError:
                time.sleep(0.1)
    pytest.fail("unbound does not answer")
