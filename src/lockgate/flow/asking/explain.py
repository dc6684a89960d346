"""What can be asked about why: a message explained, a supposed message judged, recorded mail judged by a draft."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask
from lockgate.mail.findings import Found, InText, Unknown, WhatParts
from lockgate.mail.structure import Structure


class Explain(Ask, frozen=True, tag="explain"):
    """Judge what is recorded of a message (or, by the id of a connection, of refusals) again, with every step.

    Only what concerns `organisation` and `recipient`, where they are given.
    """

    id: str
    organisation: str = ""
    recipient: str = ""


class WhatIf(Ask, frozen=True, tag="what_if"):
    """Judge a supposed message; nothing is kept and nothing is sent.

    `sender` None: not said (judging ends at connect), "" or "<>": the null sender. Without recipients judging ends at
    MAIL. `like` takes the recorded facts of a message, and what else is given here replaces parts of them. `tls` is
    "1.3", "1.2", "1.1", "1.0" or "none"; `certificate` is a host name, several with commas between, or a PEM text. Of a
    named one may be supposed what is wrong with it (`untrusted`: it is self-signed; `certificate_trouble`: see
    flow/supposing.py), which CA files vouch for it (`certificate_trusted_by`; "public" for the operator's bundle; none
    given: all) and its key (`certificate_key`, SHA-256 of the SPKI as hex). `head` is the beginning of the message
    (CRLF line ends; HEAD octets of mail/headers.py are enough), and the header ends where it does; `size` is the size
    of the message in octets, `declared_size` the SIZE of MAIL (0: not said). `documents` is a draft policy ({file name:
    TOML text}), `revision` an earlier one (0: the one in force). `at` is a time; `suppose` holds texts like "directory
    = unknown". `contents` are answers of whoever has the whole message to what rules ask of it; a supposition wins over
    them. `texts` are the texts of the message for rules that look for the words of lists in them (None: not known), not
    all of them if `cut`.
    """

    sender: str | None = None
    recipients: tuple[str, ...] = ()
    ip: str = ""
    helo: str = ""
    login: str = ""
    tls: str = ""
    certificate: str = ""
    untrusted: bool = False
    certificate_trouble: str = ""
    certificate_trusted_by: tuple[str, ...] = ()
    certificate_key: str = ""
    require_tls: bool = False
    size: int = 0
    declared_size: int = 0
    head: bytes = b""
    at: str = ""
    documents: dict[str, str] | None = None
    revision: int = 0
    organisation: str = ""
    suppose: tuple[str, ...] = ()
    like: str = ""
    contents: tuple[tuple[WhatParts | InText, Structure | Found | Unknown], ...] = ()
    texts: tuple[str, ...] | None = None
    cut: bool = False


class Replay(Ask, frozen=True, tag="replay"):
    """Judge recorded mail by a draft policy (or an earlier revision): what would change.

    `since` is "1d", a date or a time; at most `limit` messages, the newest first. The answer comes when it is over;
    with `wait` after so many seconds at the latest, and then has `job`, by which to ask on, and how far it is.
    """

    documents: dict[str, str] | None = None
    revision: int = 0
    since: str = "1d"
    limit: int = 1_000_000
    organisation: str = ""
    wait: float | None = None


class ReplayProgress(Ask, frozen=True, tag="replay_progress"):
    """How a replay stands that was begun; the same answer as that of Replay, after `wait` seconds at the latest."""

    job: str
    wait: float = 1.0
