"""What the desk's process tells of signing keys: alerts for those whose record is gone, and for a broken store."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lockgate.app.config import parse_config
from lockgate.app.config_operation import Alerts
from lockgate.app.dkim import KeyRoom, key_files, new_key
from lockgate.app.watch import Watch
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import load_key, public_record
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.keeping import ListedKeeping


def room(folder: Path) -> tuple[KeyRoom, HeldKey]:
    text = 'hostname = "mx.contoso.com"\n[dkim]\nlook = "5s"\nkeep_record = "1d"\n'
    config = parse_config(text, folder / "lockgate.toml")
    assert (config.dkim.look, config.dkim.keep_record) == (5.0, 86400.0)
    fresh = new_key("ed25519", 256, 1.7e9)
    record = public_record(load_key("contoso.com", fresh.selector, fresh.pem))
    key = HeldKey("contoso", "contoso.com", fresh.selector, "ed25519", 256, record, KeyState.ACTIVE, 1.0, 1.0)
    key_files(config).change(lambda keys: (key,), {key.name: fresh.pem})
    return KeyRoom(config, HandClock(), ListAudit(), ListJournal()), key


def noted(found: KeyRoom, **changes: object) -> None:
    found.store.change(lambda keys: tuple(msgspec.structs.replace(key, **changes) for key in keys), {})


def test_a_key_that_signs_without_its_record_is_told(tmp_path: Path) -> None:
    found, key = room(tmp_path)
    assert found.wrong() == {}
    noted(found, looked=2.0, said="there is no TXT record")
    assert found.wrong() == {
        ("signing key not in DNS", key.name): {"domain": "contoso.com", "because": "there is no TXT record"}
    }
    noted(found, silent=True)
    assert found.wrong() == {}, "silence is no answer"
    noted(found, silent=False, state=KeyState.RETIRING)
    assert found.wrong() == {}
    (tmp_path / "state" / "dkim" / "index.json").write_text("rubbish")
    assert list(found.wrong()) == [("signing keys unreadable", "")]


async def test_it_becomes_an_alert(tmp_path: Path) -> None:
    found, _ = room(tmp_path)
    noted(found, looked=2.0, said="there is no TXT record")
    journal = ListJournal()
    watch = Watch(
        ListedKeeping([], []), Alerts(disk_free=0), HandClock(), journal, state=tmp_path, others=(found.wrong,)
    )
    await watch.look()
    assert [happening for happening, _ in journal.alarms] == ["signing key not in DNS"]
    assert journal.alarms[0][1]["domain"] == "contoso.com"
