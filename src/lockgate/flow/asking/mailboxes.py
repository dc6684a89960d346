"""What can be asked about the hosted mailboxes of this machine."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class MailboxList(Ask, frozen=True, tag="mailbox_list"):
    """The mailboxes that mail was delivered to; of all organisations if none is named."""

    organisation: str = ""
    limit: int = 1000


class MailboxShow(Ask, frozen=True, tag="mailbox_show"):
    """What lies in one mailbox."""

    address: str
    organisation: str = ""


class MailboxMove(Ask, frozen=True, tag="mailbox_move"):
    """Where these mailboxes are from now on: `to` is "here" or "there", on the other side of a hybrid.

    `addresses` maps any address of a recipient to the external address by which the other side is reached ("": by its
    own address).
    """

    addresses: dict[str, str]
    to: str
    organisation: str = ""
    what_if: bool = False
