"""T-HYB-5: `convert hybrid` adds and changes nothing; `convert standalone` takes out what it added and nothing else."""

from __future__ import annotations

import tomllib

import pytest

from lockgate.decision.route import ranked
from lockgate.flow.converting import FILES, MARK, CannotConvert, Site, Wishes, to_hybrid, to_standalone
from lockgate.policy.compile import understand
from lockgate.policy.differences import by_identity, plain
from lockgate.policy.problems import Invalid

STANDALONE = """\
# The head office, since 2019.
[[organisation]]
name = "contoso"   # do not rename

[[accepted_domain]]
domain_name = "contoso.com"
default = true
vouched_by_operator = true
comment = "head office"

[[accepted_domain]]
domain_name = "contoso.de"
domain_type = "internal_relay"
match_sub_domains = true
vouched_by_operator = true

[[inbound_connector]]
name = "Own servers"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]

# By address: the old way in.
[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["mail.contoso.com"]

[[mail_flow_rule]]
name = "Big ones"
subject_contains_words = ["big"]
quarantine = true
"""
MORE = '[[remote_domain]]\nname = "all"\ndomain_name = "*"\nauto_forward_enabled = false\n'
SITE = Site("mx.contoso.test", keeps_mailboxes=True)
WISHES = Wishes("mail.contoso.com:25", "mail.contoso.com", "contoso.mail.example")


def objects(files: dict[str, str]) -> dict[tuple[str, str, str], dict[str, object]]:
    documents = understand(files, hostname=SITE.hostname, revision=1).documents
    return {identity: plain(written.value, all_of_it=True) for identity, written in by_identity(documents).items()}


@pytest.mark.parametrize("central", [False, True])
@pytest.mark.parametrize("mailboxes", ["", "store.contoso.com:24"])
def test_t_hyb_5_every_earlier_object_is_equal(central: bool, mailboxes: str) -> None:
    files = {"contoso.toml": STANDALONE, "more/remote.toml": MORE}
    done = to_hybrid(files, WISHES._replace(central=central, mailboxes=mailboxes), SITE)
    assert {name: done.files[name] for name in files} == files, "not an octet of what was written"
    before, after = objects(files), objects(dict(done.files))
    assert {identity: after[identity] for identity in before} == before
    added = sorted(table for table, _, _ in set(after) - set(before))
    wanted = ["accepted_domain", "inbound_connector", "outbound_connector"]
    assert added == [*wanted[:2], *(["mailbox_store"] if mailboxes else []), wanted[2]]
    assert set(done.written) == {"hybrid.toml"} and not done.removed


def test_mail_takes_the_new_connectors_although_older_ones_are_for_it_too() -> None:
    policy = understand(
        dict(to_hybrid({"a.toml": STANDALONE}, WISHES, SITE).files), hostname=SITE.hostname, revision=1
    ).policy
    mine = policy.organisations["contoso"]
    for domain in ("contoso.com", "contoso.de", "sub.contoso.de"):
        connector, _ = next(ranked(policy, mine, domain, central=False))
        assert connector.cloud_services_mail_enabled and connector.tls_domain == "mail.contoso.com", domain
    (first, *_) = policy.own_servers_named("mail.contoso.com")
    assert first.tls_sender_certificate_name == "*.contoso.com" and policy.proves_alone(first)


def test_an_older_connector_by_the_same_certificate_is_not_found_first() -> None:
    known = STANDALONE.replace('sender_ip_addresses = ["192.0.2.25"]', 'tls_sender_certificate_name = "*.contoso.com"')
    done = to_hybrid({"a.toml": known}, WISHES, SITE)
    assert set(done.written) == {"00-hybrid.toml"}
    policy = understand(dict(done.files), hostname=SITE.hostname, revision=1).policy
    assert policy.own_servers_named("mail.contoso.com")[0].cloud_services_mail_enabled
    assert not any("still" in note for note in done.notes)


def test_what_cannot_be_helped_is_told() -> None:
    first = STANDALONE.replace('name = "Headquarters"', 'name = "!"')
    done = to_hybrid({"a.toml": first}, WISHES, SITE)
    assert done.notes[0].startswith("mail for contoso.com still leaves by '!' (it is for contoso.com), without")


def test_and_back_to_the_octet() -> None:
    files = {"contoso.toml": STANDALONE, "more/remote.toml": MORE}
    hybrid = to_hybrid(files, WISHES, SITE)
    back = to_standalone(hybrid.files, "", SITE)
    assert back.files == files and back.removed == ("hybrid.toml",) and not back.written


def test_what_others_added_stays_and_is_listed() -> None:
    files = {"contoso.toml": STANDALONE}
    own = '# Mine\n[[outbound_connector]]\nname = "Mine"\nconnector_type = "on_premises"\n' + (
        'recipient_domains = ["x.test"]\nuse_mx_record = false\nsmart_hosts = ["x.test"]\n'
        "cloud_services_mail_enabled = true\n"
    )
    hybrid = dict(to_hybrid(files, WISHES, SITE).files)
    hybrid["hybrid.toml"] += "\n" + own
    back = to_standalone(hybrid, "contoso", SITE)
    assert back.files["contoso.toml"] == STANDALONE and own in back.files["hybrid.toml"] and not back.removed
    assert set(tomllib.loads(back.files["hybrid.toml"])) == {"outbound_connector"}
    assert back.notes[0] == "outbound_connector 'Mine' in hybrid.toml stays, with cloud_services_mail_enabled"
    assert "mailbox move NAME there" in back.notes[-1]


def test_what_still_needs_it_is_told_with_its_place() -> None:
    files = {"contoso.toml": STANDALONE + "\n" + (
        '[[mail_flow_rule]]\nname = "Round"\nsubject_contains_words = ["x"]\n'
        'route_message_outbound_connector = "Hybrid to on-premises"\n'
    )}  # fmt: skip
    text = to_hybrid({"contoso.toml": STANDALONE}, WISHES, SITE).files["hybrid.toml"]
    name = tomllib.loads(text)["outbound_connector"][0]["name"]
    files["contoso.toml"] = files["contoso.toml"].replace("Hybrid to on-premises", name)
    with pytest.raises(Invalid) as caught:
        to_standalone({**files, "hybrid.toml": text}, "", SITE)
    assert [(one.file, one.path.rpartition(".")[2]) for one in caught.value.problems] == [
        ("contoso.toml", "route_message_outbound_connector")
    ]


@pytest.mark.parametrize(
    ("files", "wishes", "said"),
    [
        ({"a.toml": STANDALONE}, WISHES._replace(certificate="mail.elsewhere.test"), "does not tie back"),
        ({"a.toml": STANDALONE}, WISHES._replace(organisation="fabrikam"), "say which organisation is meant: contoso"),
        ({"a.toml": '[[organisation]]\nname = "contoso"\n'}, WISHES, "has no accepted domain"),
        (
            {"a.toml": STANDALONE + '[[accepted_domain]]\ndomain_name = "x.test"\ncoexistence = true\n'},
            WISHES,
            "is a coexistence domain already",
        ),
    ],
)
def test_what_cannot_be_converted(files: dict[str, str], wishes: Wishes, said: str) -> None:
    with pytest.raises(CannotConvert, match=said):
        to_hybrid(files, wishes, SITE)


def test_twice_and_back_from_nothing() -> None:
    hybrid = to_hybrid({"a.toml": STANDALONE}, WISHES, SITE)
    with pytest.raises(CannotConvert, match="was converted already"):
        to_hybrid(hybrid.files, WISHES._replace(coexistence="other.example"), SITE)
    with pytest.raises(CannotConvert, match=MARK):
        to_standalone({"a.toml": STANDALONE}, "", SITE)
    assert set(hybrid.written) <= set(FILES)


def test_a_second_organisation_is_not_concerned() -> None:
    other = (
        '[[organisation]]\nname = "fabrikam"\n[[accepted_domain]]\ndomain_name = "fabrikam.com"\n'
        'organisation = "fabrikam"\nvouched_by_operator = true\n'
    )
    mine = STANDALONE
    for table in ("accepted_domain", "inbound_connector", "outbound_connector", "mail_flow_rule"):
        mine = mine.replace(f"[[{table}]]\n", f'[[{table}]]\norganisation = "contoso"\n')
    files = {"contoso.toml": mine, "fabrikam.toml": other}
    done = to_hybrid(files, WISHES._replace(organisation="contoso"), SITE)
    before, after = objects(files), objects(dict(done.files))
    assert {identity: after[identity] for identity in before} == before
    assert {identity[1] for identity in set(after) - set(before)} == {"contoso"}
    assert to_standalone(done.files, "contoso", SITE).files == files
