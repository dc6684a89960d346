"""Every directory answers alike (seams.Directory)."""

from __future__ import annotations

import pytest

from contracts.spools import HandClock
from lockgate.mail.address import Address
from lockgate.mail.findings import Forwarding, Known, Members, RecipientKind, Restriction, Unknown, Who
from lockgate.storage.directory import DirectoryTable, RecipientRow, build_table
from lockgate.storage.recipients import RecipientStore
from lockgate.testing.memory import MemoryDirectory

OUTSIDE = Address("a", "fabrikam.com")
ANN = Who("contoso", RecipientKind.MAIL_USER, Address("Ann", "contoso.com"), OUTSIDE, {"city": "NOLA"})
BOB = Who("contoso", RecipientKind.MAILBOX, Address("bob", "contoso.com"), None, {}, Forwarding(OUTSIDE, False, True))
CLOSED = Restriction(True, True, ("ann@contoso.com",), ("team@contoso.com",))
TEAM = Who("contoso", RecipientKind.GROUP, Address("Team", "contoso.com"), None, {"notes": "all of us"}, None, CLOSED)
EMPTY = Who("contoso", RecipientKind.GROUP, Address("empty", "contoso.com"))
OTHER = Who("fabrikam", RecipientKind.GROUP, Address("all", "contoso.com"))
CARL = Address("Carl", "far.com")
ALL = Address("all", "contoso.com")
IN_TEAM = (Address("ANNA", "contoso.com"), CARL, Address("bob", "contoso.com"), ANN.primary, ALL, EMPTY.primary)
IN_OTHER = (Address("bob", "contoso.com"),)


def rows() -> list[RecipientRow]:
    return [
        RecipientRow("contoso", ANN.kind, ANN.primary, ANN.external, (Address("Anna", "contoso.com"),), ANN.attributes),
        RecipientRow("contoso", BOB.kind, BOB.primary, forwarding=BOB.forwarding),
        RecipientRow("contoso", TEAM.kind, TEAM.primary, None, (Address("crew", "contoso.com"),), TEAM.attributes,
                     IN_TEAM, (BOB.primary,), None, CLOSED),
        RecipientRow("contoso", EMPTY.kind, EMPTY.primary),
        RecipientRow("fabrikam", OTHER.kind, OTHER.primary, members=IN_OTHER),
    ]  # fmt: skip


@pytest.fixture(params=["memory", "table", "log", "merged"])
def directory(request, tmp_path):
    if request.param == "memory":
        people = {("contoso", "anna@contoso.com"): ANN, ("contoso", "crew@contoso.com"): TEAM}
        people |= {(who.organisation, who.primary.key): who for who in (ANN, BOB, TEAM, EMPTY, OTHER)}
        members = {("contoso", "team@contoso.com"): IN_TEAM, ("fabrikam", "all@contoso.com"): IN_OTHER}
        return MemoryDirectory(people, {group: [one.text for one in listed] for group, listed in members.items()})
    if request.param == "table":
        build_table(tmp_path / "recipients.table", rows())
    else:
        store = RecipientStore(tmp_path)
        store.ensure()
        for row in rows():
            revision = store.change(row.organisation, [], [row])
        if request.param == "merged":
            store.merge()
        assert revision == 6
    return DirectoryTable(tmp_path / "recipients.table", HandClock())


def whose(directory, organisation: str, address: str) -> Who | None:
    found = directory.who_is(organisation, address)
    assert isinstance(found, Known) and found.revision >= 1, found
    return found.who


def test_primary_and_proxy_addresses_lead_to_the_recipient(directory):
    assert whose(directory, "contoso", Address("ANN", "contoso.com").key) == ANN
    assert whose(directory, "contoso", "anna@contoso.com") == ANN
    assert whose(directory, "contoso", "bob@contoso.com") == BOB
    assert whose(directory, "contoso", "team@contoso.com") == whose(directory, "contoso", "crew@contoso.com") == TEAM


def test_nobody_is_an_answer_and_organisations_are_apart(directory):
    assert whose(directory, "contoso", "nobody@contoso.com") is None
    assert whose(directory, "contoso", "all@contoso.com") is None
    assert whose(directory, "fabrikam", "all@contoso.com") == OTHER
    assert whose(directory, "fabrikam", "bob@contoso.com") is None
    for odd in ("", "\0", "x" * 100_000, "ü@contoso.com", "\ud800@x"):
        assert whose(directory, "contoso", odd) is None
        assert directory.members_of("contoso", odd).known == ()


def test_members_are_recipients_of_the_organisation_or_addresses(directory):
    found = directory.members_of("contoso", "team@contoso.com")
    revision = directory.who_is("contoso", "team@contoso.com").revision
    # Ann is named twice, by her alias and by her primary address, and is one member.
    assert found == Members((ANN, BOB, EMPTY), (CARL, Address("all", "contoso.com")), revision)
    assert directory.members_of("fabrikam", "all@contoso.com") == Members((), IN_OTHER, revision)


def test_what_is_no_group_and_an_empty_one_have_no_members(directory):
    for address in ("empty@contoso.com", "ann@contoso.com", "nobody@contoso.com", "all@contoso.com"):
        found = directory.members_of("contoso", address)
        assert isinstance(found, Members) and (found.known, found.others) == ((), ())


def test_what_cannot_be_read_is_unknown(directory, tmp_path):
    if isinstance(directory, MemoryDirectory):
        directory.broken = "on fire"
    else:
        (tmp_path / "recipients.table").unlink()
    assert isinstance(directory.who_is("contoso", "bob@contoso.com"), Unknown)
    assert isinstance(directory.members_of("contoso", "team@contoso.com"), Unknown)
