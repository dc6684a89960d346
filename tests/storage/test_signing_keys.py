"""Signing keys in files: private, whole after a kill, seen by others at once, and one contract for both stores."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockgate.app.dkim import new_key
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import load_key, public_record
from lockgate.seams import KeyStore
from lockgate.storage.signing_keys import SigningKeyFiles
from lockgate.testing.signing_store import MemoryKeys

SOURCE = Path(__file__).resolve().parents[2] / "src"


def made(domain: str = "contoso.com", state: KeyState = KeyState.WAITING) -> tuple[HeldKey, bytes]:
    fresh = new_key("ed25519", 256, 1.7e9)
    record = public_record(load_key(domain, fresh.selector, fresh.pem))
    return HeldKey("contoso", domain, fresh.selector, "ed25519", 256, record, state, 1.0, 1.0), fresh.pem


def add(store: KeyStore, *keys: tuple[HeldKey, bytes]) -> None:
    store.change(lambda before: (*before, *(key for key, _ in keys)), {key.name: pem for key, pem in keys})


def revoke(store: KeyStore, name: str) -> None:
    import msgspec

    store.change(
        lambda keys: tuple(
            msgspec.structs.replace(key, state=KeyState.REVOKED) if key.name == name else key for key in keys
        ),
        {},
    )


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> KeyStore:
    return SigningKeyFiles(tmp_path / "dkim") if request.param == "files" else MemoryKeys()


def test_what_is_added_is_there(store: KeyStore) -> None:
    assert store.held() == ()
    one, two = made(), made("fabrikam.test")
    add(store, one, two)
    assert store.held() == (one[0], two[0])
    assert public_record(store.private(one[0])) == one[0].record
    assert public_record(store.private(two[0])) == two[0].record


def test_a_revoked_key_is_remembered_and_its_secret_is_not(store: KeyStore) -> None:
    one, two = made(), made()
    add(store, one, two)
    store.private(one[0])
    revoke(store, one[0].name)
    assert [key.state for key in store.held()] == [KeyState.REVOKED, KeyState.WAITING]
    with pytest.raises(OSError):
        store.private(store.held()[0])
    assert store.private(two[0])


def test_a_key_without_its_secret_cannot_be_read(store: KeyStore) -> None:
    with pytest.raises(OSError, match="contoso"):
        store.private(made()[0])


# --- files


def test_keys_are_nobody_elses(tmp_path: Path) -> None:
    os.umask(before := os.umask(0))
    folder = tmp_path / "state" / "dkim"
    try:
        os.umask(0)
        add(SigningKeyFiles(folder), made())
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name.rpartition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"pem": 0o600, "json": 0o600, "lock": 0o600}
    assert "PRIVATE" not in (folder / "index.json").read_text()


def test_others_see_a_change_at_their_next_look_and_read_nothing_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = SigningKeyFiles(tmp_path), SigningKeyFiles(tmp_path)
    assert reader.held() == ()
    one = made()
    add(writer, one)
    assert reader.held() == (one[0],)
    reader.private(one[0])
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or real(path))
    for _ in range(100):
        assert reader.held() is reader.held()
        reader.private(one[0])
    assert read == []
    revoke(writer, one[0].name)
    assert reader.held()[0].state is KeyState.REVOKED
    with pytest.raises(OSError):
        reader.private(reader.held()[0])


def test_a_damaged_index_is_no_empty_one(tmp_path: Path) -> None:
    store = SigningKeyFiles(tmp_path)
    add(store, made())
    (tmp_path / "index.json").write_text("[{")
    with pytest.raises(OSError, match="is damaged"):
        store.held()
    with pytest.raises(OSError, match="is damaged"):
        add(store, made())
    assert (tmp_path / "index.json").read_text() == "[{", "nothing is written over what cannot be read"


def test_a_damaged_key_is_told_with_its_file(tmp_path: Path) -> None:
    one = made()
    add(SigningKeyFiles(tmp_path), one)
    (pem,) = tmp_path.glob("*.pem")
    pem.write_text("rubbish")
    with pytest.raises(OSError, match=pem.name):
        SigningKeyFiles(tmp_path).private(one[0])


def test_the_longest_domain_has_a_file(tmp_path: Path) -> None:
    long = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 57, "com"])
    store = SigningKeyFiles(tmp_path)
    one, two = made(long), made(long)
    add(store, one, two)
    assert public_record(store.private(one[0])) == one[0].record
    assert len(list(tmp_path.glob("*.pem"))) == 2


CHILD = """
import sys, itertools
from pathlib import Path
sys.path[:0] = [{tests!r}]
from storage.test_signing_keys import add, made, revoke
from lockgate.storage.signing_keys import SigningKeyFiles
store = SigningKeyFiles(Path(sys.argv[1]))
print("ready", flush=True)
for number in itertools.count():
    one = made()
    add(store, one)
    if number % 2:
        revoke(store, store.held()[number - 1].name)
"""


def test_a_kill_leaves_the_keys_before_or_after(tmp_path: Path) -> None:
    tests = str(Path(__file__).resolve().parents[1])
    for attempt in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(tests=tests), str(tmp_path)], stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(0.05 + 0.017 * attempt)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        store = SigningKeyFiles(tmp_path)
        for key in store.held():
            if key.state is not KeyState.REVOKED:
                assert public_record(store.private(key)) == key.record
        json.loads((tmp_path / "index.json").read_text())
        (tmp_path / "index.json").unlink()
        add(SigningKeyFiles(tmp_path), made())
