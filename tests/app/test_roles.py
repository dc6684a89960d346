"""Roles on the control socket: which accounts have which rights, and mistakes in the operator's file about them."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from lockgate.app.config import check_files, parse_config
from lockgate.app.roles import Peer, Roles, roles_of
from lockgate.flow.desk.rights import EVERYTHING, ROLE_GROUPS, Right
from lockgate.policy.problems import Invalid

HEAD = 'hostname = "mx.contoso.test"\n[control]\nsocket = "c.sock"\n'
STRANGER = Peer(1, 54321, 54321)
"""An account that no system has."""


def somebody() -> pwd.struct_passwd:
    """An account that is neither ours nor root."""
    return next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.geteuid()))


def peer(one: pwd.struct_passwd) -> Peer:
    return Peer(1, one.pw_uid, one.pw_gid)


def test_our_own_account_and_root_may_do_everything_and_strangers_nothing():
    assert Roles().rights(Peer(1, os.geteuid(), 0)) == EVERYTHING
    assert Roles().rights(Peer(1, 0, 0)) == EVERYTHING
    assert Roles().rights(STRANGER) == frozenset()
    assert Roles("root").rights(Peer(1, 54321, 0)) == frozenset()  # an account that does not exist is in no group
    assert Roles("no-such-group").rights(peer(somebody())) == frozenset()


def test_an_account_has_the_rights_of_its_role_groups_together():
    one = somebody()
    config = parse_config(
        HEAD
        + f'[[control.role]]\ngroup = "QuarantineAdministrator"\naccount = "{one.pw_name}"\n'
        + f'[[control.role]]\ngroup = "HelpDesk"\naccount = "{one.pw_name}"\n'
        + '[[control.role]]\ngroup = "OrganizationManagement"\naccount = "somebody-else"\n',
        Path("lockgate.toml"),
    )
    rights = roles_of(config.control).rights(peer(one))
    assert rights == ROLE_GROUPS["QuarantineAdministrator"] | ROLE_GROUPS["HelpDesk"]
    assert Right.ORGANISATION not in rights
    assert config.control.file_mode == 0o666  # the kernel names who connects; the desk refuses


def test_a_system_group_gives_its_rights_to_all_its_members():
    one = somebody()
    group = grp.getgrgid(one.pw_gid).gr_name
    text = HEAD + f'[[control.role]]\ngroup = "SecurityReader"\nunix_group = "{group}"\n'
    roles = roles_of(parse_config(text, Path("lockgate.toml")).control)
    assert roles.rights(peer(one)) == ROLE_GROUPS["SecurityReader"]
    assert Roles(group).rights(peer(one)) == EVERYTHING


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEAD + '[[control.role]]\ngroup = "Quarantine"\naccount = "ann"\n', 5, "there is no role group 'Quarantine'"),
        (HEAD + '[[control.role]]\ngroup = "HelpDesk"\n', 4, "either an account or a unix_group"),
        (HEAD + '[[control.role]]\ngroup = "HelpDesk"\naccount = "a"\nunix_group = "b"\n', 4, "either an account"),
        (HEAD.replace('socket = "c.sock"\n', "") + '[[control.role]]\ngroup = "HelpDesk"\naccount = "a"\n', 2,
         "a socket outside the state directory"),
    ],
)  # fmt: skip
def test_mistakes_have_their_line_and_what_would_be_right(text, line, says):
    with pytest.raises(Invalid) as caught:
        parse_config(text, Path("lockgate.toml"))
    (problem,) = caught.value.problems
    assert says in problem.message
    assert problem.line == line


def test_accounts_and_groups_that_this_system_does_not_have_are_told_before_the_start(tmp_path):
    (tmp_path / "policy").mkdir()
    file = tmp_path / "lockgate.toml"
    file.write_text(
        HEAD + '[[control.role]]\ngroup = "HelpDesk"\naccount = "no-such-account"\n'
        '[[control.role]]\ngroup = "HelpDesk"\nunix_group = "no-such-group"\n'
    )
    found = check_files(parse_config(file.read_text(), file), file)
    assert [(one.line, one.message) for one in found] == [
        (6, "this system has no 'no-such-account'"), (9, "this system has no 'no-such-group'"),
    ]  # fmt: skip
