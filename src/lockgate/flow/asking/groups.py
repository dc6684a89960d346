"""What can be asked about distribution groups and their members."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class GroupList(Ask, frozen=True, tag="group_list"):
    """The groups of an organisation by their addresses; with `member` only those of which it is a direct member."""

    organisation: str = ""
    member: str = ""
    limit: int = 1000


class GroupShow(Ask, frozen=True, tag="group_show"):
    """Everything about the group with this address: the first thousand members, and where it contains itself."""

    address: str
    organisation: str = ""


class GroupMembers(Ask, frozen=True, tag="group_members"):
    """The direct members of a group from the place `after` on, and who each of them is; answered page by page."""

    address: str
    organisation: str = ""
    after: int = 0


class GroupAdd(Ask, frozen=True, tag="group_add"):
    """A new group; `values` as in RecipientAdd, `members` their addresses."""

    address: str
    values: dict[str, str]
    members: tuple[str, ...] = ()
    organisation: str = ""
    what_if: bool = False


class GroupSet(Ask, frozen=True, tag="group_set"):
    """Change some values of a group, as RecipientSet."""

    address: str
    values: dict[str, str]
    organisation: str = ""
    what_if: bool = False


class GroupRemove(Ask, frozen=True, tag="group_remove"):
    """Remove a group, as RecipientRemove; its members stay."""

    address: str
    organisation: str = ""
    what_if: bool = False
    force: bool = False


class GroupEdit(Ask, frozen=True, tag="group_edit"):
    """Take addresses into a group and take others out, in one change; with `all_out` first everybody."""

    address: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    all_out: bool = False
    organisation: str = ""
    what_if: bool = False
