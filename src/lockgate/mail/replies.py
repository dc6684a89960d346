"""The catalogue of replies: every sentence we say to a peer, each with the place that asks for it.

Texts that Exchange's documentation fixes are kept to the letter, because administrators and call-ahead tools
search for them (specification 1.20).
"""

from __future__ import annotations

import re

from lockgate.mail.reply import Reply

# --- the conversation (RFC 5321 4.2.2, 4.3.2; enhanced codes RFC 3463, RFC 2034) ---------------------------------

SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
OK = Reply(250, "2.0.0", "OK")
RESET = Reply(250, "2.0.0", "Transaction forgotten")
SEND_DATA = Reply(354, "", "Go ahead, end with <CRLF>.<CRLF>")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
GOODBYE = Reply(221, "2.0.0", "Goodbye")
CANNOT_VERIFY = Reply(252, "2.5.2", "Send some mail, it will be judged then")
HELP = Reply(214, "2.0.0", "RFC 5321: EHLO HELO STARTTLS MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT")

SHUTTING_DOWN = Reply(421, "4.3.2", "This server is closing for a moment, please try again")
TIMED_OUT = Reply(421, "4.4.2", "You were silent for too long")
TOO_SLOW = Reply(421, "4.4.2", "Your data arrives too slowly")
TOO_LONG = Reply(421, "4.4.2", "Your message takes longer to arrive than is waited for")
UNCLEAN_END = Reply(421, "4.7.0", "The data did not end in <CRLF>.<CRLF>, so only one message is taken on a connection")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many mistakes on this connection")
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections from your network, please try again later")
TOO_BUSY = Reply(421, "4.3.2", "Too many connections at this moment, please try again later")

UNFORESEEN = Reply(451, "4.3.0", "Something unforeseen happened here, nothing is lost, please try again later")
STORAGE_UNAVAILABLE = Reply(452, "4.3.1", "Mail cannot be stored safely at this moment, please try again later")
DIRECTORY_UNAVAILABLE = Reply(451, "4.3.0", "Recipients cannot be looked up at this moment, please try again later")
RECIPIENT_UNVERIFIED = Reply(451, "4.4.1", "The recipient cannot be verified at this moment, please try again later")
NOT_FOUND_OUT = Reply(451, "4.3.0", "What decides about this message cannot be found out now, please try again later")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, send the others in another transaction")

COMMAND_LINE_ENDS = Reply(500, "5.5.2", "Commands end in CRLF and hold no bare CR, bare LF or NUL")
UNKNOWN_COMMAND = Reply(500, "5.5.2", "Unknown command")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
BAD_SYNTAX = Reply(501, "5.5.4", "Syntax error in parameters")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = Reply(503, "5.5.1", "Bad sequence of commands")
HELLO_FIRST = Reply(503, "5.5.1", "Say EHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL is needed first")
MAIL_TWICE = Reply(503, "5.5.1", "A transaction is open already")
NO_RECIPIENTS = Reply(503, "5.5.1", "No valid recipients")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is active already")
TLS_NOT_NOW = Reply(454, "4.7.0", "TLS is not available at this moment")
BAD_PARAMETER = Reply(555, "5.5.4", "Parameter not recognised or not allowed here")
PIPELINED_AFTER_STARTTLS = Reply(554, "5.5.1", "Nothing may follow STARTTLS before the handshake")
EARLY_TALKER = Reply(554, "5.5.1", "You spoke before the greeting")
NOT_SMTP = Reply(554, "5.5.1", "This is an SMTP server")
BARE_LINE_ENDS = Reply(550, "5.6.11", "Bare CR or LF, or NUL, in the message; lines must end in CRLF (RFC 5321 2.3.8)")
TEXT_LINE_TOO_LONG = Reply(554, "5.6.0", "A line of the message is longer than is accepted here (RFC 5321 4.5.3.1.6)")
CHUNK_TAKEN = Reply(250, "2.0.0", "Chunk taken")


def greeting(hostname: str) -> Reply:
    """The first line (RFC 5321 4.2)."""
    return Reply(220, "", f"{hostname} ESMTP Lockgate")


def hello(hostname: str) -> Reply:
    """The answer to HELO (RFC 5321 4.1.1.1)."""
    return Reply(250, "", hostname)


def extended_hello(hostname: str, keywords: tuple[str, ...]) -> bytes:
    """The answer to EHLO as it is sent: our name, then one line per extension (RFC 5321 4.1.1.1)."""
    lines = [hostname, *keywords]
    return "".join([f"250{'-' if line is not lines[-1] else ' '}{line}\r\n" for line in lines]).encode("ascii")


def syntax(why: str) -> Reply:
    """A command whose parameters cannot be read, with the reason (RFC 5321 4.2.4: 501)."""
    return Reply(501, "5.5.4", clean(why))


def bad_sender(why: str) -> Reply:
    """A reverse path that is no address (RFC 3463: X.1.7)."""
    return Reply(501, "5.1.7", clean(why))


def bad_recipient(why: str) -> Reply:
    """A forward path that is no address (RFC 3463: X.1.3)."""
    return Reply(501, "5.1.3", clean(why))


def queued(network_id: str) -> Reply:
    """Responsibility is ours now (RFC 5321 4.2.5)."""
    return Reply(250, "2.0.0", f"Queued as {network_id}")


# --- decisions at the edge (specification 1.7, 1.8, 1.20, 2.2-2.5) -------------------------------------------------

EDGE_BLOCKED = Reply(550, "5.4.1", "Recipient address rejected: Access denied")
NO_WAY_BACK = Reply(550, "5.1.1", "This address of forwarded mail leads nowhere: it is too old, or none of ours")
REPORTS_ONLY = Reply(550, "5.1.1", "This address of forwarded mail takes reports only, which have no sender")
RELAY_DENIED = Reply(550, "5.4.1", "Relay Access Denied")
ATTRIBUTION_DENIED = Reply(550, "5.7.64", "TenantAttribution; Relay Access Denied")
PARTNER_RESTRICTED = Reply(
    550,
    "5.7.51",
    "TenantInboundAttribution; There is a partner connector configured that matched the message's recipient domain. "
    "The connector had either the RestrictDomainsToIPAddresses or RestrictDomainsToCertificate set",
)
BLOCKING_UNKNOWN = Reply(
    451, "4.3.0", "Whether this connector is blocked cannot be looked up at this moment, please try again later"
)
DIRECT_SEND_REFUSED = Reply(
    550,
    "5.7.68",
    "TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources",
)
AUTHOR_UNPROVEN = Reply(
    550, "5.7.509", "Access denied, sending domain does not pass DMARC verification and has a DMARC policy of reject"
)
AUTHOR_UNCLEAR = Reply(
    550, "5.7.512", "Access denied, message must be RFC 5322 section 3.6.2 compliant and include a valid From address"
)
HOP_COUNT_EXCEEDED = Reply(554, "5.4.14", "Hop count exceeded - possible mail loop ATTR34")
LIVES_ELSEWHERE = Reply(
    451, "4.4.6", "Each of the two sides has it that this mailbox is on the other side; their directories differ"
)
RECIPIENT_LOOP = Reply(554, "5.4.6", "The recipient's target addresses lead in a circle")
NOT_FOUND = Reply(550, "5.1.10", "Recipient not found")
NOT_ALLOWED_SENDER = Reply(550, "5.7.124", "Sender not in allowed-senders list")
NOT_AUTHENTICATED_FOR_GROUP = Reply(550, "5.7.133", "Sender not authenticated for group")
NOT_AUTHENTICATED_FOR_MAILBOX = Reply(550, "5.7.134", "Sender not authenticated for mailbox")
NOT_AUTHENTICATED_FOR_MAIL_USER = Reply(550, "5.7.136", "Sender not authenticated for mail user")
GROUP_EMPTY = Reply(550, "5.1.10", "The group has no members")
GROUP_TOO_LARGE = Reply(550, "5.5.3", "The groups of this message have more members than one message may go to")
MESSAGE_TOO_LARGE = Reply(552, "5.3.4", "The message is larger than is accepted here")
HEADER_TOO_LARGE = Reply(552, "5.3.4", "The header is larger than 256 KB")
TOO_MANY_FIELDS = Reply(552, "5.3.4", "The header has more than 1,000 fields")
DOMAIN_CLOSED = Reply(550, "5.7.1", "Mail to this domain is switched off by its administrator")
SENDING_CLOSED = Reply(550, "5.7.1", "Mail from this domain is switched off by its administrator")
HELD_REFUSED = Reply(550, "5.7.1", "Delivery not authorized, message refused")


def attribution_denied(why: str) -> Reply:
    """Nobody authorises this to be sent on (specification 2.2 C), with the reason."""
    return Reply(550, "5.7.64", clean(f"{ATTRIBUTION_DENIED.text} ({why})"))


def connector_blocked(connector: str, block: str, *, suspected: bool) -> Reply:
    """Relay over a blocked connector (specification 1.3; Exchange's code and first words, the reason and id are ours).

    Why in particular is for the administrator only: who has taken over the server reads this as well.
    """
    why = "it is suspected of being compromised" if suspected else "an administrator has blocked it"
    return Reply(550, "5.7.711", clean(f"Access denied, bad inbound connector: {connector}, {why} (block {block})"))


def tls_required(connector: str) -> Reply:
    """A partner owes TLS and has not paid (specification 2.3 rule 7: our wording)."""
    return Reply(550, "5.7.1", clean(f"The connector {connector} requires TLS for mail of this sender; use STARTTLS"))


def partner_restricted(why: str) -> Reply:
    """A partner's restriction is broken (specification 2.3 rule 7), with the condition that failed."""
    return Reply(550, "5.7.51", clean(f"{PARTNER_RESTRICTED.text} ({why})"))


def blocked_by_operator(peer: str) -> Reply:
    """The operator's own block list, said at connect (specification 1.8, amendments)."""
    said = f"Service unavailable, Client host [{peer}] blocked by this server's block list"
    return Reply(550, "5.7.513", clean(said))


def blocked_by_customer(peer: str, domain: str) -> Reply:
    """An organisation's block list, said at RCPT (specification 1.8 item 3)."""
    return Reply(
        550,
        "5.7.513",
        clean(f"Service unavailable, Client host [{peer}] blocked by {domain} using Customer Block list"),
    )


# --- carrying onward (specification 1.20, 1.21; RFC 3463, RFC 7505, RFC 7672) --------------------------------------

NULL_MX = Reply(556, "5.1.10", "The recipient's domain accepts no mail (null MX)")
NO_SUCH_DOMAIN = Reply(550, "5.1.2", "The recipient's domain does not exist")
NO_MAIL_HOST = Reply(550, "5.4.4", "The recipient's domain has neither mail exchanger nor address")
BODY_UNREADABLE = Reply(451, "4.3.0", "The stored message cannot be read at this moment")
NOT_READY = Reply(451, "4.3.0", "The message cannot be made ready to leave at this moment")
LOOPS_BACK = Reply(554, "5.4.14", "Hop count exceeded - possible mail loop: the next hop is this server itself")
NOT_REACHABLE_BY_RULE = Reply(451, "4.4.1", "No address of the next hop may be dialled by the operator's settings")
CONNECTION_LOST = Reply(451, "4.4.2", "The connection to the next hop broke before its final answer")
NEEDS_EIGHT_BIT = Reply(554, "5.6.3", "The next hop takes no 8-bit mail and this message cannot be converted safely")
NEEDS_UTF8 = Reply(553, "5.6.7", "The next hop takes no internationalised mail and this message needs it")
NEEDS_REQUIRETLS = Reply(554, "5.7.30", "REQUIRETLS support is needed and the next hop does not offer it")
UNSAFE_CONTENT = Reply(554, "5.6.0", "The message has bare CR, bare LF or NUL and is not passed on")
TOO_LARGE_FOR_NEXT_HOP = Reply(552, "5.3.4", "The message is larger than the next hop accepts")
LOGIN_IMPOSSIBLE = Reply(454, "4.7.0", "The next hop offers no login that these credentials fit")
EXPIRED = Reply(550, "5.4.300", "Message expired")
SECRET_MISSING = Reply(454, "4.7.0", "The secret for the login at the next hop cannot be read")


MAILBOX_HAS_IT = Reply(250, "2.0.0", "Delivered to the mailbox")
MAILBOX_HAD_IT = Reply(250, "2.0.0", "Delivered to the mailbox, by an earlier attempt")
MAILBOX_FULL = Reply(452, "4.2.2", "The mailbox has no room at this moment")
MAILBOXES_FULL = Reply(452, "4.3.1", "There is no room for mailboxes at this moment")


def mailbox_unwritable(why: str) -> Reply:
    """A mailbox that cannot be written now; an administrator can mend it, so the mail waits (RFC 3463: X.2.0)."""
    return Reply(451, "4.2.0", clean(f"The mailbox cannot be written: {why}"))


def mailboxes_unwritable(why: str) -> Reply:
    """None of the mailboxes can be written now (RFC 3463: X.3.0)."""
    return Reply(451, "4.3.0", clean(f"Mailboxes cannot be written: {why}"))


def unreachable(why: str) -> Reply:
    """No connection to any server of the next hop (specification 1.20: 4.4.316)."""
    return Reply(451, "4.4.316", clean(why))


DNS_FORGED = "4.7.324"
"""Specification 1.20: DNSSEC invalid."""


def dns_failed(why: str, *, forged: bool = False) -> Reply:
    """DNS gave no usable answer about the next hop, or one that DNSSEC proves wrong (`forged`); the mail waits."""
    text = clean(f"The next hop could not be looked up in DNS: {why}")
    return Reply(454, DNS_FORGED, text) if forged else Reply(451, "4.4.3", text)


def waits(why: str) -> Reply:
    """Nothing may be dialled now; the mail waits for an administrator (specification 2.4)."""
    return Reply(451, "4.3.5", clean(why))


def tls_missing(host: str, demand: str) -> Reply:
    """TLS is demanded and the next hop offers no STARTTLS (specification 1.20: 4.7.321)."""
    return Reply(454, "4.7.321", clean(f"TLS is required ({demand}) and {host} offers no STARTTLS"))


def tls_untrusted(host: str, code: str, demand: str, why: str) -> Reply:
    """What the next hop showed does not meet the demand (specification 1.20: 4.7.322, 4.7.323, 4.7.325, else 4.7.5)."""
    return Reply(454, code, clean(f"TLS with {host} does not meet the demand ({demand}): {why}"))


def dane_failed(code: str, why: str) -> Reply:
    """DNS does not prove the server (RFC 7672): 4.7.323 its TLSA records, 4.7.324 DNSSEC (specification 1.20)."""
    return Reply(454, code, clean(why))


def sts_uncovered(host: str, why: str) -> Reply:
    """The server is none of those that the domain's MTA-STS policy names (RFC 8461 4.1; 4.7.325: name mismatch)."""
    return Reply(454, "4.7.325", clean(f"{host} may get no mail: {why}"))


def tls_failed(host: str, why: str) -> Reply:
    """The handshake itself failed."""
    return Reply(454, "4.7.5", clean(f"The TLS handshake with {host} failed: {why}"))


def login_refused(host: str, said: str) -> Reply:
    """The next hop does not take our login; an administrator can mend it, so the mail waits."""
    return Reply(454, "4.7.0", clean(f"{host} refused the login: {said}"))


# --- replies of others ---------------------------------------------------------------------------------------------

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_LIMIT = 500


def clean(text: str) -> str:
    """One printable line of at most 500 characters out of anything; what is not printable becomes `?`."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else "?" for c in line)
    return line[:_LIMIT]


def repeated(words: str) -> Reply:
    """A reply that was written down as text, or any other reason for which mail waits, as a temporary reply."""
    code, _, text = words.partition(" ")
    return parse_reply(int(code), [text]) if re.fullmatch("4[0-9][0-9]", code) else waits(words)


def parse_reply(code: int, lines: list[str]) -> Reply:
    """A remote server's reply, which is hostile input, as a Reply (RFC 5321 4.2.1, RFC 2034 4).

    The enhanced code is taken if its class agrees with the code, else X.0.0 is put in its place. Codes outside
    200-599 become 451: what cannot be understood is temporary.
    """
    if not 200 <= code <= 599:
        return Reply(451, "4.5.0", clean(f"The next hop gave no SMTP reply: {code} {' '.join(lines)}"))
    enhanced = ""
    said: list[str] = []
    for line in lines:
        match = _ENHANCED.match(line)
        if match and match[1].startswith(f"{code // 100}."):
            enhanced = enhanced or match[1]
            line = line[match.end() :]
        said.append(line)
    if not enhanced and code // 100 != 3:
        enhanced = f"{code // 100}.0.0"
    return Reply(code, enhanced, clean(" ".join(said)))


RULES_LOOP = Reply(550, "5.7.128", "Transport rules loop: the message was redirected by rules before")


def rejected_by_rule(enhanced: str, text: str) -> Reply:
    """A mail flow rule refuses, with the administrator's code and words (specification 1.15.9)."""
    return Reply(550, enhanced, text)
