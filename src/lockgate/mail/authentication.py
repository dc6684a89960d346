"""What was found out about the sender, as facts: the results of SPF, DKIM, DMARC and ARC. They decide nothing."""

from __future__ import annotations

import enum

import msgspec


class SpfVerdict(enum.StrEnum):
    """The results of RFC 7208 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Spf(msgspec.Struct, frozen=True, tag="spf"):
    """What SPF says of one identity.

    `domain` is the domain that was checked, `matched` the term that decided ("-all", "ip4:192.0.2.0/24", "" if none
    did), `explanation` what the domain wants its victims told (only with FAIL), `problem` what is wrong with the
    record or its DNS (only with the two errors), `look_ups` how many terms asked DNS.
    """

    verdict: SpfVerdict
    domain: str
    matched: str = ""
    explanation: str = ""
    problem: str = ""
    look_ups: int = 0


class DkimVerdict(enum.StrEnum):
    """The results of RFC 8601 2.7.1. `POLICY`: signed by means that prove nothing (SHA-1, short keys; RFC 8301)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Dkim(msgspec.Struct, frozen=True, tag="dkim"):
    """What became of one signature.

    `problem` says why it does not count ("" if it does). `partial` tells that l= leaves part of the body unsigned: such
    a signature proves nothing about what a reader sees and is never aligned. `testing` is the key's own flag.
    `from_signed` is how often From is among the signed names (2 and more: none can be added unseen).
    """

    verdict: DkimVerdict
    domain: str
    selector: str
    identity: str = ""
    algorithm: str = ""
    bits: int = 0
    problem: str = ""
    partial: bool = False
    testing: bool = False
    from_signed: int = 0


class ArcVerdict(enum.StrEnum):
    """The state of a chain (RFC 8617 4.4); TEMPERROR where a key could not be asked for."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"


class Arc(msgspec.Struct, frozen=True, tag="arc"):
    """What became of the chain. A passing chain means something only if its sealers are trusted.

    `sets` counts its instances, `sealer` is the d= of the last seal and `signer` that of the last message signature;
    `sealers` are the d= of all seals, the first one first. `oldest` is the oldest instance whose signature still holds
    (0: all do). `results` is what the last sealer says it found, as one line.
    """

    verdict: ArcVerdict
    sets: int = 0
    sealer: str = ""
    signer: str = ""
    sealers: tuple[str, ...] = ()
    oldest: int = 0
    results: str = ""
    problem: str = ""


class DmarcVerdict(enum.StrEnum):
    """The results of specification 1.19.3. BEST_GUESS_PASS: no record, but it would have passed."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    BEST_GUESS_PASS = "bestguesspass"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Dmarc(msgspec.Struct, frozen=True, tag="dmarc"):
    """What DMARC says of the author.

    `domain` is that of From ("" where nobody can say: none, several, malformed), `organisational` its organisational
    domain, `found_at` whose record counts ("" for none). `wish` is what that record wants for this domain when the
    check fails, `test` that it is only on trial (then one step less is done). `aligned_by` names what proved the
    author: "spf", "dkim=d.test", in that order. `reports` are the addresses that want aggregate reports. `published` is
    what the record says otherwise, for those reports (mail/dmarc.py, `published`).
    """

    verdict: DmarcVerdict
    domain: str
    organisational: str = ""
    found_at: str = ""
    wish: str = "none"
    test: bool = False
    aligned_by: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    problem: str = ""
    published: str = ""


class Authenticated(msgspec.Struct, frozen=True, tag="authenticated"):
    """All that was found out about the sender of one message.

    Trouble with DNS is inside it, as the result `temperror` of what it concerns; it is never a pass.
    """

    spf: Spf
    dkim: tuple[Dkim, ...]
    dmarc: Dmarc
    arc: Arc
