"""What `check` and `plan` find out besides the documents: MX that leads back, names that cannot be shown, files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doors.desk_here import desk_here
from lockgate.app.checkup.around import Around
from lockgate.policy.compile import understand
from lockgate.testing.builders import who_of
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.memory import MemoryDirectory
from peers.certificates import Authority
from peers.names import Names
from policies import CONTOSO

HOST = "mx.lockgate.test"
SOURCE = Path(__file__).resolve().parents[2] / "src"
RELAY = '[[accepted_domain]]\ndomain_name = "relay.test"\ndomain_type = "internal_relay"\nvouched_by_operator = true\n'
TO_MX = '[[outbound_connector]]\nname = "HQ"\nrecipient_domains = ["relay.test", "*.sub.test"]\n'
CHECKED = TO_MX + 'tls_settings = "domain_validation"\ntls_domain = "*.bank.test"\n'
OUTLOOK = [(10, "bank-test.mail.protection.outlook.com")]


def zone(*exchangers, **more):
    return ZoneResolver({"relay.test": exchangers}, {HOST: ["192.0.2.9", "127.0.0.1"]}, **more)


async def found(text, resolver=None, days=14, now=None, directory=None):
    understood = understand({"policy.toml": CONTOSO + text}, hostname=HOST, revision=1)
    around = Around(resolver, HOST, frozenset({"0.0.0.0", "192.0.2.8"}), days, directory)
    return await around.look(understood, now or time.time())


def at(finding, text):
    return (CONTOSO + text).splitlines()[finding.line - 1]


@pytest.mark.parametrize(
    ("resolver", "name"),
    [
        (zone((10, HOST)), HOST),
        (zone((10, "other.test"), (20, HOST)), HOST),
        (ZoneResolver({"relay.test": [(10, "alias.test")]}, {HOST: ["192.0.2.9"], "alias.test": ["192.0.2.9"]}),
         "alias.test"),
        (ZoneResolver({"relay.test": [(10, "alias.test")]}, {"alias.test": ["192.0.2.8"]}), "alias.test"),
        (ZoneResolver({"relay.test": ()}, {HOST: ["192.0.2.9"], "relay.test": ["192.0.2.9"]}), "relay.test"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("text", "line"), [(RELAY + TO_MX, "recipient_domains"), (RELAY, "domain_name")])
async def test_an_mx_that_leads_back(resolver, name, text, line):
    (one,) = await found(text, resolver)
    assert one.message == f"the MX of relay.test is {name}, which is this server itself"
    assert "5.4.14" in one.why
    assert "smart_hosts" in one.mend
    assert at(one, text).startswith(line)


@pytest.mark.parametrize(
    "text",
    [
        RELAY + TO_MX + "enabled = false\n" + '[[outbound_connector]]\nname = "B"\nrecipient_domains = ["relay.test"]\n'
        'use_mx_record = false\nsmart_hosts = ["mail.relay.test"]\n',
        RELAY + 'outbound_only = true\n',
        '[[accepted_domain]]\ndomain_name = "relay.test"\nvouched_by_operator = true\n',
    ],
)  # fmt: skip
async def test_mail_that_goes_by_no_mx_is_not_looked_at(text):
    resolver = zone((10, HOST))
    assert await found(text, resolver) == ()
    assert ("relay.test", "MX") not in resolver.asked


@pytest.mark.parametrize(
    "resolver",
    [
        zone((10, "other.test")),
        ZoneResolver(silent=["relay.test", HOST]),
        ZoneResolver(),
        # Everybody is at home on the loopback network.
        ZoneResolver({"relay.test": [(10, "other.test")]}, {HOST: ["127.0.0.1"], "other.test": ["127.0.0.1"]}),
    ],
)
async def test_what_leads_elsewhere_or_cannot_be_found_out_is_no_finding(resolver):
    assert await found(RELAY + TO_MX, resolver) == ()


async def test_a_name_that_the_mail_hosts_cannot_show():
    text = RELAY + CHECKED
    (one,) = await found(text, ZoneResolver({"relay.test": OUTLOOK}))
    assert one.message == f"{OUTLOOK[0][1]} belongs to Exchange Online and cannot show a certificate for *.bank.test"
    assert 'tls_domain = "*.protection.outlook.com"' in one.mend
    assert at(one, text).startswith("recipient_domains")


@pytest.mark.parametrize(
    ("text", "exchangers"),
    [
        (RELAY + CHECKED.replace("*.bank.test", "mail.protection.outlook.com"), OUTLOOK),
        (RELAY + CHECKED, [*OUTLOOK, (20, "mail.bank.test")]),
        (RELAY + CHECKED, [(10, "mail.bank.test")]),
        (RELAY + CHECKED + f'pinned_keys = ["{"ab" * 32}"]\n', OUTLOOK),
        (RELAY + TO_MX, OUTLOOK),
    ],
)
async def test_a_name_that_can_be_shown(text, exchangers):
    assert await found(text, ZoneResolver({"relay.test": exchangers})) == ()


# --- files


def shown(papers):
    return TO_MX + f'certificate_file = "{papers.chain}"\nkey_file = "{papers.key}"\n'


async def test_files_that_connectors_name(tmp_path):
    authority = Authority(tmp_path)
    good, other, old = authority.issue("a.test"), authority.issue("b.test"), authority.issue("c.test", expired=True)
    assert await found(shown(good)) == ()
    assert await found(TO_MX + f'tls_settings = "certificate_validation"\nca_file = "{authority.file}"\n') == ()
    (one,) = await found(shown(good), days=40)
    assert one.message == f"{good.chain} expires in 30 days"
    assert at(one, shown(good)).startswith("certificate_file")
    (one,) = await found(shown(old))
    assert one.message == f"{old.chain} expired 1 days ago"
    mixed = TO_MX + f'certificate_file = "{good.chain}"\nkey_file = "{other.key}"\n'
    (one,) = await found(mixed)
    assert one.message == f"{good.chain} cannot be used: it is no PEM chain with its own key"
    (one,) = await found(shown(good).replace(str(good.chain), "/nowhere/a.pem"))
    assert "/nowhere/a.pem cannot be used" in one.message
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    text = TO_MX + f'tls_settings = "certificate_validation"\nca_file = "{empty}"\n'
    (one,) = await found(text)
    assert f"{empty} cannot be used" in one.message
    assert at(one, text).startswith("ca_file")
    for each in (one,):
        assert each.why
        assert each.mend


# --- the two commands


async def test_plan_looks_around_and_says_what_is_new(tmp_path):
    async with desk_here(tmp_path) as here:
        around = Around(zone((10, HOST)), HOST, frozenset(), 14)
        here.around = lambda understood: around.look(understood, time.time())
        folder = tmp_path / "documents"
        folder.mkdir()
        (folder / "contoso.toml").write_text(CONTOSO + RELAY + TO_MX)
        code, out, _ = await here.run("plan", str(folder))
        assert code == 0
        assert "warning: contoso.toml:" in out
        assert "the MX of relay.test is mx.lockgate.test, which is this server itself\n    why: " in out
        assert "\n    mend: use_mx_record = false" in out
        assert (await here.run("apply", str(folder)))[0] == 0
        _, out, _ = await here.run("plan", str(folder))
        assert "1 earlier warning stays" in out


def test_check_looks_around_where_there_is_an_operators_file(tmp_path):
    documents = tmp_path / "policy"
    documents.mkdir()
    (documents / "contoso.toml").write_text(CONTOSO + RELAY + TO_MX)
    with Names({"relay.test": [HOST]}, {}) as names:
        (tmp_path / "lockgate.toml").write_text(
            f'hostname = "{HOST}"\nstate_directory = "{tmp_path}/state"\npolicy_directory = "{documents}"\n'
            f'[dns]\nresolvers = ["127.0.0.1"]\nport = {names.port}\n'
        )

        def check(*more):
            command = [sys.executable, "-m", "lockgate", "--config", str(tmp_path / "lockgate.toml"), "check", "--json"]
            done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60,
                                  env={"PYTHONPATH": str(SOURCE)})  # fmt: skip
            assert done.returncode == 0, done.stderr
            return [one["message"] for one in json.loads(done.stdout)["warnings"]]

        assert [one for one in check() if "is this server itself" in one]
        assert not [one for one in check("--offline") if "is this server itself" in one]


RULE = '[[mail_flow_rule]]\nname = "R"\ndelete_message = true\n'
GROUPS = RULE + """sent_to_member_of = ["team@contoso.com", "gone@contoso.com"]
except_if_between_member_of = {one = ["Team@contoso.com"], other = ["ana@contoso.com"]}
either = [{sent_to = ["x@y.test"]}, {from_member_of = ["lost@contoso.com"]}]
"""
PEOPLE = {
    ("contoso", who.primary.key): who
    for who in (
        who_of("contoso", "team@contoso.com", kind="distribution_group"), who_of("contoso", "ana@contoso.com"),
        who_of("contoso", "postmaster@contoso.com"),
    )
}  # fmt: skip


async def test_groups_that_nobody_has():
    told = await found(GROUPS, directory=MemoryDirectory(PEOPLE))
    assert [(one.path.partition(".")[2], one.message) for one in told] == [
        ("sent_to_member_of[1]", "no group is gone@contoso.com, so nobody belongs to it"),
        ("except_if_between_member_of.other[0]",
         "ana@contoso.com is a mail_user and no group, so nobody belongs to it"),
        ("either[1].from_member_of[0]", "no group is lost@contoso.com, so nobody belongs to it"),
    ]  # fmt: skip
    assert all(one.why and "lockgate group list" in one.mend for one in told)
    away = MemoryDirectory(PEOPLE)
    away.broken = "the table is being built"
    assert not await found(GROUPS, directory=away)
    assert not await found(GROUPS.replace('"R"', '"R"\nenabled = false'), directory=MemoryDirectory(PEOPLE))
    assert not await found(GROUPS)


async def test_a_rule_whose_time_is_over():
    text = RULE + "expiry_date = 2027-01-01T00:00:00Z\n"
    over = 1_798_761_600.0  # 2027-01-01T00:00:00Z
    (one,) = await found(text, now=over)
    assert one.message == "the time of rule 'R' is over since 2027-01-01T00:00:00+00:00"
    assert at(one, text).startswith("expiry_date") and "rule remove" in one.mend
    assert not await found(text, now=over - 1)
    assert not await found(text.replace('"R"', '"R"\nenabled = false'), now=over)


MORE = '[[accepted_domain]]\ndomain_name = "more.test"\nvouched_by_operator = true\n'
TO_MORE = '[[outbound_connector]]\nname = "M"\nuse_mx_record = false\nsmart_hosts = ["mail.more.test"]\n'


async def test_a_postmaster_whom_nobody_reads():
    (one,) = await found(MORE, directory=MemoryDirectory(PEOPLE))
    assert one.message == "postmaster@more.test is no recipient, and no outbound connector is for more.test"
    assert "5.4.14" in one.why and "lockgate recipient add" in one.mend
    assert (one.path, at(one, MORE)) == ("accepted_domain[1].domain_name", 'domain_name = "more.test"')


@pytest.mark.parametrize(
    "text",
    [
        MORE + 'alias_of = "contoso.com"\n',
        MORE + 'catch_all_recipient_id = "ana@contoso.com"\n',
        MORE.replace("vouched_by_operator = true", 'proof = "token"'),
        MORE + 'domain_type = "internal_relay"\n',
        MORE + TO_MORE + 'recipient_domains = ["more.test"]\n',
        MORE + TO_MORE + 'recipient_domains = ["*"]\n',
        MORE + TO_MORE + 'connector_type = "on_premises"\nall_accepted_domains = true\n',
        MORE + TO_MORE + 'connector_type = "on_premises"\nroute_all_messages_via_on_premises = true\n',
    ],
)
async def test_a_postmaster_whose_mail_has_a_way(text):
    assert not await found(text, directory=MemoryDirectory(PEOPLE))


async def test_nothing_is_said_of_postmasters_while_the_directory_cannot_answer():
    away = MemoryDirectory(PEOPLE)
    away.broken = "the table is being built"
    assert not await found(MORE, directory=away)
    assert not await found(MORE)


SENT_TO = RULE + """sent_to = ["boss@contoso.com", "Chief@contoso.com"]
except_if_sent_to = ["x@y.test"]
either = [{sent_to = ["chief@contoso.com"]}]
"""
BOSS = who_of("contoso", "boss@contoso.com")
ALIASES = {**PEOPLE, ("contoso", "boss@contoso.com"): BOSS, ("contoso", "chief@contoso.com"): BOSS}


async def test_recipients_named_by_an_alias():
    told = await found(SENT_TO, directory=MemoryDirectory(ALIASES))
    assert [(one.path.partition(".")[2], one.message) for one in told] == [
        ("sent_to[1]", "Chief@contoso.com is another address of boss@contoso.com, and the primary address counts"),
        ("either[0].sent_to[0]",
         "chief@contoso.com is another address of boss@contoso.com, and the primary address counts"),
    ]  # fmt: skip
    assert all('"boss@contoso.com" in its place' in one.mend for one in told)
    assert not await found(SENT_TO + 'recipient_address_type = "original"\n', directory=MemoryDirectory(ALIASES))
    away = MemoryDirectory(ALIASES)
    away.broken = "the table is being built"
    assert not await found(SENT_TO, directory=away)
