"""Who belongs to a group: nested, in circles, gone, and remembered no longer than it is true."""

from __future__ import annotations

from lockgate.flow.belonging import Groups
from lockgate.mail.address import Address
from lockgate.mail.findings import Belongs, BelongsTo, RecipientKind, Unknown, Who
from lockgate.testing.memory import MemoryDirectory


def who(local: str, kind: RecipientKind = RecipientKind.MAILBOX) -> Who:
    return Who("contoso", kind, Address(local, "contoso.com"))


def directory(**members: list[str]) -> MemoryDirectory:
    people = {f"{name}@contoso.com": who(name) for name in ("ana", "ben")}
    people |= {f"{name}@contoso.com": who(name, RecipientKind.GROUP) for name in members}
    people["a.na@contoso.com"] = people["ana@contoso.com"]
    return MemoryDirectory(
        {("contoso", key): one for key, one in people.items()},
        {("contoso", f"{name}@contoso.com"): listed for name, listed in members.items()},
    )


def asked(groups: Groups, group: str, address: str) -> Belongs | Unknown:
    return groups.belongs(BelongsTo("contoso", f"{group}@contoso.com", address))


def test_directly_within_a_group_and_by_any_address() -> None:
    groups = Groups(directory(rome=["ana@contoso.com", "x@far.example"], italy=["rome@contoso.com"]))
    for group in ("rome", "italy"):
        assert asked(groups, group, "ana@contoso.com").member
        assert asked(groups, group, "a.na@contoso.com").member
        assert asked(groups, group, "x@far.example").member
        assert not asked(groups, group, "ben@contoso.com").member
    assert asked(groups, "italy", "rome@contoso.com").member


def test_circles_end() -> None:
    groups = Groups(directory(one=["two@contoso.com"], two=["one@contoso.com", "ben@contoso.com"]))
    assert asked(groups, "one", "ben@contoso.com").member
    assert not asked(groups, "one", "ana@contoso.com").member


def test_a_group_that_is_gone_or_no_group() -> None:
    groups = Groups(directory())
    assert asked(groups, "nobody", "ana@contoso.com") == Belongs(member=False, gone=True, revision=1)
    assert asked(groups, "ben", "ana@contoso.com").gone


def test_a_change_is_seen() -> None:
    people = directory(rome=["ana@contoso.com"])
    groups = Groups(people)
    assert not asked(groups, "rome", "ben@contoso.com").member
    people.members["contoso", "rome@contoso.com"] = ["ben@contoso.com"]
    people.revision += 1
    assert asked(groups, "rome", "ben@contoso.com").member
    assert not asked(groups, "rome", "ana@contoso.com").member


def test_a_directory_that_cannot_be_read() -> None:
    people = directory(rome=["ana@contoso.com"])
    people.broken = "the table is damaged"
    assert asked(Groups(people), "rome", "ana@contoso.com") == Unknown("the table is damaged")
