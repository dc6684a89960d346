"""Recipients at the terminal: import and export, single recipients, and what edge blocking would do."""

from __future__ import annotations

import csv
import io
import json

import pytest

from doors.desk_here import EVIL, desk_here
from lockgate.flow.unlisted import DAY, Counter
from lockgate.mail.address import parse_address
from lockgate.mail.findings import RecipientKind, Who

NOW = 1_700_010_000.0


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as made:
        yield made


async def test_recipient_import_and_find(here, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text("address,kind,aliases,city\nann@contoso.test,mail_user,a@contoso.test;b@contoso.test,Seattle\n")
    code, out, _ = await here.run("recipient", "import", str(file), "--what-if")
    assert code == 0 and not here.recipients.people.get("contoso") and "1 recipient with 3 addresses would" in out
    code, out, err = await here.run("recipient", "import", str(file))
    assert code == 0 and "revision 2" in out and "1 added, 0 changed, 0 removed" in out, (out, err)
    (row,) = here.recipients.people["contoso"]
    assert row.attributes == {"city": "Seattle"}
    assert len(here.audit.rows) == 1
    here.directory.known["ann@contoso.test"] = Who(
        "contoso", RecipientKind.MAIL_USER, parse_address("Ann@contoso.test"), None, {"city": "Seattle"}
    )
    code, out, _ = await here.run("recipient", "find", "ANN@contoso.test")
    assert code == 0 and "Ann@contoso.test" in out and "Seattle" in out
    code, _, err = await here.run("recipient", "find", "bob@contoso.test")
    assert code == 1 and "Nobody has" in err
    here.directory.broken = True
    code, _, err = await here.run("recipient", "find", "bob@contoso.test")
    assert code == 3 and "damaged" in err


async def test_valid_lines_are_loaded_and_every_other_is_told(here, tmp_path):
    file = tmp_path / "people.csv"
    bad = "ann,mail_user\nbob@contoso.test,robot\nBOB@contoso.test,mailbox\nbob@CONTOSO.test,\n"
    file.write_text("address,kind\n" + bad + "".join(f"no {n},\n" for n in range(1200)))
    code, _, err = await here.run("recipient", "import", str(file), "--all-or-nothing")
    assert code == 1 and not here.recipients.people and "nothing was changed" in err and f"{file}:1205: address:" in err
    report = tmp_path / "wrong.csv"
    code, out, err = await here.run("recipient", "import", str(file), "--report", str(report))
    assert code == 1 and len(here.recipients.people["contoso"]) == 1 and "1203 mistakes" in out and not err
    rows = list(csv.DictReader(report.open()))
    assert len(rows) == 1203 and rows[0]["line"] == "2" and rows[2] == {
        "line": "5", "column": "address",
        "message": "bob@contoso.test is already given on line 4; an address belongs to one recipient",
    }  # fmt: skip
    code, out, _ = await here.run("recipient", "import", str(file), "--json")
    told = json.loads(out)
    assert code == 1 and told["rejected"] == len(told["wrong"]) == 1203 and told["unchanged"] == 1


async def test_files_that_are_refused_whole(here, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text("address\n")
    code, _, err = await here.run("recipient", "import", str(file))
    assert code == 2 and "would refuse all mail" in err
    file.write_text("address,departement\na@contoso.test,x\n")
    code, _, err = await here.run("recipient", "import", str(file))
    assert code == 1 and f"{file}:1: departement:" in err and "department is near" in err
    here.names = ("contoso", "fabrikam")
    file.write_text("address\na@contoso.test\n")
    code, _, err = await here.run("recipient", "import", str(file))
    assert code == 2 and "contoso, fabrikam" in err
    code, _, _ = await here.run("recipient", "import", str(file), "--organisation", "fabrikam")
    assert code == 0 and list(here.recipients.people) == ["fabrikam"]
    file.write_bytes(b"address\na\xff@contoso.test\n")
    code, _, err = await here.run("recipient", "import", str(file), "--organisation", "contoso")
    assert code == 2 and "UTF-8" in err
    code, _, err = await here.run("recipient", "import", str(tmp_path / "none.csv"), "--organisation", "contoso")
    assert code == 2 and "cannot be read" in err


async def test_single_recipients_are_added_changed_and_removed(here):
    add = ("recipient", "add", "ann@contoso.test", "City=Bonn", "custom_attribute_1=x", "--alias", "a@contoso.test")
    code, out, _ = await here.run(*add, "--what-if")
    assert code == 0 and "would be added" in out and not here.recipients.people and not here.audit.rows
    code, out, _ = await here.run("recipient", "add", "ann@contoso.test", "City=Bonn", "--alias", "a@contoso.test")
    assert code == 0 and "ann@contoso.test is added (revision 2)" in out and "city: - -> Bonn" in out
    code, _, err = await here.run("recipient", "add", "bob@contoso.test", "--alias", "A@contoso.test")
    assert code == 2 and "belongs to ann@contoso.test already" in err
    code, out, _ = await here.run("recipient", "set", "a@contoso.test", "city=", "department=Sales", "--kind=mailbox")
    assert code == 0 and "city: Bonn -> -" in out and "department: - -> Sales" in out
    code, out, _ = await here.run("recipient", "show", "a@contoso.test", "--json")
    assert json.loads(out) == {
        "organisation": "contoso", "address": "ann@contoso.test", "kind": "mailbox", "aliases": ["a@contoso.test"],
        "external_address": "", "attributes": {"department": "Sales"}, "member_of": [],
    }  # fmt: skip
    code, _, err = await here.run("recipient", "set", "a@contoso.test", "departement=Sales")
    assert code == 2 and "department is near" in err
    code, _, err = await here.run("recipient", "set", "a@contoso.test")
    assert code == 2 and "city=Bonn" in err
    code, _, err = await here.run("recipient", "remove", "a@contoso.test")
    assert code == 2 and "alias of ann@contoso.test" in err
    code, _, err = await here.run("recipient", "remove", "ann@contoso.test")
    assert code == 2 and "last recipient" in err
    assert (await here.run("recipient", "remove", "ann@contoso.test", "--force"))[0] == 0
    assert (await here.run("recipient", "show", "ann@contoso.test"))[0] == 1
    assert [row["did"] for row in here.audit.rows] == ["recipient add", "recipient set", "recipient remove"]
    assert here.audit.rows[1]["before"]["attributes"] == {"city": "Bonn"}
    assert here.audit.rows[2]["after"] is None


async def test_what_is_exported_can_be_imported(here, tmp_path):
    file = tmp_path / "people.csv"
    lines = [f"user{n}@contoso.test,a{n}@contoso.test,x@far.test,'=1+{n},+49 30\n" for n in range(4500)]
    file.write_text("address,aliases,external_address,city,phone_number\n" + "".join(lines))
    assert (await here.run("recipient", "import", str(file)))[0] == 0
    before = list(here.recipients.people["contoso"])
    assert before[0].attributes == {"city": "=1+0", "phone_number": "+49 30"}
    out = tmp_path / "out.csv"
    code, said, _ = await here.run("recipient", "export", str(out))
    assert code == 0 and "4500 recipients" in said
    cells = [cell for row in csv.reader(out.open()) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]
    here.recipients.people.clear()
    assert (await here.run("recipient", "import", str(out)))[0] == 0
    assert here.recipients.people["contoso"] == before
    code, said, _ = await here.run("recipient", "export", "--json")
    assert len(said.splitlines()) == 4500 and json.loads(said.splitlines()[0])["aliases"] == ["a0@contoso.test"]


async def test_estimate_shows_who_would_have_been_refused(here):
    counter = Counter()
    for n in range(3):
        counter.note("contoso", "contoso.test", "carl@contoso.test", f"s{n}@far.test", NOW - 60 + n)
    counter.note("contoso", "contoso.test", "dora@contoso.test", EVIL, NOW - 3 * DAY)
    counter.note("contoso", "contoso.test", "known@contoso.test", "s@far.test", NOW)
    counter.note("other", "contoso.test", "x@contoso.test", "s@far.test", NOW)
    here.counted = [counter.kept]
    here.directory.known["known@contoso.test"] = Who(
        "contoso", RecipientKind.MAIL_USER, parse_address("known@contoso.test")
    )
    for command in ("recipient", "edge-blocking"):
        code, out, _ = await here.run(command, "estimate", "contoso.test")
        assert code == 0 and "4 messages to 2 addresses of contoso.test would have been refused" in out
        assert "\x1b" not in out and "known@" not in out and "s2@far.test" in out
    code, out, _ = await here.run("recipient", "estimate", "contoso.test", "--days", "1", "--json")
    told = json.loads(out)
    assert [(row["address"], row["count"]) for row in told["addresses"]] == [("carl@contoso.test", 3)]
    assert told["edge_blocking"] == "observe" and told["known_by_now"] == 1
    code, _, err = await here.run("recipient", "estimate", "nowhere.test")
    assert code == 1 and "no accepted domain" in err


async def test_an_export_is_a_table_of_its_own(here):
    code, out, _ = await here.run("recipient", "export")
    assert code == 0 and next(csv.reader(io.StringIO(out)))[:2] == ["address", "kind"]
