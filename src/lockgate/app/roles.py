"""Who may do what on the control socket: system accounts and groups to rights, by the operator's file."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockgate.app.config_operation import Control, Role
from lockgate.flow.desk.rights import EVERYTHING, ROLE_GROUPS, Right


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end, as the kernel says (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The account's number and name, as it goes into audit rows."""
        return f"{self.uid} {self.account or '-'}"

    @property
    def account(self) -> str:
        """The account's name, "" if it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return ""


class Roles(msgspec.Struct, frozen=True):
    """`group` may do everything; `roles` are those of the operator's file. Asked anew for each connection, so that an
    account that is taken out of a group has lost its rights at once."""

    group: str = ""
    roles: tuple[Role, ...] = ()

    def rights(self, peer: Peer) -> frozenset[Right]:
        """What this account may do; nothing at all for a stranger. Our own account and root may do everything."""
        if peer.uid in (0, os.geteuid()):
            return EVERYTHING
        groups = _groups(peer)
        if self.group and self.group in groups:
            return EVERYTHING
        found: frozenset[Right] = frozenset()
        for role in self.roles:
            if (role.account and role.account == peer.account) or (role.unix_group and role.unix_group in groups):
                found |= ROLE_GROUPS[role.group]
        return found


def roles_of(control: Control) -> Roles:
    """The roles of the operator's file."""
    return Roles(control.group, control.role)


Listed = list[dict[str, str]]


def changed_since(file: Path, roles: Sequence[Role]) -> tuple[Listed, Listed] | None:
    """The roles of the last start and those of now, if they differ; `file` remembers them. Raises OSError."""
    now = [role.model_dump(exclude_defaults=True) for role in roles]
    before: Listed = []
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        before = msgspec.json.decode(file.read_bytes(), type=Listed)
    if before == now:
        return None
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    early = file.with_name(f".{file.name}.new")
    early.write_bytes(msgspec.json.encode(now))
    early.replace(file)
    return before, now


def unknown_names(roles: Sequence[Role]) -> list[tuple[int, str, str]]:
    """(number of the role, key, name) of every account or group that this system does not have."""
    missing = []
    for number, role in enumerate(roles):
        try:
            if role.account:
                pwd.getpwnam(role.account)
            else:
                grp.getgrnam(role.unix_group)
        except KeyError:
            missing.append((number, "account" if role.account else "unix_group", role.account or role.unix_group))
    return missing


def _groups(peer: Peer) -> frozenset[str]:
    """The names of the account's groups; an account that does not exist is in none."""
    account = peer.account
    if not account:
        return frozenset()
    names = set()
    for number in {peer.gid, *os.getgrouplist(account, peer.gid)}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return frozenset(names)
