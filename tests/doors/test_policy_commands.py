"""Policy as code at the terminal: what is planned, applied, undone and written, and what is refused with what words."""

from __future__ import annotations

import json
import tomllib

import pytest

from doors.desk_here import desk_here
from policies import CONTOSO

HQ = """
# to headquarters
[[outbound_connector]]
name = "HQ"
recipient_domains = ["contoso.com"]   # all of it
use_mx_record = false
smart_hosts = ["192.0.2.1"]
"""


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as found:
        yield found


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "documents"
    place.mkdir()
    (place / "contoso.toml").write_text(CONTOSO + HQ)
    return place


def text_of(here, name="contoso.toml"):
    return here.revisions.in_force().files[name]


async def as_json(here, *command, code=0):
    found, out, err = await here.run(*command, "--json")
    assert found == code, err
    return json.loads(out)


# --- plan, apply, rollback


async def test_plan_tells_what_would_change_and_changes_nothing(here, folder):
    code, out, _ = await here.run("plan", str(folder))
    assert code == 0 and "+ outbound_connector 'HQ' of contoso (contoso.toml)" in out
    assert "mail for contoso.com will now leave by connector HQ, to 192.0.2.1, TLS opportunistic (before: by MX)" in out
    told = await as_json(here, "plan", str(folder))
    (one,) = told["differences"]
    assert (one["what"], one["table"], one["name"], one["organisation"]) == (
        "added", "outbound_connector", "HQ", "contoso",
    )  # fmt: skip
    assert {"property": "smart_hosts", "before": None, "after": ["192.0.2.1"]} in one["properties"]
    assert told["files"] == {"added": [], "changed": ["contoso.toml"], "removed": []} and told["in_force"] == 1
    assert len(here.revisions.kept) == 1 and here.audit.rows == []
    assert (await here.run("plan", str(folder), "--exit-code"))[0] == 1
    (folder / "contoso.toml").write_text(CONTOSO)
    code, out, _ = await here.run("plan", str(folder), "--exit-code")
    assert code == 0 and "Nothing differs." in out


async def test_apply_makes_a_revision_with_author_and_reason(here, folder):
    code, out, _ = await here.run("apply", str(folder), "--reason", "new headquarters", "--what-if")
    assert code == 0 and "Nothing was changed; revision 1 stays in force." in out and len(here.revisions.kept) == 1
    told = await as_json(here, "apply", str(folder), "--reason", "new headquarters", "--expect", "1")
    assert told["revision"] == 2 and told["published"]
    revision = here.revisions.in_force()
    assert revision.reason == "new headquarters" and revision.by.split()[0].isdigit() and revision.digest
    assert text_of(here) == CONTOSO + HQ, "as it was written"
    summary, row = here.audit.rows
    assert (summary["did"], summary["revision"], summary["reason"], summary["objects"]) == (
        "apply", 2, "new headquarters", 1,
    )  # fmt: skip
    assert (row["did"], row["before"], row["after"]["smart_hosts"]) == ("outbound_connector added", None, ["192.0.2.1"])
    told = await as_json(here, "apply", str(folder))
    assert told["revision"] == 2 and not told["published"], "the same again is no revision"


async def test_expect_guards_against_lost_updates(here, folder):
    await here.run("apply", str(folder))
    (folder / "contoso.toml").write_text(CONTOSO)
    code, _, err = await here.run("apply", str(folder), "--expect", "1")
    assert code == 1 and "Revision 2 is in force, not 1; nothing was changed" in err
    code, _, err = await here.run("connector", "set", "HQ", "cost=3", "--expect", "1")
    assert code == 1 and "not 1" in err
    assert here.revisions.in_force().number == 2
    assert (await here.run("apply", str(folder), "--expect", "2"))[0] == 0


async def test_every_mistake_at_once_and_nothing_changed(here, folder):
    (folder / "rules.toml").write_text(
        '[[mail_flow_rule]]\nname = "x"\nroute_message_outbound_connector = "HQQ"\n\n[[inbound_connector]]\n'
        'name = "Bank"\nsender_domain = ["bank.test"]\nrestrict_domains_to_ip_addresses = true\n'
    )
    (folder / "broken.toml").write_text("[[organisation]\n")
    for command in (["plan"], ["apply"], ["apply", "--what-if"]):
        code, _, err = await here.run(command[0], str(folder), *command[1:])
        assert code == 1
        lines = err.splitlines()
        assert any(line.startswith("broken.toml:1: ") for line in lines)
        expected = "there is no outbound connector 'HQQ'; did you mean 'HQ'?"
        assert f"rules.toml:3: mail_flow_rule[0].route_message_outbound_connector: {expected}" in lines
        assert "there is no 'sender_domain' here; did you mean 'sender_domains'?" in err
        assert "nothing was changed" in lines[-1]
    assert len(here.revisions.kept) == 1 and here.audit.rows == []
    problems = (await as_json(here, "apply", str(folder), code=1))["problems"]
    assert {"file", "line", "path", "message"} == set(problems[0]) and len(problems) >= 3


async def test_a_document_may_not_lead_out_of_the_folder(here):
    import asyncio

    from lockgate.cli.client import ask
    from lockgate.flow.asking import Apply, Kind

    for name in ("../x.toml", "/etc/x.toml", "a/../../x.toml", "x.txt", "a//b.toml", "./x.toml", "a\n.toml"):
        answer = await asyncio.to_thread(ask, here.path, Apply({name: CONTOSO}))
        assert answer.kind == Kind.MISUSE and "no name of a document" in answer.sentence
    assert len(here.revisions.kept) == 1


async def test_rollback_is_a_new_revision_with_the_old_texts(here, folder):
    await here.run("apply", str(folder))
    code, out, _ = await here.run("rollback", "1", "--reason", "mail went astray", "--what-if")
    assert code == 0 and "- outbound_connector 'HQ'" in out and here.revisions.in_force().number == 2
    told = await as_json(here, "rollback", "1", "--reason", "mail went astray")
    assert told["revision"] == 3 and text_of(here) == CONTOSO
    assert here.revisions.in_force().reason == "mail went astray"
    assert here.audit.rows[-2]["did"] == "rollback to 1" and here.audit.rows[-1]["did"] == "outbound_connector removed"
    code, _, err = await here.run("rollback", "99")
    assert code == 1 and "no revision 99" in err


async def test_revisions_and_diff(here, folder):
    await here.run("apply", str(folder), "--reason", "first")
    await here.run("connector", "set", "HQ", "smart_hosts=192.0.2.9")
    rows = await as_json(here, "revisions")
    assert [(row["revision"], row["in_force"]) for row in rows] == [(3, True), (2, False), (1, False)]
    assert rows[1]["reason"] == "first"
    told = await as_json(here, "diff", "2", "3")
    (one,) = told["differences"]
    assert one["properties"] == [{"property": "smart_hosts", "before": ["192.0.2.1"], "after": ["192.0.2.9"]}]
    code, out, _ = await here.run("diff", "1")
    assert code == 0 and "+ outbound_connector 'HQ'" in out
    code, out, _ = await here.run("diff", "2", "2")
    assert "say the same" in out
    assert (await here.run("diff", "2", "44"))[0] == 1


async def test_export_writes_the_texts_as_they_were(here, folder, tmp_path):
    await here.run("apply", str(folder))
    target = tmp_path / "out"
    code, out, _ = await here.run("export", str(target))
    assert code == 0 and "Revision 2" in out and (target / "contoso.toml").read_text() == CONTOSO + HQ
    code, _, err = await here.run("export", str(target), "--revision", "1")
    assert code == 1 and "--force" in err and (target / "contoso.toml").read_text() == CONTOSO + HQ
    await here.run("export", str(target), "--revision", "1", "--force")
    assert (target / "contoso.toml").read_text() == CONTOSO


async def test_edits_by_hand_stop_a_write(here):
    here.revisions.texts["contoso.toml"] = CONTOSO + "# thinking about it\n"
    code, _, err = await here.run("connector", "add", "HQ", "--outbound", "recipient_domains=x.test")
    assert code == 1 and "was edited" in err and len(here.revisions.kept) == 1
    assert (await here.run("reload"))[0] == 0
    assert (await here.run("connector", "add", "HQ", "--outbound", "recipient_domains=x.test"))[0] == 0
    assert "thinking about it" in here.revisions.texts["contoso.toml"]


async def test_reload_does_not_undo_what_a_folder_that_is_not_ours_never_got(here):
    here.revisions.ours = False
    assert (await here.run("ip-list", "block", "192.0.2.66"))[0] == 0
    code, _, err = await here.run("reload")
    assert code == 1 and "lockgate apply" in err and here.revisions.in_force().number == 2


# --- single objects


async def test_connectors_are_written_and_comments_survive(here, folder):
    await here.run("apply", str(folder))
    told = await as_json(here, "connector", "set", "HQ", "tls_settings=encryption_only", "smart_hosts+=192.0.2.2")
    assert told["object"]["smart_hosts"] == ["192.0.2.1", "192.0.2.2"] and told["revision"] == 3
    text = text_of(here)
    assert "# to headquarters\n" in text and "# all of it" in text and 'tls_settings = "encryption_only"' in text
    await here.run("connector", "set", "HQ", "smart_hosts-=192.0.2.1", "--unset", "tls_settings")
    assert 'smart_hosts = ["192.0.2.2"]' in text_of(here) and "tls_settings" not in text_of(here)
    row = await as_json(here, "connector", "show", "HQ")
    assert row["tls_settings"] == "opportunistic" and row["file"] == "contoso.toml"
    await here.run("connector", "disable", "HQ")
    assert not (await as_json(here, "connector", "list"))[0]["enabled"]
    await here.run("connector", "enable", "HQ")
    assert (await as_json(here, "connector", "list", "--outbound"))[0]["enabled"]
    assert await as_json(here, "connector", "list", "--inbound") == []
    code, out, _ = await here.run("connector", "remove", "HQ", "--what-if")
    assert code == 0 and "will now leave by MX" in out
    await here.run("connector", "remove", "HQ")
    assert await as_json(here, "connector", "list") == [] and "headquarters" not in text_of(here)


async def test_a_name_of_both_directions_must_be_told_apart(here):
    own = ("connector_type=on_premises", "sender_ip_addresses=192.0.2.1")
    assert (await here.run("connector", "add", "HQ", "--inbound", *own))[0] == 0
    assert (await here.run("connector", "add", "HQ", "--outbound", "recipient_domains=x.test"))[0] == 0
    code, _, err = await here.run("connector", "set", "HQ", "comment=x")
    assert code == 2 and "--inbound" in err
    assert (await here.run("connector", "set", "HQ", "comment=x", "--inbound"))[0] == 0
    code, _, err = await here.run("connector", "add", "HQ", "--inbound", *own)
    assert code == 2 and "there already" in err
    code, _, err = await here.run("connector", "add", "HQ2", *own)
    assert code == 2 and "--inbound" in err


async def test_words_that_make_no_sense_are_refused_with_what_would(here, folder):
    await here.run("apply", str(folder))
    for words, code, said in [
        (["set", "HQQ", "cost=1"], 1, "did you mean 'HQ'"),
        (["set", "HQ", "cots=1"], 1, "there is no 'cots' here; did you mean 'cost'?"),
        (["set", "HQ", "cost=many"], 1, "must be a whole number"),
        (["set", "HQ", "enabled=perhaps"], 1, "true or false"),
        (["set", "HQ", "cost+=1"], 2, "is no list"),
        (["set", "HQ", "smart_hosts-=192.0.2.77"], 1, "does not hold"),
        (["set", "HQ"], 2, "property=value"),
        (["set", "HQ", "cost"], 2, "is not property=value"),
        (["set", "HQ", "--unset", "smrt_hosts"], 2, "did you mean 'smart_hosts'"),
    ]:
        found, _, err = await here.run("connector", *words)
        assert found == code and said in err, (words, err)
    assert here.revisions.in_force().number == 2


async def test_secrets_are_references_and_never_printed(here, folder):
    await here.run("apply", str(folder))
    secret = ("connector", "set", "HQ", "login_user=relay", "login_secret=hunter2", "tls_settings=encryption_only")
    code, out, err = await here.run(*secret)
    assert code == 1 and "file:/path/to/secret or env:NAME" in err
    assert "hunter2" not in out + err + repr(here.audit.rows) + repr(here.journal.notes)
    assert (await here.run(*[word.replace("hunter2", "file:/run/secret") for word in secret]))[0] == 0


async def test_domains_are_added_proven_changed_and_removed(here):
    told = await as_json(here, "domain", "add", "fabrikam.test")
    assert told["object"]["txt_record"] == 'fabrikam.test. 3600 IN TXT "lockgate-proof=1234"'
    code, out, _ = await here.run("domain", "add", "third.test")
    assert code == 0 and 'third.test. 3600 IN TXT "lockgate-proof=1234"' in out
    here.resolver.silent.add("fabrikam.test")
    code, _, err = await here.run("domain", "verify", "fabrikam.test")
    assert code == 3 and "nothing is proven or lost" in err
    here.resolver.silent.clear()
    code, _, err = await here.run("domain", "verify", "fabrikam.test")
    assert code == 1 and "is not proven: its TXT records are none" in err
    here.resolver.texts["fabrikam.test"] = ("v=spf1 -all", "lockgate-proof=123")
    code, _, err = await here.run("domain", "verify", "fabrikam.test")
    assert code == 1 and '"v=spf1 -all"' in err and 'IN TXT "lockgate-proof=1234"' in err
    here.resolver.texts["fabrikam.test"] = ("v=spf1 -all", "lockgate-proof=1234")
    code, out, _ = await here.run("domain", "verify", "fabrikam.test", "--what-if")
    assert code == 0 and here.revisions.in_force().number == 3
    code, out, _ = await here.run("domain", "verify", "fabrikam.test")
    assert code == 0 and "is proven" in out and "is taken for recipients in the directory" in out
    row = await as_json(here, "domain", "show", "fabrikam.test")
    assert row["proven_at"].startswith("2023-11-15T01:00:00")
    assert "proven_at = 2023-11-15T01:00:00" in text_of(here)
    assert (await here.run("domain", "set", "fabrikam.test", "domain_type=internal_relay"))[0] == 0
    code, _, err = await here.run("domain", "set", "fabrikam.test", "domain_name=other.test")
    assert code == 2 and "cannot be changed" in err
    assert (await here.run("domain", "remove", "fabrikam.test"))[0] == 0
    assert [row["domain_name"] for row in await as_json(here, "domain", "list")] == ["contoso.com", "third.test"]


async def test_ip_lists(here):
    assert (await here.run("ip-list", "block", "203.0.113.7"))[0] == 0
    assert (await here.run("ip-list", "block", "203.0.113.8"))[0] == 0
    told = await as_json(here, "ip-list", "block", "203.0.113.7/32")
    assert not told["published"], "it is there, spelled otherwise"
    await here.run("ip-list", "allow", "198.51.100.0/24", "--operator")
    rows = await as_json(here, "ip-list", "show")
    assert {(row["list"], row["entry"], row["whose"]) for row in rows} == {
        ("block", "203.0.113.7", "contoso"),
        ("block", "203.0.113.8", "contoso"),
        ("allow", "198.51.100.0/24", "operator"),
    }
    assert len(await as_json(here, "ip-list", "show", "--operator")) == 1
    code, out, _ = await here.run("ip-list", "remove", "203.0.113.7")
    assert code == 0 and "IP 203.0.113.7 will no longer be refused" in out
    code, _, err = await here.run("ip-list", "remove", "203.0.113.7")
    assert code == 1 and "does not hold" in err
    code, _, err = await here.run("ip-list", "block", "203.0.113")
    assert code == 1 and "203.0.113" in err


async def test_a_second_organisation_leaves_the_first_ones_objects_its_own(here, folder):
    await here.run("apply", str(folder))
    assert (await here.run("organisation", "add", "fabrikam", "display_name=Fabrikam Inc"))[0] == 0
    data = tomllib.loads(text_of(here))
    assert data["outbound_connector"][0]["organisation"] == "contoso"
    code, _, err = await here.run("ip-list", "block", "192.0.2.1")
    assert code == 2 and "contoso, fabrikam" in err
    assert (await here.run("ip-list", "block", "192.0.2.1", "--organisation", "fabrikam"))[0] == 0
    assert (await here.run("domain", "add", "fabrikam.test", "--organisation", "fabrikam", "--vouch"))[0] == 0
    code, _, err = await here.run("organisation", "remove", "fabrikam")
    assert code == 2 and "2 objects" in err
    assert (await here.run("organisation", "remove", "fabrikam", "--with-objects"))[0] == 0
    assert [row["name"] for row in await as_json(here, "organisation", "list")] == ["contoso"]


async def test_rules_and_remote_domains_come_from_the_same_commands(here, folder):
    await here.run("apply", str(folder))
    words = ("recipient_domain_is=a.test", "recipient_domain_is=b.test", "route_message_outbound_connector=HQ")
    code, out, _ = await here.run("rule", "add", "City", *words, "priority=0")
    assert code == 0 and "when recipient_domain_is a.test, b.test: route_message_outbound_connector HQ" in out
    assert tomllib.loads(text_of(here))["mail_flow_rule"] == [
        {"name": "City", "recipient_domain_is": ["a.test", "b.test"], "route_message_outbound_connector": "HQ",
         "priority": 0}
    ]  # fmt: skip
    code, _, err = await here.run("connector", "remove", "HQ")
    assert code == 1 and "no outbound connector 'HQ'" in err
    assert (await here.run("rule", "set", "City", "recipient_domain_is+=c.test", "enabled=false"))[0] == 0
    assert (await as_json(here, "rule", "show", "City"))["recipient_domain_is"] == ["a.test", "b.test", "c.test"]
    assert (await here.run("rule", "remove", "City"))[0] == 0
    assert (await here.run("remote-domain", "add", "*.far.test", "allowed_oof_type=none", "line_wrap_size=76"))[0] == 0
    row, everybody = await as_json(here, "remote-domain", "list")
    assert (everybody["domain_name"], everybody["file"]) == ("*", "built in")
    assert (await as_json(here, "remote-domain", "show", "*"))["auto_reply_enabled"]
    assert (await as_json(here, "remote-domain", "set", "*", "auto_reply_enabled=no"))["published"]
    assert not (await as_json(here, "remote-domain", "show", "*"))["auto_reply_enabled"]
    assert (await here.run("remote-domain", "remove", "*"))[0] == 0
    assert (await here.run("remote-domain", "remove", "*"))[0] == 1, "the built-in one cannot be removed"
    assert (row["domain_name"], row["line_wrap_size"], row["ndr_enabled"]) == ("*.far.test", 76, True)
    code, _, err = await here.run("remote-domain", "set", "*.far.test", "allowed_oof_type=internal_legacy")
    assert code == 1 and "is_internal" in err
    assert (await here.run("remote-domain", "set", "*.far.test", "domain_name=x.test"))[0] == 2
    assert (await here.run("remote-domain", "remove", "*.far.test"))[0] == 0


async def test_t_conn_0_nothing_is_advised_where_all_is_hosted(here):
    for words in (["all", "hosted"], ["all hosted"], ["hosted"], ["--mailboxes", "hosted"]):
        code, out, _ = await here.run("connector", "advise", *words, control=False)
        assert (code, out) == (0, "none\n")
    code, out, _ = await here.run("connector", "advise", "own-servers", control=False)
    assert code == 0 and out.count("needed") == 2 and "on_premises" in out
    code, out, _ = await here.run("connector", "advise", "both", "--partners", control=False)
    assert out.count("needed") == 2 and out.count("optional") == 2
    code, out, _ = await here.run("connector", "advise", "hosted", "--devices", "--json", control=False)
    (one,) = json.loads(out)["connectors"]
    assert (one["table"], one["connector_type"], one["needed"]) == ("inbound_connector", "on_premises", False)
    assert (await here.run("connector", "advise", "nowhere", control=False))[0] == 2


async def test_config_show_says_where_every_value_comes_from(here, folder, tmp_path):
    await here.run("apply", str(folder))
    file = tmp_path / "lockgate.toml"
    file.write_text('hostname = "mx.contoso.test"\n\n[delivery]\nfirst_retry = "2s"\n[[listener]]\nport = 2526\n')
    told = await as_json(here, "--config", str(file), "config", "show", "--origin")
    rows = {row["property"]: row for row in told["settings"]}
    assert rows["hostname"]["origin"] == f"{file}:1" and rows["workers"]["origin"] == "default"
    assert (rows["delivery.first_retry"]["value"], rows["delivery.first_retry"]["origin"]) == (2.0, f"{file}:4")
    assert rows["listener[1].port"]["origin"] == f"{file}:6" and rows["listener[1].address"]["origin"] == "default"
    values = {(row["table"], row["name"], row["property"]): row for row in told["policy"]}
    assert values["outbound_connector", "HQ", "smart_hosts"]["origin"] == "contoso.toml:12"
    assert values["outbound_connector", "HQ", "cost"] == {
        "table": "outbound_connector", "organisation": "contoso", "name": "HQ", "property": "cost", "value": 1,
        "origin": "default",
    }  # fmt: skip
    code, out, _ = await here.run("--config", str(file), "config", "show", "--origin", "--written")
    assert code == 0 and "default" not in out and "contoso.toml:12" in out
