"""Groups, forwarding and restrictions in recipient files: every form, every mistake, nothing lost on the way back."""

from __future__ import annotations

import io
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.flow.cells import split
from lockgate.flow.loading import Progress, Wishes, load
from lockgate.flow.memberships import MOST_MEMBERS, objections
from lockgate.flow.recipients import Wrong, csv_line, name_of, read_rows
from lockgate.mail.address import Address, parse_address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Forwarding, RecipientKind, Restriction
from lockgate.storage.recipients import RecipientStore
from lockgate.testing.recipients import MemoryRecipients

HEAD = "address,kind,members,managed_by,forwarding_address,deliver_to_mailbox_and_forward,accept_messages_only_from\n"


def found(text: str, form: str = "csv") -> list[tuple[int, RecipientRow] | Wrong]:
    return list(read_rows(io.StringIO(text, newline=""), form, "people", "contoso"))


def row(line: str, head: str = HEAD) -> RecipientRow:
    (one,) = found(head + line + "\n")
    assert not isinstance(one, Wrong), one
    return one[1]


def wrong(line: str, head: str = HEAD) -> list[tuple[str, str]]:
    told = found(head + line + "\n")
    assert all(isinstance(one, Wrong) for one in told)
    return [(one.column, one.message) for one in told]


def test_a_group_has_members_and_managers():
    one = row('all@c.test,distribution_group,"Ann@c.test; SMTP:x@far.test ann@C.test","boss@c.test"')
    assert one.members == (Address("Ann", "c.test"), Address("x", "far.test"))
    assert one.managed_by == (Address("boss", "c.test"),)


def test_a_mailbox_forwards_and_keeps_a_copy_unless_it_is_said_otherwise():
    assert row("a@c.test,mailbox,,,x@far.test,,").forwarding == Forwarding(Address("x", "far.test"))
    assert row("a@c.test,mail_user,,,x@far.test,False,").forwarding == Forwarding(Address("x", "far.test"), False)
    # Exchange's exports say False for everybody who does not forward.
    assert row("a@c.test,distribution_group,,,,False,").forwarding is None
    by_user = row("a@c.test,mailbox,x@far.test,yes", "address,kind,ForwardingSmtpAddress,forwarding_by_user\n")
    assert by_user.forwarding == Forwarding(Address("x", "far.test"), True, True)


def test_restrictions_are_keys_and_an_empty_one_is_none():
    one = row("a@c.test,mailbox,,,,,B@c.test; team@c.test")
    assert one.restriction == Restriction(accept_from=("b@c.test", "team@c.test"))
    head = "address,kind,RequireSenderAuthenticationEnabled,members_only,RejectMessagesFromSendersOrMembers\n"
    assert row("a@c.test,distribution_group,True,1,x@c.test", head).restriction == Restriction(
        True, True, (), ("x@c.test",)
    )
    assert row("a@c.test,distribution_group,False,no,", head).restriction is None
    assert name_of("require_sender_authentication") == "require_sender_authentication_enabled"


def test_toml_says_the_same_with_lists_and_truths():
    text = (
        '[[recipient]]\naddress = "all@c.test"\nkind = "distribution_group"\nmembers = ["a@c.test", "b@c.test"]\n'
        'members_only = true\naccept_messages_only_from = "a@c.test"\n\n'
        '[[recipient]]\naddress = "x@c.test"\nmembers_only = "perhaps"\n\n'
        '[[recipient]]\naddress = "y@c.test"\ncity = ["a"]\nmembers = true\nkind = true\n'
    )
    told = found(text, "toml")
    assert not isinstance(told[0], Wrong)
    assert told[0][1].restriction == Restriction(members_only=True, accept_from=("a@c.test",))
    assert [(one.line, one.column) for one in told[1:] if isinstance(one, Wrong)] == [
        (8, "members_only"), (12, "city"), (12, "members"), (12, "kind"),
    ]  # fmt: skip
    assert "neither true nor false" in told[1].message and "list of texts" in told[3].message


@pytest.mark.parametrize(("line", "column", "said"), [
    ("a@c.test,mailbox,b@c.test,,,,", "members", "only a distribution group can have it; this is a mailbox"),
    ("a@c.test,mail_user,,b@c.test,,,", "managed_by", "only a distribution group"),
    ("a@c.test,distribution_group,A@c.test,,,,", "members", "a group cannot be a member of itself (A@c.test)"),
    ("a@c.test,distribution_group,,,x@far.test,,", "forwarding_smtp_address", "make the address a member instead"),
    ("a@c.test,mail_contact,,,x@far.test,,", "forwarding_smtp_address", "give it an external_address instead"),
    ("a@c.test,mailbox,,,A@C.test,,", "forwarding_smtp_address", "it would forward to itself"),
    ("a@c.test,mailbox,,,nonsense,,", "forwarding_smtp_address", "'nonsense' is no address"),
    ("a@c.test,mailbox,,,x@far.test,perhaps,", "deliver_to_mailbox_and_forward", "neither true nor false"),
    ("a@c.test,mail_contact,,,,,b@c.test", "accept_messages_only_from", "groups, mailboxes and mail users"),
    ("a@c.test,mailbox,,,,,b c@c.test", "accept_messages_only_from", "'b' is no address"),
])  # fmt: skip
def test_what_cannot_be_is_told_with_its_column(line, column, said):
    assert any(one == column and said in message for one, message in wrong(line)), wrong(line)


def test_lists_have_bounds_and_a_list_of_nonsense_is_told_shortly():
    many = " ".join(f"u{n}@c.test" for n in range(MOST_MEMBERS))
    assert len(row(f"all@c.test,distribution_group,{many},,,,").members) == MOST_MEMBERS
    assert "at most 100000" in wrong(f"all@c.test,distribution_group,{many} one@more.test,,,,")[0][1]
    assert "at most 500" in wrong(f"a@c.test,mailbox,,,,,{' '.join(f'u{n}@c.test' for n in range(501))}")[0][1]
    assert len(wrong(f"all@c.test,distribution_group,{'x ' * 5000},,,,")) == 20


@given(st.text(string.printable, max_size=200))
def test_lists_are_split_outside_quotes_only(text):
    parts = split(text)
    assert all(parts)
    if '"' not in text:
        assert " ".join(parts).split() == text.replace(";", " ").split()
    assert split('"a b; c"@x.test;d@x.test "e') == ['"a b; c"@x.test', "d@x.test", '"e']


# --- export and import ----------------------------------------------------------------------------------------------

local = st.text(string.ascii_letters + string.digits + "+-_'=!", min_size=1, max_size=12) | st.sampled_from(
    ['"q s; t"', '"a\\"b"', "é", "ß"]
)
address = st.builds(lambda name, domain: parse_address(f"{name}@{domain}", utf8=True), local,
                    st.sampled_from(["c.test", "far.test", "bücher.test"]))  # fmt: skip


def unique(many: list[Address]) -> tuple[Address, ...]:
    return tuple({one.key: one for one in many}.values())


lists = st.lists(address, max_size=5).map(lambda many: tuple(one.key for one in unique(many)))
restriction = st.builds(Restriction, st.booleans(), st.booleans(), lists, lists).map(
    lambda one: None if one == Restriction() else one
)
value = st.text(min_size=1, max_size=30).map(str.strip).filter(lambda text: text and "\0" not in text)
recipient = st.builds(
    RecipientRow, st.just("contoso"), st.sampled_from(RecipientKind), address, st.none() | address,
    st.lists(address, max_size=3).map(unique), st.dictionaries(st.sampled_from(["city", "notes"]), value),
    st.lists(address, max_size=8).map(unique), st.lists(address, max_size=2).map(unique),
    st.none() | st.builds(Forwarding, address, st.booleans(), st.booleans()), st.none() | restriction,
    st.builds(dict) | st.dictionaries(st.sampled_from(["city", "custom_attribute7"]), value, min_size=1),
).filter(
    lambda one: not ((one.members and one.recipient_filter) or objections(one))
    and all(proxy.key != one.primary.key for proxy in one.proxies)
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(recipient, min_size=1, max_size=6))
def test_what_is_exported_is_imported_as_it_was(rows):
    told = [json.loads(json.dumps(one.told())) for one in rows]
    back = found("".join(csv_line(one) for one in [None, *told]))
    assert [one if isinstance(one, Wrong) else one[1] for one in back] == rows


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryRecipients()
    made = RecipientStore(tmp_path / "directory")
    made.ensure()
    return made


def test_an_import_tells_restrictions_that_name_nobody(store):
    head = "address,kind,aliases,accept_messages_only_from\n"
    lines = [head, "team@c.test,distribution_group,,ann@c.test a@c.test ghost@c.test\n", "ann@c.test,,a@c.test,\n"]
    told = load(lines, Wishes("contoso", "csv", "people.csv"), store, Progress(print))
    assert told["warnings"] == [
        "people.csv:2: who may send to team@c.test names a@c.test, which is an alias; write its primary address "
        "ann@c.test",
        "people.csv:2: who may send to team@c.test names ghost@c.test, which is no recipient here",
    ]
    # With --keep-missing those that are there already count as well.
    lines = [head, "crew@c.test,distribution_group,,ann@c.test\n"]
    told = load(lines, Wishes("contoso", "csv", "p", keep_missing=True), store, Progress(print))
    assert told["warnings"] == [] and store.row("contoso", "team@c.test") is not None
