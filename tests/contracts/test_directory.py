"""Every directory answers alike (seams.Directory)."""

from __future__ import annotations

import pytest

from contracts.spools import HandClock
from lockgate.mail.address import Address
from lockgate.mail.findings import Known, RecipientKind, Unknown, Who
from lockgate.storage.directory import DirectoryTable, RecipientRow, build_table
from lockgate.testing.memory import MemoryDirectory

OUTSIDE = Address("a", "fabrikam.com")
ANN = Who("contoso", RecipientKind.MAIL_USER, Address("Ann", "contoso.com"), OUTSIDE, {"city": "NOLA"})
BOB = Who("contoso", RecipientKind.MAILBOX, Address("bob", "contoso.com"))
OTHER = Who("fabrikam", RecipientKind.GROUP, Address("all", "contoso.com"))


@pytest.fixture(params=["memory", "table"])
def directory(request, tmp_path):
    if request.param == "memory":
        return MemoryDirectory({
            ("contoso", "ann@contoso.com"): ANN, ("contoso", "anna@contoso.com"): ANN,
            ("contoso", "bob@contoso.com"): BOB, ("fabrikam", "all@contoso.com"): OTHER,
        })  # fmt: skip
    build_table(tmp_path / "t", [
        RecipientRow("contoso", ANN.kind, ANN.primary, ANN.external, (Address("Anna", "contoso.com"),), ANN.attributes),
        RecipientRow("contoso", BOB.kind, BOB.primary), RecipientRow("fabrikam", OTHER.kind, OTHER.primary),
    ])  # fmt: skip
    return DirectoryTable(tmp_path / "t", HandClock())


def test_primary_and_proxy_addresses_lead_to_the_recipient(directory):
    assert directory.who_is("contoso", Address("ANN", "contoso.com").key) == Known(ANN, 1)
    assert directory.who_is("contoso", "anna@contoso.com") == Known(ANN, 1)
    assert directory.who_is("contoso", "bob@contoso.com") == Known(BOB, 1)


def test_nobody_is_an_answer_and_organisations_are_apart(directory):
    assert directory.who_is("contoso", "nobody@contoso.com") == Known(None, 1)
    assert directory.who_is("contoso", "all@contoso.com") == Known(None, 1)
    assert directory.who_is("fabrikam", "all@contoso.com") == Known(OTHER, 1)
    assert directory.who_is("fabrikam", "bob@contoso.com") == Known(None, 1)
    for odd in ("", "\0", "x" * 100_000, "ü@contoso.com", "\ud800@x"):
        assert directory.who_is("contoso", odd) == Known(None, 1)


def test_what_cannot_be_read_is_unknown(directory, tmp_path):
    if isinstance(directory, MemoryDirectory):
        directory.broken = "on fire"
    else:
        (tmp_path / "t").unlink()
    assert isinstance(directory.who_is("contoso", "bob@contoso.com"), Unknown)
