"""Objects written as TOML are read back equal, edited ones too; hostile documents give problems, never a traceback."""

import random
import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.policy.catalog import standard
from lockgate.policy.compile import compile_policy
from lockgate.policy.documents import read
from lockgate.policy.problems import Invalid
from lockgate.policy.written import toml_of
from policies import CONTOSO

FULL = (
    CONTOSO
    + """\
default = true
proven_at = 2026-03-01T10:00:00Z
comment = "with \\"quotes\\", \\\\ and \\u007f"
[[connection_filter]]
ip_allow_list = ["192.0.2.25", "198.51.100.0/24", "2001:db8::1-2001:db8::9"]
[[inbound_connector]]
name = "Bank"
sender_domains = ["contosobank.com"]
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["203.0.113.0/24"]
[[outbound_connector]]
name = "NOLA"
is_transport_rule_scoped = true
use_mx_record = false
smart_hosts = ["mail.contoso.com:2525", "[2001:db8::1]:25"]
tls_settings = "certificate_validation"
size_limit = "25MB"
login_user = "u"
login_secret = "env:X"
[[mail_flow_rule]]
name = "City"
priority = 0
recipient_domain_is = ["a.contoso.com"]
except_if_recipient_domain_is = ["b.a.contoso.com"]
route_message_outbound_connector = "NOLA"
[[mailbox_store]]
name = "Dovecot"
kind = "lmtp"
servers = ["store.contoso.com:24", "unix:/run/dovecot/lmtp", "[2001:db8::7]:24"]
[operator]
ip_block_list = ["192.0.2.66"]
limits = { connections = 500 }
"""
)


def objects(text):
    documents, problems, _ = read({"a": text}, standard())
    assert problems == []
    found = [(written.table, written.value) for written in documents.everything()]
    return found + ([("operator", documents.operator.value)] if documents.operator else [])


def test_written_and_read_again():
    first = objects(FULL)
    again = toml_of(first)
    assert objects(again) == first
    compiled = [compile_policy({"a": text}, hostname="mx.test", revision=1).digest for text in (FULL, again)]
    assert compiled[0] == compiled[1]


def test_an_edited_object_is_written_and_read_again():
    table, connector = next(pair for pair in objects(FULL) if pair[0] == "outbound_connector")
    edited = type(connector).model_validate(
        {**connector.model_dump(exclude_unset=True), "cost": 7, "smart_hosts": ["x.test"]}
    )
    ((_, read_again),) = [pair for pair in objects(CONTOSO + toml_of([(table, edited)])) if pair[0] == table]
    assert read_again == edited
    assert read_again != connector
    assert "cost" not in toml_of([(table, connector)])  # what was left to the default stays so


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=50))
def test_any_text_survives_writing(comment):
    from lockgate.policy.objects.organisation import Organisation

    text = toml_of([("organisation", Organisation(name="a", comment=comment))])
    assert tomllib.loads(text)["organisation"][0]["comment"] == comment


WORDS = [
    "organisation",
    "accepted_domain",
    "inbound_connector",
    "outbound_connector",
    "mail_flow_rule",
    "connection_filter",
    "operator",
    "name",
    "sender_domains",
    "recipient_domain_is",
    "smart_hosts",
    "limits",
    "sender_ip_addresses",
    "proven_at",
    "priority",
]
values = st.recursive(
    st.one_of(
        st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(), st.datetimes(), st.times(),
        st.sampled_from(["*", "*.x.test", "192.0.2.0/24", "contoso", "on_premises", "::1", "[::1]:25", "a:b"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


def same_or_problems(files):
    try:
        compile_policy(files, hostname="mx.test", revision=1)
    except Invalid as trouble:
        assert trouble.problems
        for problem in trouble.problems:
            assert problem.file in files
            assert 1 <= problem.line <= files[problem.file].count("\n") + 1
            assert problem.message
            assert len(str(problem)) < 2000


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(WORDS), values, max_size=4), st.booleans())
def test_any_values_are_read_or_told(wanted, with_organisation):
    tables = []
    for table, fields in wanted.items():
        rows = fields if isinstance(fields, list) else [fields]
        for row in rows:
            if isinstance(row, dict):
                from lockgate.policy.written import _table

                tables.append(_table(table, row))
            else:
                tables.append(f"{table} = 1\n")
    same_or_problems({"a": (CONTOSO if with_organisation else "") + "\n".join(tables)})


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from("[]{}=\"'#.,\n\\ab1-:*_"), max_size=60))
def test_any_text_is_read_or_told(text):
    same_or_problems({"a": text})


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_documents_are_read_or_told(seed):
    chance = random.Random(seed)
    text = list(FULL)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(text))
        match chance.randint(0, 2):
            case 0:
                del text[place : place + chance.randint(1, 20)]
            case 1:
                text[place] = chance.choice("[]{}\"'=#\n\0é0*")
            case _:
                other = chance.randrange(len(text))
                text[place:place] = text[other : other + 30]
        if not text:
            break
    same_or_problems({"a": "".join(text)})
