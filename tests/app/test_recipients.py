"""Imported recipients reach the table that workers read, organisation by organisation."""

from __future__ import annotations

import pytest

from lockgate.app.clock import SystemClock
from lockgate.app.recipients import RecipientLists
from lockgate.flow.recipients import read_recipients
from lockgate.mail.findings import Known
from lockgate.storage.directory import DirectoryTable


def entries(text: str, organisation: str):
    return read_recipients(f"address,aliases,city\n{text}", "csv", "t", organisation)


def found(store: RecipientLists, organisation: str, address: str):
    answer = DirectoryTable(store.table, SystemClock()).who_is(organisation, address)
    assert isinstance(answer, Known), answer
    return answer.who


def test_an_import_replaces_its_own_organisation_only(tmp_path):
    store = RecipientLists(tmp_path / "directory")
    first = store.replace("contoso", entries("ann@contoso.test,a@contoso.test,Bonn\n", "contoso"))
    store.replace("fabrikam / x", entries("bob@fabrikam.test,,\n", "fabrikam / x"))
    who = found(store, "contoso", "a@contoso.test")
    assert who is not None and who.primary.text == "ann@contoso.test" and who.attributes == {"city": "Bonn"}
    last = store.replace("contoso", entries("carl@contoso.test,,\n", "contoso"))
    assert last > first
    assert found(store, "contoso", "ann@contoso.test") is None
    assert found(store, "contoso", "carl@contoso.test") is not None
    assert found(store, "fabrikam / x", "bob@fabrikam.test") is not None
    assert found(store, "contoso", "bob@fabrikam.test") is None


def test_a_failed_import_changes_nothing(tmp_path):
    store = RecipientLists(tmp_path / "directory")
    store.replace("contoso", entries("ann@contoso.test,,\n", "contoso"))
    store.table.rename(tmp_path / "kept")
    store.table.mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError):
        store.replace("contoso", entries("bob@contoso.test,,\n", "contoso"))
    store.table.rmdir()
    (tmp_path / "kept").rename(store.table)
    store.replace("other", entries("x@other.test,,\n", "other"))
    assert found(store, "contoso", "ann@contoso.test") is not None
    assert found(store, "contoso", "bob@contoso.test") is None
