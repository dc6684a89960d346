"""What is decided: a disposition for each recipient, and the steps that led there."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.facts import Point
from lockgate.mail.findings import Forwarding, Question, WhoSent
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply


class Hit(enum.StrEnum):
    """Three truth values (DESIGN: unknown is the third); negation keeps unknown."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Severity(enum.StrEnum):
    """How grave a hit of a mail flow rule is (specification 1.15.9: SetAuditSeverity); the rule says so, or nothing.

    DO_NOT_AUDIT leaves the hit out of statistics about rules.
    """

    NOT_SAID = ""
    DO_NOT_AUDIT = "do_not_audit"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class RuleHit(msgspec.Struct, frozen=True, array_like=True):
    """Which mail flow rule a step is about: its name, its mode (enforce, audit, audit_and_notify), how grave a hit of
    it is, and its actions by the keys that documents have for them, whether or not its mode carries them out.
    """

    rule: str
    mode: str = "enforce"
    severity: Severity = Severity.NOT_SAID
    actions: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sentence of the explanation: what was looked at, whether it hit, why, and what followed.

    `subject` names the thing looked at ("IP block list", "connector HQ", "rule City"), `because` says why as
    the rest of a sentence, `effect` what it changed ("" for nothing), `recipient` whom it concerns ("" for all).
    `rule` tells the same of a mail flow rule that applies, or may apply (records of older versions do not have it).
    """

    stage: str
    subject: str
    hit: Hit
    because: str
    effect: str = ""
    recipient: str = ""
    rule: RuleHit | None = None


class TlsLevel(enum.StrEnum):
    """The levels of specification 1.2.1, weakest first."""

    OPPORTUNISTIC = "opportunistic"
    ENCRYPTION_ONLY = "encryption_only"
    CERTIFICATE_VALIDATION = "certificate_validation"
    DOMAIN_VALIDATION = "domain_validation"


class Direction(enum.StrEnum):
    """Whose mail it is (specification 2.2 step B)."""

    INCOMING = "incoming"
    ORIGINATING = "originating"


class Via(enum.StrEnum):
    """By which kind of door a copy leaves."""

    CONNECTOR = "connector"
    MX = "mx"
    MAILBOX = "mailbox"


class TlsWish(enum.StrEnum):
    """What the message itself says about TLS: nothing, the REQUIRETLS option, or "TLS-Required: No" (RFC 8689)."""

    NONE = ""
    REQUIRED = "requiretls"
    NOT_REQUIRED = "tls-not-required"


class Route(msgspec.Struct, frozen=True):
    """By which door a copy leaves (specification 2.4). Settings of the connector are looked up at each attempt.

    `domain` is the recipient domain whose MX is asked (also for a connector that uses MX), "" when smart hosts
    decide. `tls` is the least level demanded. `waits` is not empty when nothing may be dialled now (a disabled
    or deleted connector that a rule names): the mail waits, never another way. `wish` is what the message itself says
    about TLS; such mail has lanes of its own, so that what one server cannot promise keeps no other mail waiting.
    `store` names the organisation's
    mailbox store (Via.MAILBOX), "" where the operator's file says where hosted mailboxes lie.
    """

    via: Via
    organisation: str
    connector: str = ""
    domain: str = ""
    tls: TlsLevel = TlsLevel.OPPORTUNISTIC
    waits: str = ""
    store: str = ""
    wish: TlsWish = TlsWish.NONE

    @property
    def demanded(self) -> str:
        """The level, and what the message itself says about TLS, in words of documents and RFCs."""
        if self.wish is TlsWish.NONE:
            return str(self.tls)
        said = self.tls is TlsLevel.OPPORTUNISTIC or (
            self.tls is TlsLevel.ENCRYPTION_ONLY and self.wish is TlsWish.REQUIRED
        )
        return str(self.wish) if said else f"{self.tls} and {self.wish}"

    @property
    def lane(self) -> str:
        """The name of the next hop's queue, unique per organisation, connector or store, domain and TLS demand."""
        if self.via is Via.MAILBOX:
            return f"{self.organisation}/mailbox:{self.store}" if self.store else f"{self.organisation}/mailboxes"
        tail = f"{self.connector}/{self.domain}" if self.connector else f"mx:{self.domain}"
        demand = "" if self.tls == TlsLevel.OPPORTUNISTIC else f"#{self.tls}"
        if self.wish:
            demand += f"#{self.wish}"
        return f"{self.organisation}/{tail.rstrip('/')}{demand}"


class Deliver(msgspec.Struct, frozen=True, tag="deliver"):
    """Carry it to `target` (the address after resolving) by this route.

    `rewrite` is the domain under which the envelope sender is rewritten (mail/srs.py), because the copy is sent on by
    us for somebody; "": the sender stays as it is.
    """

    route: Route
    target: Address
    rewrite: str = ""


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Accept and keep it; `why` is shown to the administrator.

    `pending`: no person has to decide; it waits for answers that did not come in time, and is judged again by itself.
    """

    why: str
    pending: bool = False


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """Say no for good."""

    reply: Reply


class Defer(msgspec.Struct, frozen=True, tag="defer"):
    """Not now; judged again later."""

    reply: Reply


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """Accept and throw away, because the owner said so."""

    why: str


class Resolved(msgspec.Struct, frozen=True, tag="resolved"):
    """No copy of its own, because others have it: the members of a group (`expanded`), whom it is forwarded to, or
    the same mailbox by another address. `why` says which.
    """

    why: str
    expanded: bool = False


Disposition = Deliver | Hold | Refuse | Defer | Drop | Resolved


class Candidate(msgspec.Struct, frozen=True):
    """An own-server (OnPremises) inbound connector that the connection matches; found at MAIL (2.2 step A).

    `by_certificate` tells that the certificate alone makes mail of any sender the organisation's (A1); without it the
    sender domain must be its own (A2). `null_sender` tells whether mail of the null sender may be relayed over it.
    """

    organisation: str
    connector: str
    by_certificate: bool
    certificate_name: str = ""
    null_sender: bool = True


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the stages concluded of one recipient so far; what a condition may look at besides the facts.

    `who_attributes` are the directory attributes of the recipient; `unlisted` tells that edge blocking would refuse
    it, were it enforced; `allowed_by_ip` tells that the
    organisation's IP allow list names the peer (lifts the content verdict only). Rights of the session, judged anew for
    every transaction: `internal` (its mail counts as that of the organisation's own people), `promotes` (the internal
    header fields of its server are believed), `bypass` (no content verdict). `source` is the address of the true source
    behind a gateway ("": the peer; see `WhoSent`), `computed` the same also where the recipient is out of scope, and
    `source_helo` its name there. `network_id` is the network message id that the other side of a hybrid gave it.
    `blocked_connector` is the own-server connector that the session came by and that is blocked: it identifies the
    session and gives no right.
    """

    organisation: str = ""
    direction: Direction = Direction.INCOMING
    inbound_connector: str = ""
    partner_connector: str = ""
    accepted_domain: str = ""
    own_domain: bool = False
    relay: bool = False
    allowed_by_ip: bool = False
    kind: str = ""
    who_attributes: dict[str, str] = {}
    unlisted: bool = False
    internal: bool = False
    promotes: bool = False
    bypass: bool = False
    source: str = ""
    source_helo: str = ""
    computed: str = ""
    network_id: str = ""
    blocked_connector: str = ""

    @property
    def who_sent(self) -> WhoSent:
        """The question who sent the message, as it is asked for this recipient."""
        return WhoSent(self.organisation, self.source, self.source_helo if self.source else "")


MOST_ADDED = 100
"""Recipients that all rules of an organisation together add to one message; further ones are left out (1.15.11).

To whom they redirect it is not counted: that has a bound of its own, and the copy must not stay where it was.
"""


class Added(msgspec.Struct, frozen=True, array_like=True):
    """A recipient that a rule adds, or to whom it redirects the copy instead."""

    address: Address
    rule: str
    redirect: bool = False


class ReportWanted(msgspec.Struct, frozen=True, array_like=True):
    """An incident report that a rule asks for: to which address, and what it is to tell (the names of documents)."""

    rule: str
    to: str
    content: tuple[str, ...] = ()


class Effects(msgspec.Struct, frozen=True, omit_defaults=True):
    """What mail flow rules asked for, to be carried out by the stages behind them.

    `connector` is the way out that `rule` named; `require_tls` that it must be encrypted. `end` is what becomes of the
    copy if a rule ended its way (rejected, held, deleted): then no later rule is looked at. `edits` are changes of the
    header, which later rules see. `added` are further recipients. `ruled` tells that the rules have been applied before
    this recipient was derived by one, so that none is looked at for it. `scl` is the spam confidence level that a rule
    set (-1: no spam filtering, 0 to 9; None: no rule did), `classification` the name that a rule put on the copy.
    `reports` are the incident reports asked for, `notes` the rules that want the recipient to get their notification.
    """

    connector: str = ""
    rule: str = ""
    require_tls: bool = False
    end: Hold | Refuse | Drop | None = None
    edits: tuple[HeaderEdit, ...] = ()
    added: tuple[Added, ...] = ()
    ruled: bool = False
    scl: int | None = None
    classification: str = ""
    reports: tuple[ReportWanted, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def redirects(self) -> tuple[Added, ...]:
        """Of `added` those who get the copy instead of the recipient."""
        return tuple([one for one in self.added if one.redirect])


class Verdict(msgspec.Struct, frozen=True):
    """What is decided for one recipient so far; `disposition` is None while undecided.

    `identity` is the recipient's primary address, which rules and people see (None: as it was given); `target` is the
    address it will be carried to; `stage` counts the recipient stages already judged. `mailbox` tells that the target
    is a mailbox of the directory, and not an address somewhere else; `group` that it is a group of the directory, whose
    members are meant; `forwarding` where the mailbox sends its mail on.
    """

    recipient: RecipientId
    target: Address
    standing: Standing = Standing()
    effects: Effects = Effects()
    disposition: Disposition | None = None
    steps: tuple[Step, ...] = ()
    stage: int = 0
    identity: Address | None = None
    mailbox: bool = False
    group: bool = False
    forwarding: Forwarding | None = None


class Ruling(msgspec.Struct, frozen=True):
    """The answer of the judge up to `point`.

    `refusal` is a reply to everything (connect, MAIL, or DATA as a whole); then no recipient fares better.
    `recipients` follows the order of the facts; behind them, from DATA on, come those derived from them, in
    the order in which they were derived. `digest` and `revision` name the policy; `steps` concern all.
    `stage` counts the message-wide stages already judged and `settled` how many recipients, from the first on and with
    the derived ones, have been judged up to `point` (the fold goes on there).
    """

    point: Point
    refusal: Reply | None = None
    candidates: tuple[Candidate, ...] = ()
    recipients: tuple[Verdict, ...] = ()
    steps: tuple[Step, ...] = ()
    digest: str = ""
    revision: int = 0
    stage: int = 0
    settled: int = 0


class Wants(msgspec.Struct, frozen=True):
    """The judge cannot go on without these answers; `so_far` is the state of the fold, to be handed back."""

    questions: tuple[Question, ...]
    so_far: Ruling
