"""`lockgate mailbox`: what lies in the mailboxes of this machine, aliases followed, hostile file names harmless."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from doors.desk_here import desk_here
from lockgate.app.config import check_files, parse_config
from lockgate.app.mailboxes import mailbox_desk
from lockgate.couriers.mailbox_folders import folders_of
from lockgate.couriers.maildir import Letter, deliver
from lockgate.flow.asking import MailboxList
from lockgate.flow.desk.rights import Caller
from lockgate.flow.desk.section import Misuse
from lockgate.mail.address import parse_address
from lockgate.mail.findings import RecipientKind, Who
from lockgate.policy.problems import Invalid

AT = 1_700_000_000.0


def put(folder: Path, organisation: str, address: str, *ids: str) -> Path:
    root = os.open(folder, os.O_RDONLY)
    folders = folders_of(organisation, address)
    deliver(root, folders, [Letter(one, f"17.M0_{one}.mx.test,S=100,W=104", (b"x" * 100,)) for one in ids], AT)
    os.close(root)
    return folder.joinpath(*folders)


@pytest.fixture
async def here(tmp_path: Path):
    async with desk_here(tmp_path) as found:
        (tmp_path / "mail").mkdir()
        found.names = ("contoso", "Fabrikam Ltd")
        yield found


async def test_list_and_show(here, tmp_path: Path) -> None:
    box = put(tmp_path / "mail", "contoso", "Ana@contoso.com", "a", "b", "c")
    (box / "new" / "17.M0_a.mx.test,S=100,W=104").rename(box / "cur" / "17.M0_a.mx.test,S=100,W=104:2,S")
    (box / ".Junk" / "cur").mkdir(parents=True)
    (box / ".Junk" / "cur" / "18.x.host:2,").write_text("seven..")
    put(tmp_path / "mail", "Fabrikam Ltd", '"odd/one"@fabrikam.com', "d")
    code, out, _ = await here.run("mailbox", "list")
    assert code == 0
    first, second = out.splitlines()[1:]
    assert first.split() == ["ana@contoso.com", "contoso", "4", "3", "307", "2023-11-14", "22:13:20Z"]
    assert second.startswith('"odd/one"@fabrikam.com  Fabrikam Ltd')
    _, out, _ = await here.run("mailbox", "list", "--organisation", "Fabrikam Ltd", "--json")
    assert [row["messages"] for row in json.loads(out)] == [1]
    code, out, _ = await here.run("mailbox", "show", "ANA@contoso.com", "--organisation", "contoso")
    assert code == 0 and f"path           {box}" in out and "last delivery  2023-11-14 22:13:20Z" in out
    here.directory.known["smith@contoso.com"] = Who("contoso", RecipientKind.MAILBOX, parse_address("ana@contoso.com"))
    code, out, _ = await here.run("mailbox", "show", "smith@contoso.com", "--organisation", "contoso", "--json")
    assert json.loads(out)["address"] == "ana@contoso.com", "an alias leads to its mailbox"
    code, _, err = await here.run("mailbox", "show", "ben@contoso.com", "--organisation", "contoso")
    assert code == 1 and "Nothing was delivered to the mailbox ben@contoso.com" in err
    code, _, err = await here.run("mailbox", "show", "ana@contoso.com")
    assert code == 2 and "which organisation" in err


async def test_what_others_have_put_there_is_harmless(here, tmp_path: Path) -> None:
    odd = tmp_path / "mail" / "contoso" / "contoso.com" / "x\x1b[2J\u202e"
    (odd / "new").mkdir(parents=True)
    (tmp_path / "mail" / "contoso" / "contoso.com" / "link").symlink_to("/etc")
    (tmp_path / "mail" / "contoso" / "file").write_text("")
    code, out, _ = await here.run("mailbox", "list")
    assert code == 0 and out.isascii() and "\x1b" not in out and "link" not in out


async def test_a_directory_that_is_away_is_told(here, tmp_path: Path) -> None:
    (tmp_path / "mail").rmdir()
    code, out, err = await here.run("mailbox", "list")
    assert (code, out) == (3, "") and "the mailboxes cannot be read" in err


async def test_without_a_directory_the_desk_says_so() -> None:
    with pytest.raises(Misuse, match="no \\[mailboxes\\] directory"):
        await mailbox_desk(None, None, lambda: ()).list(MailboxList(), Caller("x"))  # type: ignore[arg-type]


# --- the operator's file


def test_the_operators_file_names_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    text = 'hostname = "mx.test.example"\n[mailboxes]\ndirectory = "mail"\nservers = ["127.0.0.1:24"]\n'
    path = tmp_path / "lockgate.toml"
    path.write_text(text)
    config = parse_config(text, path)
    assert config.mailboxes.directory == tmp_path / "mail" and config.mailboxes.kept
    (problem,) = check_files(config, path)
    assert (problem.line, problem.path) == (3, "mailboxes.directory")
    assert "is its file system mounted?" in problem.message
    (tmp_path / "mail").mkdir()
    assert check_files(config, path) == ()
    assert not parse_config('hostname = "mx.test.example"\n', path).mailboxes.kept


@pytest.mark.parametrize("wrong", ['servers = ["store"]', 'sockets = ["unix:x"]', "concurrency = 0", 'folder = "x"'])
def test_mistakes_in_the_operators_file(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as trouble:
        parse_config(f'hostname = "mx.test.example"\n[mailboxes]\n{wrong}\n', tmp_path / "lockgate.toml")
    assert trouble.value.problems[0].line == 3
