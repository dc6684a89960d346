"""What a task's copies are to be given: only what was found, in our name only, and nothing at all for most mail."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import msgspec
import pytest

from decision.judging import settled
from flow.house import CONTOSO, House
from lockgate.decision.explain import authentication
from lockgate.decision.stage import Depth
from lockgate.flow.departure import Departure
from lockgate.flow.leading_back import WaysBack
from lockgate.flow.letter import Authentication
from lockgate.flow.results import put_results
from lockgate.flow.sealing import Sealing
from lockgate.flow.stamping import stamp_of
from lockgate.mail.authentication import Arc, ArcVerdict
from lockgate.mail.facts import Facts
from lockgate.mail.findings import WhoSent
from lockgate.mail.headers import message_of
from lockgate.mail.ruling import Deliver, Drop, Refuse
from lockgate.mail.task import PLAIN, Stamp
from lockgate.probes.trust.sender import SenderCheck
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of
from lockgate.testing.clock import HandClock
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.sender import ListedAuthenticator, authenticated
from lockgate.testing.signing import ListedKeys, new_key

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
US = "mx.lockgate.test"
OURS = "192.0.2.25"
ASKING = '[[anti_phishing_policy]]\nname = "Default"\n'
LET_PASS = ASKING + 'honor_dmarc_policy = false\nauthentication_fail_action = "none"\nunclear_author_action = "none"\n'
OUT = '[[outbound_connector]]\nname = "partner"\nrecipient_domains = ["away.test"]\n'
PEOPLE = people(
    who_of("contoso", "ben@contoso.com"),
    who_of("contoso", "out@contoso.com", external="out@away.test"),
    who_of("contoso", "old@contoso.com", external="old@hq.test"),
)
FORGED = f"Authentication-Results: {US}; dmarc=pass\r\n"


def letter(*more: str) -> bytes:
    return ("".join(more) + "From: a@sender.test\r\nSubject: hello\r\n\r\nbody\r\n").encode()


def facts(octets: bytes, *recipients: str, answer: object = None, peer: str = "198.51.100.7", sender: str = "x@s.test"):
    message = message_of("id-1", octets, len(octets), "house")
    findings = {WhoSent("contoso"): answer} if answer is not None else {}
    return facts_of(
        sender, *recipients, connection=connection_of(peer), message=message,
        findings=findings,  # type: ignore[arg-type]
    )  # fmt: skip


def stamp(given: Facts, policy: str = "", *, held: bool = False) -> Stamp:
    compiled = policy_of(CONTOSO + policy)
    given, ruling = settled(compiled, given, PEOPLE)
    return stamp_of(compiled, given, ruling, ruling.recipients, held=held)


def test_nearly_all_mail_needs_nothing() -> None:
    assert stamp(facts(letter(), "ben@contoso.com")) is PLAIN
    for other in ("Authentication-Results: other.test", f"ARC-Authentication-Results: i=1; {US}"):
        assert stamp(facts(letter(f"{other}; spf=pass\r\n"), "ben@contoso.com")) is PLAIN
    assert stamp(facts(letter("X-Lockgate-Hop: other; id\r\n"), "ben@contoso.com")) is PLAIN


@pytest.mark.parametrize(
    "field", [FORGED, FORGED.upper(), FORGED.replace(": ", ":\r\n\t"), "X-Lockgate-Verdict: ok\r\n"]
)
def test_fields_in_our_name_are_noticed_though_nobody_asks(field: str) -> None:
    assert stamp(facts(letter(field), "ben@contoso.com")) == Stamp(foreign=True)


def test_a_field_far_down_in_a_long_header_is_noticed() -> None:
    padding = "".join([f"X-{number}: {'y' * 900}\r\n" for number in range(250)])
    given = facts(letter(padding, FORGED), "ben@contoso.com")
    assert given.message is not None and not given.message.cut
    assert stamp(given) == Stamp(foreign=True)


def test_own_servers_give_back_what_bears_our_results_already() -> None:
    returned = letter(FORGED, "X-Lockgate-Hop: house; id-0\r\n")
    assert stamp(facts(returned, "ben@contoso.com", peer=OURS)) is PLAIN
    assert stamp(facts(returned, "ben@contoso.com", peer=OURS, sender="ann@contoso.com")) is PLAIN
    assert stamp(facts(returned, "ben@contoso.com")) == Stamp(foreign=True), "a stranger gives nothing back"
    assert stamp(facts(letter(FORGED), "ben@contoso.com", peer=OURS)) == Stamp(foreign=True), "it never passed us"


TRUSTING = """
[[mail_flow_rule]]
name = "Doubtful"
except_if_header_contains_words = {header = "Authentication-Results", words = ["dmarc=pass"]}
reject_message = {}
[[mail_flow_rule]]
name = "Marked"
header_matches_patterns = {header = "X-Lockgate-Verdict", patterns = ["."]}
delete_message = true
"""
HANDED_BACK = "X-Lockgate-Hop: house; id-0\r\n"


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize(
    ("fields", "peer", "fate"),
    [
        ((), "198.51.100.7", Refuse),
        ((FORGED,), "198.51.100.7", Refuse),
        ((FORGED.replace(US, f"(;) {US.upper()}"),), "198.51.100.7", Refuse),
        ((FORGED, HANDED_BACK), "198.51.100.7", Refuse),
        ((FORGED,), OURS, Refuse),
        ((FORGED, HANDED_BACK), OURS, Deliver),
        ((FORGED.replace(US, "mx.other.test"),), "198.51.100.7", Deliver),
        ((FORGED.replace(US, "mx.other.test"), "X-Lockgate-Verdict: ok\r\n"), "198.51.100.7", Deliver),
        ((FORGED, HANDED_BACK, "X-Lockgate-Verdict: ok\r\n"), OURS, Drop),
    ],
)
def test_rules_see_fields_in_our_name_where_they_may_leave(
    fields: tuple[str, ...], peer: str, fate: type, depth: Depth
) -> None:
    given = facts(letter(*fields), "ben@contoso.com", peer=peer)
    _, ruling = settled(policy_of(CONTOSO + TRUSTING), given, PEOPLE, depth=depth)
    assert type(ruling.recipients[0].disposition) is fate


def test_what_was_found_is_written_with_what_was_done() -> None:
    passed = stamp(facts(letter(), "ben@contoso.com", answer=authenticated("pass")), ASKING)
    assert passed.results == (
        US, "spf=pass (sender IP is 198.51.100.7) smtp.helo=sender.test", "dkim=none (message not signed)",
        "dmarc=pass action=none header.from=sender.test", "compauth=pass reason=102",
    )  # fmt: skip
    assert (passed.foreign, passed.chain) == (False, "")
    refused = authenticated("fail", "reject")
    overridden = stamp(facts(letter(), "ben@contoso.com", answer=refused), LET_PASS)
    assert overridden.results[-2:] == ("dmarc=fail action=oreject header.from=sender.test", "compauth=fail reason=000")
    kept = stamp(facts(letter(), "ben@contoso.com", answer=authenticated("fail", "quarantine")), ASKING, held=True)
    assert kept.results[-2:] == ("dmarc=fail action=quarantine header.from=sender.test", "compauth=fail reason=000")
    own = authenticated("none", domain="contoso.com")
    nothing = ASKING + 'own_domain_spoof_action = "none"\n'
    assert stamp(facts(letter(), "ben@contoso.com", answer=own), nothing).results[-1] == "compauth=fail reason=601"


TWO = """
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[inbound_connector]]
organisation = "fabrikam"
name = "theirs"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.66"]
"""


def test_what_one_organisation_asked_or_trusts_is_not_another_s() -> None:
    text = CONTOSO + TWO + ASKING.replace("]]\n", ']]\norganisation = "contoso"\n')
    for table in ("accepted_domain", "inbound_connector", "outbound_connector"):
        text = text.replace(f"[[{table}]]\n", f'[[{table}]]\norganisation = "contoso"\n', 1)
    policy = policy_of(text)
    ask = people(who_of("contoso", "ben@contoso.com"), who_of("fabrikam", "fay@fabrikam.com"))
    forged = letter(FORGED, "X-Lockgate-Hop: house; id-0\r\n")
    given = facts(forged, "ben@contoso.com", "fay@fabrikam.com", answer=authenticated("pass"), peer="192.0.2.66")
    given, ruling = settled(policy, given, ask)
    ours, theirs = [stamp_of(policy, given, ruling, [one], held=False) for one in ruling.recipients]
    assert ours.foreign
    assert ours.results
    assert theirs is PLAIN


@pytest.mark.parametrize(
    ("recipient", "state", "chain"),
    [
        ("out@contoso.com", "none", "none"),
        ("out@contoso.com", "pass", "pass"),
        ("out@contoso.com", "fail", "fail"),
        ("out@contoso.com", "temperror", ""),
        ("ben@contoso.com", "pass", ""),
    ],
)
def test_what_leaves_for_somebody_is_to_be_sealed(recipient: str, state: str, chain: str) -> None:
    answer = msgspec.structs.replace(authenticated("pass"), arc=Arc(ArcVerdict(state), 1, "list.test"))
    assert stamp(facts(letter(), recipient, answer=answer), ASKING + OUT).chain == chain


async def test_each_copy_leaves_with_it_and_the_stored_message_stays_as_it_came() -> None:
    house = House(policy=CONTOSO + ASKING)
    house.reception = msgspec.structs.replace(
        house.reception, authentication=Authentication(ListedAuthenticator(authenticated("pass")), None)  # type: ignore[arg-type]
    )
    house.delivery._with = msgspec.structs.replace(house.delivery._with, departure=Departure((put_results,)))
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 250
    await house.settle()
    ((_, cargo),) = house.courier.carried
    assert cargo.content.startswith(b"Authentication-Results: mx.lockgate.test;")
    assert b"compauth=pass reason=102\r\nReceived: " in cargo.content


async def test_mail_that_waited_leaves_with_what_is_known_then() -> None:
    house = House(policy=CONTOSO + ASKING)
    answers = ListedAuthenticator(authenticated("fail", "quarantine"), authenticated("pass"))
    house.reception = msgspec.structs.replace(
        house.reception, authentication=Authentication(answers, None)  # type: ignore[arg-type]
    )
    house.delivery._with = msgspec.structs.replace(house.delivery._with, departure=Departure((put_results,)))
    assert (await house.send("ben@contoso.com"))[-1].code == 250
    await house.spool.queue_edit("release", {"sender": "x@sender.test"}, "test")
    await house.later(1.0)
    await house.later(1.0)
    ((_, cargo),) = house.courier.carried
    assert b"dmarc=fail action=quarantine header.from=sender.test" in cargo.content


# --- published attacks

ATTACKS = FIXTURES / "auth-spoof" / "espoofer-dev.json"
CASES = json.loads(ATTACKS.read_text()) if ATTACKS.exists() else {}
TEXTS = {
    "attack.com": ["v=spf1 +all"], "helo.attack.com": ["v=spf1 +all"], "example.com": ["v=spf1 +all"],
    "legitimate.com": ["v=spf1 -all"], "_dmarc.legitimate.com": ["v=DMARC1; p=reject"],
    "_dmarc.example.com": ["v=DMARC1; p=reject"], "_dmarc.attack.com": ["v=DMARC1; p=none"],
}  # fmt: skip


@pytest.mark.skipif(not CASES, reason="the published attacks are not here (LOCKGATE_FIXTURES)")
@pytest.mark.parametrize("name", sorted(CASES))
async def test_no_published_attack_gets_a_pass_in_header_record_or_explanation(name: str) -> None:
    """Where everything is let pass, so that there is a header to look at."""
    case = CASES[name]
    helo, sender = (base64.b64decode(case[key]).decode("latin-1") for key in ("helo_b64", "mail_from_b64"))
    octets = base64.b64decode(case["message_b64"])
    sender = sender.strip("<>")
    check = SenderCheck(ZoneResolver(texts=TEXTS), HandClock(), US)
    answer = await check.authenticate("192.0.2.1", helo, sender, octets)
    forged = "example.com" if name.startswith("client") else "legitimate.com"
    policy = policy_of(CONTOSO + LET_PASS)
    given = facts(octets, "ben@contoso.com", answer=answer, sender=sender if "@" in sender else "")
    given, ruling = settled(policy, given, PEOPLE, depth=Depth.FULL)
    made = stamp_of(policy, given, ruling, ruling.recipients, held=False)
    assert made.results[-1].startswith("compauth=fail"), made
    told = authentication(given)
    if name.startswith("client"):  # his own account is there: the envelope is true, only another author is not
        del told["spf"]
    for part in made.results[2 if name.startswith("client") else 1 :]:
        assert not (part.partition(" ")[0].endswith("=pass") and forged in part), part
    assert not any(said.startswith("pass") and forged in said for said in told.values()), told
    for step in ruling.recipients[0].steps:
        assert not ("proven by" in step.because and forged in step.because), step


async def test_copies_for_members_outside_and_for_whom_a_mailbox_forwards_to() -> None:
    """To a group and a mailbox that forwards: who is here gets it as it came, the others with its proof."""
    house = House(policy=CONTOSO.replace("vouched", "default = true\nvouched") + ASKING + OUT)
    house.ask = people(
        who_of("contoso", "ben@contoso.com"),
        who_of("contoso", "team@contoso.com", kind="distribution_group"),
        who_of("contoso", "amy@contoso.com", kind="mailbox", forwarding="amy@away.test", keeps_copy=True),
        members={"team@contoso.com": ["ben@contoso.com", "joe@away.test"]},
    )
    passed = ListedAuthenticator(authenticated("pass"))
    house.reception = msgspec.structs.replace(
        house.reception, authentication=Authentication(passed, None)  # type: ignore[arg-type]
    )
    key = new_key("contoso.com")
    finishes = (put_results, Sealing(ListedKeys({"contoso": key}), house.journal).finish)
    departure = Departure(finishes, WaysBack((b"s" * 32,), house.clock.now).rewrite)
    house.delivery._with = msgspec.structs.replace(house.delivery._with, departure=departure)
    assert (await house.send("team@contoso.com", "amy@contoso.com"))[-1].code == 250
    await house.settle()
    copies = {tuple(sorted(one.address for one in cargo.recipients)): cargo for _, cargo in house.courier.carried}
    assert set(copies) == {("amy@contoso.com", "ben@contoso.com"), ("amy@away.test", "joe@away.test")}
    here, outside = (copies[who] for who in sorted(copies, reverse=True))
    assert here.envelope.sender_text == "x@sender.test"
    assert b"ARC-Seal" not in here.content
    assert outside.envelope.sender_text.endswith("=sender.test=x@contoso.com")
    assert outside.content.startswith(b"ARC-Seal: a=rsa-sha256")
    assert outside.content.partition(b"Authentication-Results: mx.")[2] == here.content.partition(b"-Results: mx.")[2]
