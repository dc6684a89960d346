"""Named lists at the terminal: declared in the policy, and changed, searched, imported and exported beside it."""

from __future__ import annotations

import json

import pytest

from doors.desk_here import desk_here
from lockgate.mail.lists import ListKind, ListName
from policies import CONTOSO

POLICY = """
[[named_list]]
name = "partners"
kind = "domains"
comments = "kept by purchasing"
[[named_list]]
name = "vip"
kind = "addresses"
[[named_list]]
name = "Project names"
kind = "words"
[[mail_flow_rule]]
name = "From partners"
sender_in_list = ["partners", "vip"]
set_header = {name = "X-Partner", value = "yes"}
[[mail_flow_rule]]
name = "Secret"
except_if_subject_contains_list = ["Project names"]
delete_message = true
"""


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as found:
        folder = tmp_path / "documents"
        folder.mkdir()
        (folder / "contoso.toml").write_text(CONTOSO + POLICY)
        code, _, err = await found.run("apply", str(folder))
        assert code == 0, err
        yield found


async def told(here, *command):
    code, out, err = await here.run(*command, "--json")
    assert code == 0, err
    return json.loads(out)


def rows(here, did: str):
    return [row for row in here.audit.rows if row["did"] == did]


async def test_a_list_is_declared_as_other_objects_are(here) -> None:
    before = here.revisions.in_force().number
    await told(here, "list", "declare", "blocked", "--kind", "domains", "--what-if")
    assert here.revisions.in_force().number == before
    made = await told(here, "list", "declare", "blocked", "--kind", "domains", "--comments", "by hand")
    assert made["revision"] == before + 1 and made["object"]["kind"] == "domains"
    code, _, err = await here.run("list", "declare", "odd", "--kind", "numbers")
    assert code == 1 and "must be 'domains', 'addresses' or 'words'" in err
    await told(here, "list", "add", "blocked", "bad.example")
    await told(here, "list", "undeclare", "blocked")
    code, _, err = await here.run("list", "show", "blocked")
    assert code == 1 and "there is no list 'blocked'" in err.lower()
    await told(here, "list", "declare", "blocked", "--kind", "domains")
    assert (await told(here, "list", "show", "blocked"))["entries"] == 1, "its entries were kept"
    code, _, err = await here.run("list", "undeclare", "partners")
    assert code == 1 and "there is no list 'partners'" in err, "a rule still names it"


async def test_entries_are_changed_without_a_revision_and_each_change_is_in_the_audit(here) -> None:
    before = here.revisions.in_force().number
    code, out, _ = await here.run("list", "add", "partners", "Fabrikam.com", "bücher.example", "--what-if")
    assert code == 0 and "would have 2 entries: 2 added" in out and not rows(here, "list add")
    code, out, _ = await here.run("list", "add", "PARTNERS", "Fabrikam.com", "bücher.example", "fabrikam.COM")
    assert code == 0 and out == "partners has 2 entries (revision 1): 2 added, 0 removed, 0 there already.\n"
    done = await told(here, "list", "remove", "partners", "xn--bcher-kva.example")
    assert (done["removed"], done["entries"], done["revision"]) == (1, 1, 2)
    code, out, err = await here.run("list", "remove", "partners", "gone.example", "--what-if")
    assert code == 1 and "Not on the list: gone.example" in err
    (added,), (removed,) = rows(here, "list add"), rows(here, "list remove")
    assert added["by"] and added["list"] == "partners" and added["revision"] == 1
    assert added["before"] == {"entries": 0} and added["after"] == {"entries": 2}
    assert removed["entries"] == ["xn--bcher-kva.example"]
    assert here.revisions.in_force().number == before
    code, _, err = await here.run("list", "remove", "partners")
    assert code == 2 and "say which entries" in err.lower()
    assert (await told(here, "list", "remove", "partners", "--all"))["entries"] == 0


async def test_what_is_no_entry_is_refused_with_all_that_is_wrong(here) -> None:
    code, _, err = await here.run("list", "add", "partners", "ok.example", "*.a.example", "x@b.example")
    assert code == 1 and "entry:2: " in err and "entry:3: " in err and "2 mistakes, nothing was changed" in err
    assert (await told(here, "list", "show", "partners"))["entries"] == 0
    code, _, err = await here.run("list", "add", "vip", "no.address")
    assert code == 1 and "'no.address' is not an address" in err
    code, _, err = await here.run("list", "add", "Project names", "a b " * 17)
    assert code == 1
    code, _, err = await here.run("list", "add", "partner", "a.example")
    assert code == 1 and "did you mean 'partners'?" in err


async def test_find_says_which_entry_covers_it(here) -> None:
    await told(here, "list", "add", "partners", "fabrikam.com")
    code, out, _ = await here.run("list", "find", "partners", "mail.FABRIKAM.com")
    assert code == 0 and out == "mail.FABRIKAM.com is on the list partners, as fabrikam.com (revision 1).\n"
    code, _, err = await here.run("list", "find", "partners", "com")
    assert code == 1 and "'com' is not on the list partners (revision 1)" in err
    await told(here, "list", "add", "Project names", "Falcon  Nine", "C++")
    assert (await told(here, "list", "find", "Project names", "falcon nine"))["entry"] == "Falcon  Nine"
    code, *_ = await here.run("list", "find", "Project names", "the falcon nine")
    assert code == 1, "exactly this phrase, not one within it"


async def test_lists_are_shown_with_the_rules_that_use_them(here) -> None:
    await told(here, "list", "add", "vip", "Ann@fabrikam.com")
    listed = {row["name"]: row for row in await told(here, "list", "list")}
    assert listed["partners"]["used_by"] == ["From partners"] == listed["vip"]["used_by"]
    assert listed["Project names"]["used_by"] == ["Secret"] and listed["vip"]["entries"] == 1
    assert listed["partners"]["note"] == "it has no entries yet, so nothing is on it"
    code, out, _ = await here.run("list", "show", "partners")
    assert code == 0 and "kept by purchasing" in out and "no entries yet" in out
    code, out, _ = await here.run("rule", "show", "From partners")
    assert code == 0 and "partners=no entries, so nothing is on it, vip=1 entries" in out
    code, out, _ = await here.run("list", "list")
    assert code == 0 and out.splitlines()[0].split()[:3] == ["ORGANISATION", "NAME", "KIND"]


async def test_a_file_comes_in_whole_or_not_at_all_and_goes_out_as_it_came(here, tmp_path) -> None:
    file = tmp_path / "partners.txt"
    file.write_text("\ufeff# from purchasing\n\nFabrikam.com\r\n  bücher.example  \nfabrikam.com\n", "utf-8")
    code, out, err = await here.run("list", "import", "partners", str(file), "--what-if")
    assert code == 0 and "would have 2 entries" in out, err
    done = await told(here, "list", "import", "partners", str(file))
    assert (done["added"], done["there"], done["entries"], done["revision"]) == (2, 0, 2, 1)
    (row,) = rows(here, "list import")
    assert row["file"] == str(file) and row["added"] == 2

    bad = tmp_path / "bad.txt"
    bad.write_text("good.example\n\n# a comment\n*.bad.example\nuser@bad.example\n")
    code, _, err = await here.run("list", "import", "partners", str(bad))
    assert code == 1 and f"{bad}:4: " in err and f"{bad}:5: " in err and "nothing was changed" in err
    code, out, _ = await here.run("list", "export", "partners")
    assert code == 0 and out == "Fabrikam.com\nbücher.example\n"

    file.write_text("third.example\n")
    code, out, _ = await here.run("list", "import", "partners", str(file), "--replace")
    assert code == 0 and out == "partners has 1 entry (revision 2): 1 added, 2 removed, 0 there already.\n"
    file.write_text("# nothing\n")
    code, _, err = await here.run("list", "import", "partners", str(file), "--replace")
    assert code == 2 and "holds no entries" in err and "--all" in err
    code, _, err = await here.run("list", "import", "partners", str(tmp_path / "none"))
    assert code == 2 and "cannot be read" in err


@pytest.mark.parametrize("name", ["words.txt", "words.csv"])
async def test_export_gives_back_what_was_imported(here, tmp_path, name) -> None:
    words = ["entry", "Project Falcon", "#tag", "\\#odd", "=SUM(A1)", "'quoted", "a, b", 'say "x"', "Straße", "東京"]
    words.append("-1")
    code, _, err = await here.run("list", "add", "Project names", "--", *words)
    assert code == 0, err
    code, out, _ = await here.run("list", "export", "Project names", str(tmp_path / name))
    assert code == 0 and f": {len(words)} entries." in out
    here.lists.clear(ListName("contoso", ListKind.WORDS, "Project names"), "test", what_if=False)
    done = await told(here, "list", "import", "Project names", str(tmp_path / name))
    assert done["added"] == len(words)
    assert await told(here, "list", "export", "Project names") == words


async def test_an_export_of_many_comes_in_pages(here, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("lockgate.flow.desk.lists.PAGE", 10)
    file = tmp_path / "many.csv"
    file.write_text("domain,note\n" + "".join(f"d{n}.example,x\n" for n in range(30)))
    assert (await told(here, "list", "import", "partners", str(file)))["entries"] == 30
    code, out, _ = await here.run("list", "export", "partners")
    assert code == 0 and out.splitlines() == [f"d{n}.example" for n in range(30)]


async def test_a_list_that_cannot_be_read_is_told_and_not_changed(here) -> None:
    here.lists.lists.broken = "on fire"
    code, _, err = await here.run("list", "add", "partners", "a.example")
    assert code == 3 and "on fire" in err
    code, out, _ = await here.run("rule", "show", "Secret")
    assert code == 0 and "Project names=cannot be read" in out


async def test_what_a_rule_says_of_its_lists_is_of_their_kind_and_of_now(here) -> None:
    async def said() -> dict[str, str]:
        return (await told(here, "rule", "show", "From partners"))["lists"]

    await told(here, "list", "add", "vip", "ann@far.test")
    assert await said() == {"partners": "no entries, so nothing is on it", "vip": "1 entries"}
    other = ListName("contoso", ListKind.ADDRESSES, "partners")
    here.lists.lists.views[other] = here.lists.lists.views[ListName("contoso", ListKind.ADDRESSES, "vip")]
    assert (await said())["partners"] == "no entries, so nothing is on it", "entries of a list of another kind"
    here.lists.lists.broken = "its file is damaged"
    assert set((await said()).values()) == {"cannot be read, so nothing is known of it"}
