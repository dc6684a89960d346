"""What an enhanced status code means to people: the cause, who can fix it, and how (specification 1.20, RFC 3463)."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """Three sentences for the sender of a message that did not arrive."""

    cause: str
    who: str
    remedy: str


_UNKNOWN = Advice(
    "The address does not exist at the recipient's system.",
    "you, if the address is mistyped; otherwise the recipient.",
    "check the address letter by letter, and ask the recipient for the right one by other means.",
)
_NO_DOMAIN = Advice(
    "The part of the address after the @ does not exist or accepts no mail.",
    "you, if the address is mistyped; otherwise the administrator of that domain.",
    "check the part after the @, and ask the recipient for an address that works.",
)
_FULL = Advice(
    "The recipient's mailbox cannot take the message, most often because it is full.",
    "the recipient.",
    "tell the recipient by other means, and send the message again once there is room.",
)
_LARGE = Advice(
    "The message is larger than the recipient's system accepts.",
    "you.",
    "send it without large attachments, or share the files in another way.",
)
_EXPIRED = Advice(
    "The recipient's system could not be reached, or put us off, for as long as we may keep trying.",
    "the administrator of the recipient's system.",
    "send the message again later, and tell the recipient by other means if it is urgent.",
)
_UNREACHABLE = Advice(
    "The recipient's system does not answer or cannot be found at this moment.",
    "the administrator of the recipient's system.",
    "send the message again later, and tell the recipient by other means if it is urgent.",
)
_LOOP = Advice(
    "The message was passed around in a circle between mail servers.",
    "the administrators of the servers it went through; the path is in the Received fields below.",
    "forward this report to your administrator; sending the message again will not help.",
)
_TLS = Advice(
    "The connection to the recipient's system could not be secured as it has to be, so nothing was sent over it.",
    "the administrators of both systems.",
    "forward this report to your administrator; the last line below says what was wrong with the encryption.",
)
_POLICY = Advice(
    "The recipient's system does not accept this message by its rules.",
    "the administrator of the recipient's system, or yours if the last line below names your system.",
    "read the words of the server below; if they do not help, ask the recipient's administrator by other means.",
)
_CONTENT = Advice(
    "The message is written in a form that the recipient's system cannot take.",
    "you, or the maker of the program that wrote the message.",
    "send it again in a simpler form, for example as plain text without unusual characters in addresses.",
)
_OTHER = Advice(
    "The recipient's system did not take the message.",
    "the administrator of the recipient's system.",
    "read the words of the server below, and ask the recipient's administrator by other means.",
)
_OURS = Advice(
    "The mail system here waits for its administrator before it may send the message on.",
    "your administrator.",
    "forward this report to your administrator.",
)

_CIRCLE = Advice(
    "The recipient's address leads to another one, and that one back again, so that the message would never arrive.",
    "the administrator of the recipient's system, or the recipient who set up the forwarding.",
    "tell the recipient by other means; sending the message again will not help.",
)
_AUTHOR_UNPROVEN = Advice(
    "The domain of the From address asks that mail be refused that it cannot be proven to have sent (DMARC), and "
    "nothing proved this message: it was not sent by a server of that domain, nor signed by one.",
    "the administrator of the domain in your From address, or yours if you send through another company's system.",
    "send it by the mail system of that domain; if you did, forward this report to its administrator, who has to "
    "look at SPF, DKIM and DMARC.",
)
_AUTHOR_UNCLEAR = Advice(
    "The message does not say in one valid From field who wrote it.",
    "you, or the maker of the program that wrote the message.",
    "set one From address in the program that sends, and send the message again.",
)
_DIRECT_SEND = Advice(
    "The message bears a sender of the recipient's own organisation, but came from outside, from a server that the "
    "organisation does not know. Mail like this is usually forged.",
    "your administrator; if a device or a program sends for you, the administrator of the recipient's organisation.",
    "send it by your organisation's own mail server. A device or a service that is to send in its name needs a login "
    "or an inbound connector for its address or certificate.",
)
_NO_RELAY = Advice(
    "The mail system may not pass on mail of this sender to others: no connector or login says whose mail it is.",
    "the administrator of the system that sent it.",
    "forward this report to your administrator, who has to look at the inbound connector and at the sender's domain.",
)
_NOT_LISTED = Advice(
    "The recipient takes mail only from certain senders, and you are not one of them.",
    "the owner of the group or mailbox, or the administrator of the recipient's organisation.",
    "ask the owner by other means to let you send to it.",
)
_MEMBERS_ONLY = Advice(
    "The group takes mail only from people of its own organisation, and nothing proves that this message comes from "
    "one.",
    "the owner of the group, or the administrator of the recipient's organisation.",
    "if you belong to the organisation, send the message from your account there; otherwise ask the owner of the "
    "group.",
)
_INSIDERS_ONLY = Advice(
    "The recipient takes mail only from people of its own organisation, and nothing proves that this message comes "
    "from one.",
    "the recipient, or the administrator of the recipient's organisation.",
    "if you belong to the organisation, send the message from your account there; otherwise reach the recipient by "
    "other means.",
)
_NO_FORWARDING = Advice(
    "The recipient has the message sent on to an address outside, and the organisation does not allow that.",
    "the recipient, or the administrator of the recipient's organisation.",
    "tell the recipient by other means that this forwarding does not work.",
)
_MANY = Advice(
    "The message is for more recipients than one message may have.",
    "you.",
    "send it to fewer people at a time.",
)
_BLOCKED = Advice(
    "The recipient's organisation takes no mail from the server that sent this message, because its address is on a "
    "list.",
    "the administrator of the recipient's organisation.",
    "forward this report to your administrator, who can ask the recipient's to take the address off the list.",
)

_BY_DETAIL = {
    "1.1": _UNKNOWN, "1.3": _UNKNOWN, "1.6": _UNKNOWN, "1.10": _UNKNOWN, "4.1": _UNKNOWN,
    "1.2": _NO_DOMAIN, "4.4": _NO_DOMAIN,
    "2.3": _LARGE, "3.4": _LARGE, "3.5": _OURS,
    "4.300": _EXPIRED, "4.7": _EXPIRED, "4.6": _CIRCLE, "4.14": _LOOP, "5.3": _MANY,
    "7.4": _TLS, "7.5": _TLS, "7.10": _TLS, "7.30": _TLS,
    "7.509": _AUTHOR_UNPROVEN, "7.23": _AUTHOR_UNPROVEN, "7.26": _AUTHOR_UNPROVEN,
    "7.512": _AUTHOR_UNCLEAR, "1.20": _AUTHOR_UNCLEAR, "7.68": _DIRECT_SEND, "7.64": _NO_RELAY,
    "7.124": _NOT_LISTED, "7.133": _MEMBERS_ONLY,
    "7.12": _INSIDERS_ONLY, "7.13": _INSIDERS_ONLY, "7.134": _INSIDERS_ONLY, "7.135": _INSIDERS_ONLY,
    "7.136": _INSIDERS_ONLY, "7.520": _NO_FORWARDING, "7.511": _BLOCKED, "7.513": _BLOCKED,
    "7.321": _TLS, "7.322": _TLS, "7.323": _TLS, "7.324": _TLS, "7.325": _TLS,
}  # fmt: skip
_BY_SUBJECT = {"1": _UNKNOWN, "2": _FULL, "4": _UNREACHABLE, "6": _CONTENT, "7": _POLICY}


def advice(enhanced: str) -> Advice:
    """The advice for an enhanced status code ("5.1.1"); "" or an unusual code gets the general one."""
    _, _, detail = enhanced.partition(".")
    return _BY_DETAIL.get(detail) or _BY_SUBJECT.get(detail.partition(".")[0], _OTHER)
