"""Ordered certificates on disk: whatever is killed when, there is one pair, and its halves belong together."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.authority import make
from lockgate.storage.acme_files import Account, AcmeFiles
from lockgate.wire.tls import Identity, server_context

WRITER = """
import sys
from pathlib import Path
from lockgate.storage.acme_files import AcmeFiles
files = AcmeFiles(Path(sys.argv[1]))
pairs = [(Path(f"{sys.argv[2]}/{n}.key").read_bytes(), Path(f"{sys.argv[2]}/{n}.pem").read_bytes()) for n in "ab"]
print("ready", flush=True)
while True:
    for key, chain in pairs:
        files.keep_pair("mx.test.ecdsa", key, chain)
"""


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_pair(tmp_path):
    pairs = {name: make("mx.test", ["mx.test"]) for name in "ab"}
    for name, one in pairs.items():
        one.write(tmp_path, name)
    files = AcmeFiles(tmp_path / "acme")
    files.keep_pair("mx.test.ecdsa", pairs["a"].key_pem, pairs["a"].chain_pem)
    seen: set[str] = set()
    for turn in range(150):
        if turn >= 25 and len(seen) == 2:
            break
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "acme"), str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(random.random() * 0.05)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        pair = files.pair("mx.test.ecdsa")
        server_context(Identity(pair, pair))  # the key is that of the certificate
        seen.add(next(name for name, one in pairs.items() if one.chain_pem in pair))
    assert seen == {"a", "b"}
    assert [path.name for path in files.certificates()] == ["mx.test.ecdsa.pem"]
    files.keep_pair("mx.test.ecdsa", pairs["b"].key_pem, pairs["b"].chain_pem)  # what a kill left is no hindrance
    assert pairs["b"].chain_pem in files.pair("mx.test.ecdsa")


def test_nobody_else_may_read_keys(tmp_path):
    files = AcmeFiles(tmp_path / "state" / "acme")
    files.keep_account(Account("https://acme.test/dir", "KEY"))
    files.keep_pair("mx.test.rsa", b"key\n", b"chain\n")
    for path in (tmp_path / "state" / "acme").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / "acme").stat().st_mode & 0o077 == 0


def test_accounts_by_authority(tmp_path):
    files = AcmeFiles(tmp_path)
    assert files.account("https://acme.test/dir") is None and files.pair("mx.test.rsa") == b"" == files.notes()
    files.keep_account(Account("https://acme.test/dir", "KEY", "https://acme.test/acct/1"))
    assert files.account("https://acme.test/dir") == Account("https://acme.test/dir", "KEY", "https://acme.test/acct/1")
    assert files.account("https://other.test/dir") is None
    (file,) = (tmp_path / "accounts").iterdir()
    file.write_text("{")
    with pytest.raises(OSError, match=f"{file} is damaged"):
        files.account("https://acme.test/dir")


def test_long_names_and_a_disk_that_takes_no_more(tmp_path, monkeypatch):
    files = AcmeFiles(tmp_path)
    name = "a." * 120 + "test.ecdsa"
    files.keep_pair(name, b"old key\n", b"old chain\n")
    assert files.pair(name) == b"old key\nold chain\n"

    def full(place: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lockgate.storage.acme_files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.keep_pair(name, b"new key\n", b"new chain\n")
    assert files.pair(name) == b"old key\nold chain\n"
    assert Path(files.certificate_file(name)).is_file()
