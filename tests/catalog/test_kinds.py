"""Every kind of condition and action, whatever there is: nothing is to be added here when a kind is added."""

import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from pydantic import BaseModel

from lockgate.cli.flags import flags_of
from lockgate.flow.contents import answers
from lockgate.flow.listed import on_list
from lockgate.mail.address import Address
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Among, AnyRecipient, Belongs, BelongsTo, InList, Known, RecipientKind, Who
from lockgate.mail.headers import message_of
from lockgate.mail.lists import ListKind, ListName
from lockgate.mail.ruling import Direction, Drop, Effects, Hit, Hold, Standing
from lockgate.policy import actions, conditions
from lockgate.policy.catalog import Catalog, CatalogError, standard
from lockgate.policy.compile import compile_policy
from lockgate.policy.kinds import InContext, LeftOut, LooksAtCase, Role
from lockgate.policy.listed import read_entry
from lockgate.policy.networks import parse_address as parse_peer
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.named_lists import NamedList
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import ConnectionFilter, Limits, Operator
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.problems import Invalid
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, Seen
from lockgate.testing.lists import MemoryLists, MemoryView
from policies import CONTOSO, policy, problems

CONDITIONS = list(standard().conditions.values())
ACTIONS = list(standard().actions.values())
KEPT = [kind for kind in CONDITIONS + ACTIONS if issubclass(kind.model, LeftOut)]
"""Those that are kept of Exchange's rules, and not done."""
OBJECTS = [
    Organisation,
    AcceptedDomain,
    InboundConnector,
    OutboundConnector,
    ConnectionFilter,
    Operator,
    Limits,
    MailFlowRule,
    NamedList,
]


BY_CASE = [kind.name for kind in ACTIONS if hasattr(kind.model, "compile_for")]
RULE = MailFlowRule(name="R", organisation="contoso")


ENTRIES = {
    "partners": (ListKind.DOMAINS, ["contoso.com"]),
    "vip": (ListKind.ADDRESSES, ["boss@contoso.com"]),
    "project names": (ListKind.WORDS, ["Card 4111", "LAST warning"]),
}
"""What is on the lists that examples name."""

KINDS = {name: kind for name, (kind, _) in ENTRIES.items()}
LISTS = MemoryLists()
LISTS.views = {
    ListName("", kind, name): MemoryView([read_entry(kind, text) for text in texts], 1)
    for name, (kind, texts) in ENTRIES.items()
}


def compiled(value, rule=RULE):
    """What runs, and whatever it looks for is ready to be found."""
    context = Context(policy().domains)
    if isinstance(value, LooksAtCase):
        made = value.compile_for(context, rule)
    else:
        made = value.compile_in(context, rule) if isinstance(value, InContext) else value.compile()
    context.seal()
    return made


def ran(kind, case, recipient, octets=None, people=None):
    """What the example makes of a case; with the octets, what is asked of the message itself is answered."""
    value = kind.model.model_validate(kind.example)
    context = Context(policy().domains, "", KINDS)
    made = value.compile_in(context, RULE) if isinstance(value, InContext) else value.compile()
    context.seal()
    if octets is not None:
        mine = SimpleNamespace(rules=SimpleNamespace(searches=context.searches))
        told = answers(SimpleNamespace(organisations={"": mine}), octets, tuple(context.asks), LISTS)
        case = case._replace(facts=case.facts.learn(told))
        for _ in range(10):
            case = case._replace(facts=case.facts.learn({q: people(q) for q in made(case, recipient).asks}))
    return made(case, recipient)


def _case(head, *, peer, size, standing):
    connection = Connection("C", peer, parse_peer(peer), 25, "192.0.2.1:25")
    message = message_of("id", head.replace("\n", "\r\n").encode() + b"\r\n", size, "here")
    return Case(Facts(0.0, connection, Envelope(None), (), message), standing)


def _insider(question):
    """A directory in which everybody belongs to everything, and the lists above; ana is one of the recipients."""
    if isinstance(question, AnyRecipient):
        return Among("ana", "ana@contoso.com")
    if isinstance(question, InList):
        return on_list(LISTS, question)
    if isinstance(question, BelongsTo):
        return Belongs(member=True)
    who = Who("contoso", RecipientKind.MAILBOX, Address("ana", "contoso.com"), None, {
        "department": "Sales", "manager": "boss@contoso.com",
    })  # fmt: skip
    return Known(who, 1)


def _stranger(question):
    """A directory that knows nobody, and the lists above; no recipient is anybody."""
    if isinstance(question, AnyRecipient):
        return Among()
    if isinstance(question, InList):
        return on_list(LISTS, question)
    return Belongs(member=False, gone=True) if isinstance(question, BelongsTo) else Known(None, 1)


_HEAD = (
    "From: Ana <ana.1234@contoso.com>, ana@contoso.com\nSubject: =?utf-8?q?Invoice_4711?=, last warning\n"
    "X-Mailer: BulkSender 1\nImportance: High\nAuto-Submitted: auto-replied\n"
    "To: All <all@contoso.com>\nCc: board@contoso.com\nX-MS-Exchange-CrossPremises-SCL: 9\n"
    "X-MS-Exchange-CrossPremises-Classification: company confidential\n"
)
_NESTED = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(40))

TRUE = (
    _case(
        _HEAD,
        peer="192.0.2.9",
        size=20 * 1024 * 1024,
        standing=Standing("contoso", accepted_domain="contoso.com", promotes=True, who_attributes={
            "city": "New Orleans", "department": "Sales", "manager": "ana@contoso.com",
        }),
    ),
    Address("ana", "contoso.com"),
    (
        _HEAD + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=koi8-r\n\n"
        "Card 4111-1111\n--b\nContent-Disposition: attachment; filename=invoice.exe\n\n" + "MZ" * 6000
        + "\n--b\n" + _NESTED
    ).replace("\n", "\r\n").encode(),
    _insider,
)  # fmt: skip
"""A case that every example is true of, and the message itself."""

FALSE = (
    _case(
        "From: Somebody <nobody@far.away.test>\nSubject: Greetings\nX-Mailer: mutt\n",
        peer="203.0.113.1",
        size=10,
        standing=Standing("contoso", Direction.ORIGINATING, "HQ", own_domain=True, who_attributes={"city": "Seattle"}),
    ),
    Address("zoe", "far.away.test"),
    b"Subject: Greetings\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHow are you?\r\n",
    _stranger,
)
"""A case that no example is true of, and the message itself."""


THE_OTHER_WAY_ROUND = ("has_no_classification",)
"""Conditions that say the opposite of another one."""


@pytest.mark.parametrize("kind", CONDITIONS + ACTIONS, ids=lambda kind: kind.name)
def test_a_kind_has_help_and_an_example_that_round_trips(kind):
    assert kind.summary and kind.summary[0].isupper() and not kind.summary.endswith(".")
    assert len(kind.help) > 10
    value = kind.model.model_validate(kind.example)
    assert kind.model.model_validate(value.model_dump(mode="json")) == value
    assert inspect.getdoc(kind.model)
    schema = standard().rule.model_json_schema()["properties"][kind.name]
    assert schema["description"].startswith(kind.summary)
    with pytest.raises(Exception, match="frozen"):
        value.root = None


@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.name)
def test_what_is_kept_and_not_done_says_so_and_does_no_harm(kind):
    told = kind.model.model_validate(kind.example).left_out()
    assert all(len(words) > 10 and not words.endswith(".") for words in told)
    assert kind.summary.startswith("Kept of a rule from Exchange; ")
    if kind.role is Role.CONDITION:
        seen = {ran(kind, *case) for case in (TRUE, FALSE)}
        assert {one.hit for one in seen} == {Hit.NO}
        assert all("never matches here" in one.because for one in seen)
        assert f"except_if_{kind.name}" in standard().rule.model_fields
        return
    change = compiled(kind.model.model_validate(kind.example))
    after, dropped = change(Effects()), Effects(end=Drop("rule X"))
    assert after == Effects() or (isinstance(after.end, Hold) and after.end.why.startswith("rule R: "))
    assert (after.end is None) == ("held" not in told.message), "people are told what becomes of the copy"
    assert change(after) == after and change(dropped) == dropped


@pytest.mark.parametrize("kind", [kind for kind in CONDITIONS if kind not in KEPT], ids=lambda kind: kind.name)
def test_a_condition_explains_hit_and_miss(kind):
    cases = (FALSE, TRUE) if kind.name in THE_OTHER_WAY_ROUND else (TRUE, FALSE)
    hit, miss = (ran(kind, *case) for case in cases)
    assert (hit.hit, miss.hit) == (Hit.YES, Hit.NO), (hit, miss)
    assert all(isinstance(one, Seen) and len(one.because) > 5 for one in (hit, miss))
    unasked = ran(kind, *cases[1][:2])
    assert unasked.hit in (Hit.NO, Hit.UNKNOWN), "what has not been looked at is never a hit"
    assert hit.because != miss.because
    assert f"except_if_{kind.name}" in standard().rule.model_fields


@pytest.mark.parametrize("kind", [kind for kind in ACTIONS if kind not in KEPT], ids=lambda kind: kind.name)
def test_an_action_changes_the_effects(kind):
    change = compiled(kind.model.model_validate(kind.example))
    if kind.name in BY_CASE:  # what it does depends on the case: unknown, then known
        unknown = change(TRUE[0])
        assert unknown.hit is Hit.UNKNOWN and unknown.asks
        told = {question: _insider(question) for question in unknown.asks}
        change = change(TRUE[0]._replace(facts=TRUE[0].facts.learn(told)))
    once = change(Effects())
    assert once != Effects()
    if kind.name == "prepend_subject":  # two rules with one prefix write it twice: no duplicate check (1.15.9)
        assert change(once) == msgspec.structs.replace(once, edits=once.edits * 2) != once
    else:
        assert change(once) == once


def written(value):
    """The value as TOML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {written(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("kind", CONDITIONS + ACTIONS, ids=lambda kind: kind.name)
def test_the_example_stands_in_a_rule(kind):
    needed = '[[outbound_connector]]\nname = "NOLA"\nis_transport_rule_scoped = true\n' + "".join(
        f'[[named_list]]\nname = "{name}"\nkind = "{which}"\n' for name, which in KINDS.items()
    )
    example = written(kind.example)
    found = policy(f'{needed}[[mail_flow_rule]]\nname = "R"\n{kind.name} = {example}\n').of("contoso").rules.all
    assert len(found[0].when) + len(found[0].then) + len(found[0].finds) == 1


@pytest.mark.parametrize("model", OBJECTS, ids=lambda model: model.__name__)
def test_every_property_has_description_and_example_that_is_valid(model):
    assert inspect.getdoc(model)
    assert model.model_config["frozen"] and model.model_config["extra"] == "forbid"
    required = {name: info.examples[0] for name, info in model.model_fields.items() if info.is_required()}
    for name, info in model.model_fields.items():
        assert info.description, name
        assert info.examples, name
        for example in info.examples:
            value = model.model_validate({**required, name: example})
            assert model.model_validate(value.model_dump(mode="json")) == value
    assert issubclass(model, BaseModel)
    model.model_json_schema()


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adding-a-condition.md").read_text("utf-8")
NEW, NEW_RULE = re.search(r"^```python\n(.*?)^```.*?^```toml\n(.*?)^```", PAGE, re.S | re.M).groups()
"""What the page for people tells them to write: the whole file of a condition, and a rule with it."""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    folder = tmp_path / "more_conditions"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""More conditions."""\n')
    (folder / "local_part.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("more_conditions")
    for name in [name for name in sys.modules if name.startswith("more_conditions")]:
        del sys.modules[name]


def test_a_condition_is_added_by_one_file(plugin):
    catalog = Catalog.collect(conditions, actions, plugin)
    text = CONTOSO + NEW_RULE
    found = compile_policy({"a": text}, hostname="mx.test", revision=1, catalog=catalog)
    (rule,) = found.of("contoso").rules.could_match(None, Address("info", "contoso.com"))
    assert {test(None, Address("info", "contoso.com")).hit for test in rule.when} == {Hit.YES}
    assert rule.unless[0](None, Address("noinfo", "contoso.com")) == Seen(Hit.YES, "it is noinfo")
    wrong = text.replace("recipient_local_part_is =", "recipient_local_prt_is =", 1)
    with pytest.raises(Invalid, match="did you mean 'recipient_local_part_is'"):
        compile_policy({"a": wrong}, hostname="mx.test", revision=1, catalog=catalog)
    flags = {flag.key: flag for flag in flags_of("mail_flow_rule", catalog=catalog)}
    assert "The part before the @ is one of these. Parts before the @." in flags["recipient_local_part_is"].help
    assert flags["except_if_recipient_local_part_is"].listed


def test_adding_leaves_the_standard_catalog_alone(plugin):
    Catalog.collect(conditions, actions, plugin)
    assert "recipient_local_part_is" not in standard().conditions
    found = problems('[[mail_flow_rule]]\nname = "R"\nrecipient_local_part_is = ["a"]\n')
    assert found[0].path == "mail_flow_rule[0].recipient_local_part_is"


def test_two_kinds_of_one_name_are_an_error(plugin):
    with pytest.raises(CatalogError, match="recipient_local_part_is"):
        Catalog.collect(plugin, plugin)


@pytest.mark.parametrize("name", ["enabled", "except_if_recipient_domain_is"])
def test_a_kind_must_not_take_the_name_of_something_else(plugin, name):
    module = importlib.import_module("more_conditions.local_part")
    source = NEW.replace("recipient_local_part_is", name, 1)
    exec(source, module.__dict__)
    module.RecipientLocalPartIs.__module__ = module.__name__
    with pytest.raises(CatalogError, match=name):
        Catalog.collect(conditions, actions, plugin)


def test_marks_register_nothing_and_are_not_inherited():
    from lockgate.policy.conditions.recipient import RecipientDomainIs
    from lockgate.policy.kinds import kind_of

    class Child(RecipientDomainIs):
        pass

    assert kind_of(RecipientDomainIs).name == "recipient_domain_is"
    assert kind_of(Child) is None
    assert kind_of(RecipientDomainIs(("a.test",))) is None
