"""Suppositions: one table, read strictly, and what they answer."""

from __future__ import annotations

import pytest

from lockgate.flow.suppose import TABLE, Unsupposable, forms, read_suppositions
from lockgate.mail.address import Address
from lockgate.mail.authentication import Authenticated
from lockgate.mail.findings import (
    Forwarding,
    Found,
    InText,
    Known,
    Members,
    MembersOf,
    Question,
    RecipientKind,
    Unknown,
    WhatParts,
    WhoIs,
    WhoSent,
)
from lockgate.mail.structure import Part, Structure
from lockgate.testing.builders import facts_of, people, who_of

ANN, BOB = WhoIs("contoso", "ann@contoso.com"), WhoIs("contoso", "bob@contoso.com")
LIVE = people(who_of("contoso", "ann@contoso.com"), who_of("contoso", "bob@contoso.com"))


def answers(*texts: str) -> dict[Question, object]:
    return dict(read_suppositions(texts).over(LIVE)((ANN, BOB)))


def test_what_is_not_supposed_is_asked() -> None:
    assert answers() == LIVE((ANN, BOB))
    found = answers("who-is Ann@Contoso.com = nobody")
    assert found[ANN] == Known(None, 0) and found[BOB] == LIVE((BOB,))[BOB]


def test_everybody_or_one() -> None:
    found = answers("directory = unknown the table is gone", "who-is ann@contoso.com = mailbox")
    assert found[BOB] == Unknown("the table is gone")
    assert isinstance(found[ANN], Known) and found[ANN].who is not None
    assert found[ANN].who.kind is RecipientKind.MAILBOX and found[ANN].who.primary.text == "ann@contoso.com"
    assert answers("directory = nobody")[BOB] == Known(None, 0)
    assert answers("directory = unknown")[BOB] == Unknown("supposed")
    known = answers("directory = mail_user")[BOB]
    assert isinstance(known, Known) and known.who is not None and known.who.primary.text == "bob@contoso.com"


def test_primary_and_external_address() -> None:
    found = answers("who-is ann@contoso.com = mail_contact first@contoso.com -> ann@far.test")[ANN]
    assert isinstance(found, Known) and found.who is not None and found.who.external is not None
    assert (found.who.primary.text, found.who.external.text) == ("first@contoso.com", "ann@far.test")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("spf = fail", "nothing asks about 'spf'"),
        ("dmarc = foil", "'foil' is none of none, pass, fail"),
        ("dmarc x@y.test = fail", "dmarc concerns the message"),
        ("dmarc = fail not..a-domain", "'fail not..a-domain'"),
        ("who-sent = nobody", "write who-sent = unknown"),
        ("parts x = run.exe", "parts concern the message"),
        ("text = perhaps", "write text = found"),
        ("direktory = nobody", "did you mean 'directory'?"),
        ("who-is = nobody", "is no address"),
        ("who-is ann@contoso.com = mailboks", "did you mean 'mailbox'?"),
        ("who-is ann@contoso.com = mailbox not-an-address", "an address needs a local part"),
        ("directory ann@contoso.com = nobody", "write who-is ann@contoso.com"),
        ("directory", "is not understood; write who-is ADDRESS = nobody"),
        ("= x", "is not understood"),
        ("members-of staff = ann@contoso.com", "write members-of sales@contoso.com"),
        ("members-of staff@contoso.com = ann", "write members-of sales@contoso.com"),
        ("who-is ann@contoso.com = mailbox forwarding b@x.test always", "write forwarding ADDRESS"),
        ("who-is ann@contoso.com = mailbox forwarding nobody", "an address needs a local part"),
    ],
)
def test_nonsense_is_told_with_what_could_be_written(text: str, says: str) -> None:
    with pytest.raises(Unsupposable) as trouble:
        read_suppositions((text,))
    assert says in str(trouble.value)


def test_a_supposition_wins_over_what_is_on_record() -> None:
    facts = facts_of("x@sender.test", "ann@contoso.com", findings=LIVE((ANN, BOB)))
    left = read_suppositions(("who-is ann@contoso.com = nobody",)).forget(facts)
    assert left.findings.get(ANN) is None and left.findings.get(BOB) is not None


def test_who_sent_it() -> None:
    asked = WhoSent("contoso")

    def answer(text: str) -> object:
        return read_suppositions((text,)).answer(asked)

    found = answer("dmarc = fail d.test reject")
    assert isinstance(found, Authenticated)
    assert (found.dmarc.verdict, found.dmarc.wish, found.dmarc.domain) == ("fail", "reject", "d.test")
    assert answer("who-sent = unknown no answer") == Unknown("no answer")
    assert answer("directory = nobody") is None


def test_what_is_in_the_message() -> None:
    parts, text = WhatParts("contoso"), InText("contoso", "digest")
    found = read_suppositions(["parts = run.exe, plan.pdf", "text = found project falcon"])
    structure = found.answer(parts)
    assert isinstance(structure, Structure)
    assert [part.names for part in structure.parts if part.attachment] == [("run.exe",), ("plan.pdf",)]
    assert found.answer(text) == Found("project falcon")
    assert read_suppositions(["text = nothing"]).answer(text) == Found("")
    assert read_suppositions(["text = unknown too large"]).answer(text) == Unknown("too large")
    assert read_suppositions(["parts = unknown"]).answer(parts) == Unknown("supposed")
    assert read_suppositions(["parts = none"]).answer(parts) == Structure(
        (Part("multipart/mixed", 0, 0), Part("text/plain", 1, 100))
    )
    assert read_suppositions(["parts = none"]).answer(text) is None


def test_forwarding_and_members_of_groups() -> None:
    found = answers("who-is ann@contoso.com = mailbox ann@contoso.com forwarding a@far.test with copy by user")[ANN]
    assert isinstance(found, Known) and found.who is not None
    assert found.who.forwarding == Forwarding(Address("a", "far.test"), keeps_copy=True, by_user=True)
    plain = answers("who-is ann@contoso.com = mailbox forwarding a@far.test")[ANN]
    assert isinstance(plain, Known) and plain.who is not None
    assert plain.who.forwarding == Forwarding(Address("a", "far.test"), keeps_copy=False)
    staff = MembersOf("contoso", "staff@contoso.com")
    supposed = read_suppositions(("members-of Staff@contoso.com = ann@contoso.com, x@far.test",))
    assert supposed.answer(staff) == Members((), (Address("ann", "contoso.com"), Address("x", "far.test")), 0)
    assert supposed.answer(MembersOf("contoso", "other@contoso.com")) is None
    for text in ("members-of staff@contoso.com = unknown on fire", "directory = unknown on fire"):
        assert read_suppositions((text,)).answer(staff) == Unknown("on fire")
    assert read_suppositions(("directory = nobody",)).answer(staff) is None


def test_what_only_others_know_is_left_out() -> None:
    assert read_suppositions(("directory = nobody",)).over(lambda questions: {})((WhoSent("contoso"),)) == {}


def test_every_entry_of_the_table_says_how_it_is_written() -> None:
    assert all(kind.forms and all(form.written.startswith(kind.name) for form in kind.forms) for kind in TABLE)
    assert "directory = nobody" in forms()
