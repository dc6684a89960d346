"""Mail flow rules against a naive interpreter of the same documents: plain Python over the TOML.

The interpreter takes one recipient at a time, is written after specification 1.15.1 to 1.15.5, 1.15.7, 1.15.9 and what
docs/rules.md says of groups, and knows nothing of how rules are compiled. `make test` compares some hundred generated
policies with three messages each, `make proof` LOCKGATE_RULE_CASES of them.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from decision.judging import settled
from decision.test_route import BASE, OWN_SERVER, connector
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.header_edits import fields_after
from lockgate.mail.headers import decode_words, message_of
from lockgate.mail.ruling import Drop, Hold, Refuse, Verdict
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of

CASES = int(os.environ.get("LOCKGATE_RULE_CASES", "300"))
MESSAGES = 3
NOW = 1_780_000_000.0

PEOPLE: dict[str, dict[str, str]] = {
    "ana@contoso.com": {"city": "New Orleans", "department": "Sales", "manager": "Dora@contoso.com"},
    "ben@contoso.com": {"city": "Seattle"},
    "carl@eu.contoso.com": {"department": "Field sales, east", "manager": "nobody"},
    "dora@contoso.com": {},
}
ALIASES = {"sales@contoso.com": "ana@contoso.com", "info@eu.contoso.com": "dora@contoso.com"}
STRANGERS = ("bob@fabrikam.test", "eve@eu.fabrikam.test", "x@notfabrikam.test")
SENDERS = ("ana@contoso.com", "ben@contoso.com", "X@Partner.test", "y@mail.partner.test", "z@notpartner.test")
DOMAINS = ("contoso.com", "eu.contoso.com", "fabrikam.test", "partner.test", "mail.partner.test", "com")
WORDS = ("stock", "stock price", "Re", "[A]", "7", "a.b", "price!", "yes", "new orleans", "sales", "straße", "*")
SUBJECTS = (
    "Stock price 7", "the stockroom", "=?utf-8?q?STOCK=20=20price?=", "Re: a.b", "axb", "", "price! yes",
    "[A] 77", "=?utf-8?b?U1RSQVNTRQ==?= stock", "*",
)  # fmt: skip
VALUES = ("yes", "no", "stock, price", "Sales 7")
FIELDS = ("X-A", "X-B", "Subject")
ENDS = ("reject_message", "quarantine", "delete_message")
CONNECTORS = ("one", "two")
NAMES = ("Secret", "for us", "Öffentlich")
HYBRID = OWN_SERVER + "cloud_services_mail_enabled = true\n"
OUT = "".join(connector(name, "is_transport_rule_scoped = true", host=f"{name}.test") for name in CONNECTORS)


# --- the naive interpreter ---------------------------------------------------------------------------------------


@dataclass
class Copy:
    """What one recipient's copy is while rules go over it; `everybody` are the recipients of the message, by their
    primary addresses and as they were sent."""

    recipient: str
    sent_to: str
    everybody: dict[str, list[str]]
    authors: list[str]
    envelope: str
    size: int
    header: dict[str, list[str]]
    connector: str = ""
    tls: bool = False
    end: str = ""
    scl: int | None = None
    name: str = ""
    set_scl: int | None = None
    set_name: str = ""
    added: list[tuple[str, bool]] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tells: list[tuple[str, str, str]] = field(default_factory=list)


def has_word(text: str, word: str) -> bool:
    """A whole word or phrase: whatever stands beside a letter or digit at its end is neither letter nor digit."""
    text, word = " ".join(text.casefold().split()), " ".join(word.casefold().split())
    at = text.find(word)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(word) : at + len(word) + 1]
        if not (word[0].isalnum() and before.isalnum()) and not (word[-1].isalnum() and after.isalnum()):
            return True
        at = text.find(word, at + 1)
    return False


def below(address: str, domains: list[str]) -> bool:
    mine = address.rpartition("@")[2].lower()
    return any(mine == domain or mine.endswith(f".{domain}") for domain in domains)


def senders_of(rule: dict[str, Any], copy: Copy) -> list[str]:
    return {
        "header": copy.authors, "envelope": [copy.envelope], "header_or_envelope": [*copy.authors, copy.envelope],
    }[rule.get("sender_address_location", "header")]  # fmt: skip


def marked(condition: str, value: Any, copy: Copy) -> bool:
    if condition == "scl_over":
        return copy.scl is not None and copy.scl >= value
    return copy.name == "" if condition == "has_no_classification" else copy.name.lower() == value.lower()


def hits(condition: str, value: Any, copy: Copy, rule: dict[str, Any]) -> bool:
    senders = senders_of(rule, copy)
    match condition:
        case "scl_over" | "has_classification" | "has_no_classification":
            return marked(condition, value, copy)
        case "sender_domain_is":
            return any(below(sender, value) for sender in senders)
        case "either":
            return any(group_hits(group, copy, rule) for group in value)
        case "from":
            return any(sender.lower() == address.lower() for sender in senders for address in value)
        case "subject_contains_words":
            return any(has_word(text, word) for text in copy.header["Subject"][:1] for word in value)
        case "header_contains_words":
            return any(has_word(text, word) for text in copy.header[value["header"]] for word in value["words"])
        case "message_size_over":
            return copy.size >= value
        case "sent_to_scope":
            return below(copy.recipient, ["contoso.com"]) == (value == "in_organization")
        case "recipient_ad_attribute_contains_words":
            mine = PEOPLE.get(copy.recipient, {})
            return any(has_word(mine.get(name, ""), word) for name, words in value.items() for word in words)
    return address_hits(condition, value, copy, rule.get("recipient_address_type", "resolved"))


def address_hits(condition: str, value: Any, copy: Copy, kind: str) -> bool:
    address = copy.sent_to if kind == "original" else copy.recipient
    match condition:
        case "recipient_domain_is":
            return below(address, value)
        case "sent_to":
            return address.lower() in [one.lower() for one in value]
        case "recipient_address_contains_words":
            return any(has_word(address, word) for word in value)
        case "any_of_recipient_address_contains_words":
            return any(has_word(one, word) for one in copy.everybody[kind] for word in value)
    raise AssertionError(condition)


CONDITIONS = (
    "recipient_domain_is", "sender_domain_is", "sent_to", "from", "subject_contains_words", "header_contains_words",
    "message_size_over", "sent_to_scope", "recipient_ad_attribute_contains_words", "recipient_address_contains_words",
    "any_of_recipient_address_contains_words", "either", "scl_over", "has_classification", "has_no_classification",
)  # fmt: skip


def group_hits(group: dict[str, Any], copy: Copy, rule: dict[str, Any]) -> bool:
    """Of a rule or a group: all its conditions, and none of its exceptions."""
    if not all(hits(name, group[name], copy, rule) for name in CONDITIONS if name in group):
        return False
    return not any(hits(n, group[f"except_if_{n}"], copy, rule) for n in CONDITIONS if f"except_if_{n}" in group)


def applies(rule: dict[str, Any], copy: Copy) -> bool:
    at = dt.datetime.fromtimestamp(NOW, dt.UTC)
    if not rule.get("enabled", True) or rule.get("activation_date", at) > at:
        return False
    if "expiry_date" in rule and rule["expiry_date"] <= at:
        return False
    return group_hits(rule, copy, rule)


def act(rule: dict[str, Any], copy: Copy) -> None:
    copy.end = next((f"{end} {rule['name']}" for end in ENDS if end in rule), "")
    copy.connector = rule.get("route_message_outbound_connector", copy.connector)
    copy.tls = copy.tls or "route_message_outbound_require_tls" in rule
    if "set_header" in rule:
        copy.header[rule["set_header"]["name"]] = [rule["set_header"]["value"]]
    if "remove_header" in rule:
        copy.header[rule["remove_header"]] = []
    if "prepend_subject" in rule:
        copy.header["Subject"] = [rule["prepend_subject"] + text for text in copy.header["Subject"] or [""]]
    if "set_scl" in rule:
        copy.scl = copy.set_scl = rule["set_scl"]
    if "apply_classification" in rule:
        copy.name = copy.set_name = rule["apply_classification"]
    if "add_manager_as_recipient_type" in rule:
        known = [PEOPLE[sender.lower()] for sender in senders_of(rule, copy) if sender.lower() in PEOPLE]
        manager = known[0].get("manager", "") if known else ""
        there = {address.lower(): (address, redirect) for address, redirect in copy.added}
        if "@" in manager:
            instead = rule["add_manager_as_recipient_type"] == "redirect"
            there[manager.lower()] = (manager, instead or there.get(manager.lower(), ("", False))[1])
            copy.added = list(there.values())


def tell(rule: dict[str, Any], mode: str, copy: Copy) -> None:
    """In every mode a report, in two of them a note; the hit itself with its severity."""
    if "generate_incident_report" in rule:
        copy.reports.append(rule["name"])
    if "generate_notification" in rule and mode != "audit":
        copy.notes.append(rule["name"])
    copy.tells.append((rule["name"], mode, rule.get("set_audit_severity", "")))


def interpret(document: str, copy: Copy) -> Copy:
    rules = tomllib.loads(document).get("mail_flow_rule", [])
    first = sorted((rule for rule in rules if "priority" in rule), key=lambda rule: rule["priority"])
    for rule in [*first, *(rule for rule in rules if "priority" not in rule)]:
        if not applies(rule, copy):
            continue
        mode = rule.get("mode", "enforce")
        tell(rule, mode, copy)
        if mode == "enforce":
            act(rule, copy)
            if copy.end or rule.get("stop_rule_processing", False) or any(redirect for _, redirect in copy.added):
                break
    return copy


# --- what is generated -------------------------------------------------------------------------------------------


LOCALS = ("ana", "ben", "sales", "info", "contoso", "eu", "bob", "x")


def group_of(dice: random.Random, deep: int) -> str:
    """A group with at least one condition or exception."""
    lines: list[str] = []
    while not lines:
        for prefix, most in (("", 2), ("except_if_", 1)):
            some = dice.sample([one for one in CONDITIONS if one != "either" or deep < 3], dice.randint(0, most))
            lines += [f"{prefix}{one} = {value_of(one, dice, deep + 1)}" for one in some]
    return f"{{{', '.join(lines)}}}"


def value_of(condition: str, dice: random.Random, deep: int = 0) -> str:
    def some(texts: tuple[str, ...]) -> str:
        return json.dumps(dice.sample(texts, dice.randint(1, 2)), ensure_ascii=False)

    chosen = {
        "recipient_domain_is": DOMAINS, "sender_domain_is": DOMAINS, "from": SENDERS, "subject_contains_words": WORDS,
        "sent_to": (*PEOPLE, *STRANGERS, *ALIASES, "ANA@contoso.com"), "recipient_address_contains_words": LOCALS,
        "any_of_recipient_address_contains_words": LOCALS,
    }  # fmt: skip
    if condition in chosen:
        return some(chosen[condition])
    match condition:
        case "either":
            return f"[{', '.join(group_of(dice, deep) for _ in range(dice.randint(1, 3)))}]"
        case "header_contains_words":
            return f'{{header = "{dice.choice(FIELDS)}", words = {some(WORDS)}}}'
        case "message_size_over":
            return dice.choice(("2048", "2047", "2049"))
        case "sent_to_scope":
            return dice.choice(('"in_organization"', '"not_in_organization"'))
        case "scl_over":
            return dice.choice(("-1", "0", "4", "7"))
        case "has_classification":
            return f'"{dice.choice(NAMES).swapcase()}"'
        case "has_no_classification":
            return "true"
    return f"{{{dice.choice(('city', 'department'))} = {some(WORDS)}}}"


def date(dice: random.Random) -> str:
    at = dt.datetime.fromtimestamp(NOW + dice.choice((-3600, -1, 0, 1, 3600)), dt.UTC)
    return at.astimezone(dt.timezone(dt.timedelta(hours=dice.choice((0, 2))))).isoformat()


def rule_of(number: int, priority: int | None, dice: random.Random) -> str:
    lines = ["[[mail_flow_rule]]", f'name = "r{number}"']
    lines += ['recipient_address_type = "original"'] if dice.random() < 0.3 else []
    if priority is not None:
        lines.append(f"priority = {priority}")
    for chance, line in (
        (0.1, "enabled = false"),
        (0.2, f'mode = "{dice.choice(("audit", "audit_and_notify"))}"'),
        (0.2, f'set_audit_severity = "{dice.choice(("do_not_audit", "low", "medium", "high"))}"'),
        (0.15, "stop_rule_processing = true"),
        (0.1, f"activation_date = {date(dice)}"),
        (0.1, f"expiry_date = {date(dice)}"),
        (0.5, f'sender_address_location = "{dice.choice(("header", "envelope", "header_or_envelope"))}"'),
    ):
        lines += [line] if dice.random() < chance else []
    for prefix, most in (("", 2), ("except_if_", 1)):
        for condition in dice.sample(CONDITIONS, dice.randint(0, most)):
            lines.append(f"{prefix}{condition} = {value_of(condition, dice)}")
    header = dice.choice(("X-A", "X-B"))
    for chance, line in (
        (0.3, f'route_message_outbound_connector = "{dice.choice(CONNECTORS)}"'),
        (0.2, "route_message_outbound_require_tls = true"),
        (0.15, dice.choice(("reject_message = {}", "quarantine = true", "delete_message = true"))),
        (0.4, f'set_header = {{name = "{header}", value = "{dice.choice(VALUES)}"}}'),
        (0.2, f'remove_header = "{"X-B" if header == "X-A" else "X-A"}"'),
        (0.3, f"set_scl = {dice.choice((-1, 0, 4, 7, 9))}"),
        (0.3, f'apply_classification = "{dice.choice(NAMES)}"'),
        (0.2, 'generate_incident_report = {report_to = "soc@contoso.com"}'),
        (0.2, 'generate_notification = "about %%Subject%%"'),
        (0.2, f'add_manager_as_recipient_type = "{dice.choice(("to", "cc", "bcc", "redirect"))}"'),
        (0.3, f'prepend_subject = "{dice.choice(("[A] ", "stock", "7 "))}"'),
    ):
        lines += [line] if dice.random() < chance else []
    return "\n".join([*lines, ""])


def rules_of(dice: random.Random) -> str:
    count = dice.randint(1, 8)
    places: list[int | None] = list(dice.sample(range(20), count))
    return "".join(rule_of(n, place if dice.random() < 0.7 else None, dice) for n, place in enumerate(places))


def letter(dice: random.Random) -> tuple[Facts, list[Copy]]:
    """One message, and what the interpreter is to know of it, by recipient."""
    own = dice.random() < 0.6
    envelope = dice.choice(SENDERS[:2] if own else SENDERS[2:])
    authors = dice.sample(SENDERS, dice.choice((1, 1, 2)))
    known = [dice.choice([one, *(a for a, primary in ALIASES.items() if primary == one)]) for one in PEOPLE]
    to = dice.sample((*known, *STRANGERS) if own else tuple(known), dice.randint(1, 3))
    everybody = {"resolved": [ALIASES.get(one, one) for one in to], "original": to}
    header = [("Subject", dice.choice(SUBJECTS))] if dice.random() < 0.9 else []
    header += [(name, dice.choice(VALUES)) for name in dice.choices(("X-A", "X-B"), k=dice.randint(0, 3))]
    level = dice.choice((None, -1, 0, 7))
    if level is not None:  # believed from the own server alone, and never in the name of the organisation
        family = dice.choice(("CrossPremises", "CrossPremises", "Organization"))
        header.append((f"X-MS-Exchange-{family}-SCL", str(level)))
    believed = level if own and header and "CrossPremises" in header[-1][0] else None
    dice.shuffle(header)
    octets = f"From: {', '.join(f'Somebody <{author}>' for author in authors)}\r\n"
    octets += "".join(f"{name}: {value}\r\n" for name, value in header) + "\r\n"
    size = dice.choice((2047, 2048, 2049))
    facts = facts_of(envelope, *to, connection=connection_of("192.0.2.25" if own else "198.51.100.7"),
                     message=message_of("id", octets.encode(), size, "here"))  # fmt: skip
    copies = [
        Copy(ALIASES.get(one, one), one, everybody, authors, envelope, size,
             {name: [decode_words(value) for field, value in header if field == name] for name in FIELDS}, scl=believed)
        for one in to
    ]  # fmt: skip
    return msgspec.structs.replace(facts, at=NOW), copies


def done_to(facts: Facts, verdict: Verdict) -> dict[str, Any]:
    """The judge's effects, and the rules it tells of, in the interpreter's words."""
    effects = verdict.effects
    told = {
        "reports": [one.rule for one in effects.reports],
        "notes": list(effects.notes),
        "tells": [(step.rule.rule, step.rule.mode, str(step.rule.severity)) for step in verdict.steps if step.rule],
    }
    match effects.end:
        case Refuse():
            return {"end": "reject_message", **told}
        case Hold(why):
            return {"end": f"quarantine {why.removeprefix('rule ')}", **told}
        case Drop(why):
            return {"end": f"delete_message {why.removeprefix('rule ')}", **told}
    assert facts.message is not None
    after = fields_after(facts.message.fields, effects.edits)
    return {
        "connector": effects.connector,
        "tls": effects.require_tls,
        "header": {name: [decode_words(v) for f, v in after if f == name] for name in FIELDS},
        "scl": effects.scl,
        "name": effects.classification,
        "added": [(one.address.text, one.redirect) for one in effects.added],
        **told,
    }


def expected(copy: Copy) -> dict[str, Any]:
    told = {"reports": copy.reports, "notes": copy.notes, "tells": copy.tells}
    if copy.end:
        return {"end": copy.end.split(" ")[0] if copy.end.startswith("reject") else copy.end, **told}
    marks = {"scl": copy.set_scl, "name": copy.set_name, "added": copy.added}
    return {"connector": copy.connector, "tls": copy.tls, "header": copy.header, **marks, **told}


ASK = people(*[who_of("contoso", address, **attributes) for address, attributes in PEOPLE.items()], aliases=ALIASES)


def test_rules_do_what_a_naive_interpreter_of_the_documents_does() -> None:
    acted = 0
    for number in range(CASES):
        dice = random.Random(number)
        document = rules_of(dice)
        policy = policy_of(BASE + HYBRID + OUT + document)
        for _ in range(MESSAGES):
            facts, copies = letter(dice)
            told = [interpret(document, copy) for copy in copies]
            acted += sum(bool(copy.tells) for copy in told)
            for depth in (Depth.LIVE, Depth.FULL):
                ruling = settled(policy, facts, ASK, Point.DATA, depth=depth)[1]
                assert ruling.refusal is None, ruling.refusal
                named = [v for v in ruling.recipients if v.recipient.derived_from is None]
                found = [(v.recipient.original.text, done_to(facts, v)) for v in named]
                wanted = [(copy.sent_to, expected(copy)) for copy in told]
                assert found == wanted, f"case {number}, {depth}: {facts.message}, {facts.envelope}\n{document}"
    assert acted > CASES, "most messages meet a rule that acts"


LOST = re.compile(r"^rule '(\w+)' (?:never matches|is never reached|ends before it begins)")


def test_rules_of_which_is_told_that_they_never_act_do_not() -> None:
    """What `check` says of rules (policy/linter) holds for every message."""
    told = 0
    for number in range(CASES):
        dice = random.Random(f"linter {number}")
        document = rules_of(dice)
        warnings = policy_of(BASE + OWN_SERVER + OUT + document).warnings
        lost = {found[1] for one in warnings if (found := LOST.match(one.message))}
        told += len(lost)
        for _ in range(10 * MESSAGES if lost else 0):
            for copy in letter(dice)[1]:
                assert lost.isdisjoint(interpret(document, copy).tells), f"case {number}: {copy}\n{document}"
    assert told > CASES / 10, "some rules are told of"
