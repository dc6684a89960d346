"""T-HYB-1, -2, -3, -6, -7, -8: the seven flows of the four MX and transport cases, with Postfix as the other side."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from peers.client import letter
from peers.hybrid import OUTSIDE, Hybrid, hybrid, ids, path
from peers.listening import recipients, sender

DAVID, FRANK, JULIE = "david@contoso.com", "frank@contoso.com", "julie@contoso.com"


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hybrid]:
    with hybrid(tmp_path_factory.mktemp("direct")) as world:
        yield world


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hybrid]:
    with hybrid(tmp_path_factory.mktemp("central"), central="true") as world:
        yield world


@pytest.fixture(params=["direct", "central"])
def world(request: pytest.FixtureRequest) -> Hybrid:
    return request.getfixturevalue(request.param)


# --- the table of specification 2.6: by which servers a message goes, the first one first ------------------------

FLOWS = [
    # flow, MX, path with direct transport, path with centralised transport
    ("Internet to here", "here", "here", "here there here"),
    ("Internet to here", "there", "there here", "there here"),
    ("Internet to there", "here", "here there", "here there"),
    ("Internet to there", "there", "there", "there"),
    ("here to the Internet", "here", "here", "here there"),
    ("here to the Internet", "there", "here", "here there"),
    ("there to the Internet", "here", "there here", "there here"),  # by us as its smart host
    ("there to the Internet", "there", "there", "there"),  # by itself
    ("here to there", "here", "here there", "here there"),
    ("here to there", "there", "here there", "here there"),
    ("there to here", "here", "there here", "there here"),
    ("there to here", "there", "there here", "there here"),
]


@pytest.mark.parametrize(("flow", "mx", "direct_path", "central_path"), FLOWS)
def test_by_which_servers_a_message_goes(
    world: Hybrid, request: pytest.FixtureRequest, flow: str, mx: str, direct_path: str, central_path: str
) -> None:
    mark = f"{flow}, MX {mx}"
    came_in = world.from_internet if mx == "here" else world.to_premises
    match flow:
        case "Internet to here":
            came_in(OUTSIDE, DAVID, mark=mark)
            message = world.here("david", mark)
        case "Internet to there":
            came_in(OUTSIDE, JULIE, mark=mark)
            message = world.onprem.arrived("julie", mark)
        case "here to the Internet":
            world.from_here(DAVID, f"{mx}@home.test", mark=mark)
            message = world.outside(mark).content
        case "there to the Internet":
            world.to_premises(JULIE, "y@byus.test" if mx == "here" else "y@home.test", mark=mark)
            message = world.outside(mark).content
        case "here to there":
            world.from_here(DAVID, JULIE, mark=mark)
            message = world.onprem.arrived("julie", mark)
        case _:
            world.to_premises(JULIE, DAVID, mark=mark)
            message = world.here("david", mark)
    wanted = direct_path if request.node.callspec.params["world"] == "direct" else central_path
    assert " ".join(path(message)) == wanted
    assert f"Subject: {mark}".encode() in message and b"\nTo: " in message


@pytest.mark.parametrize("mx", ["here", "there"])
def test_one_message_to_both_sides(world: Hybrid, request: pytest.FixtureRequest, mx: str) -> None:
    mark = f"to both, MX {mx}"
    (world.from_internet if mx == "here" else world.to_premises)(OUTSIDE, DAVID, JULIE, mark=mark)
    here, there = path(world.here("david", mark)), path(world.onprem.arrived("julie", mark))
    if request.node.callspec.params["world"] == "direct":
        wanted = (["here"], ["here", "there"]) if mx == "here" else (["there", "here"], ["there"])
    else:
        wanted = (["here", "there", "here"], ["here", "there"]) if mx == "here" else (["there", "here"], ["there"])
    assert (here, there) == wanted
    world.quiet()
    assert len([one for one in world.mailbox("david") if mark.encode() in one]) == 1
    assert len([one for one in world.onprem.mailbox("julie") if mark.encode() in one]) == 1


# --- the tests of the specification ------------------------------------------------------------------------------


def test_t_hyb_1_one_message_is_split_with_one_network_message_id(direct: Hybrid) -> None:
    message = direct.from_internet(OUTSIDE, JULIE, DAVID, mark="t-hyb-1")
    rows = {row["recipient_address"]: row for row in direct.service.settled(message)}
    assert rows[JULIE]["outbound_connector"] == "HQ" and rows[DAVID]["outbound_connector"] == ""
    assert {row["network_message_id"] for row in rows.values()} == {message}
    assert rows[JULIE]["tls"].startswith("TLS")
    here, there = direct.here("david", "t-hyb-1"), direct.onprem.arrived("julie", "t-hyb-1")
    assert ids(here) == ids(there) == [message]
    preserved = re.findall(rb"^X-MS-Exchange-CrossPremises-Network-Message-Id: (\S+)\r?$", there, re.MULTILINE)
    assert preserved == [rows[JULIE]["network_message_id"].encode()]
    # The look-up address is rewritten in the envelope alone.
    assert b"\nTo: julie@contoso.com" in here and b"\nTo: julie@contoso.com" in there


def test_t_hyb_2_what_leaves_from_here_goes_by_on_premises(central: Hybrid) -> None:
    message = central.from_here(DAVID, "t-hyb-2@home.test", mark="t-hyb-2")
    (row,) = central.service.settled(message)
    assert (row["outbound_connector"], row["inbound_connector"]) == ("HQ", "Application")
    mail = central.outside("t-hyb-2")
    assert path(mail.content) == ["here", "there"] and sender(mail) == DAVID
    told = central.service.command("explain", message)[1]
    assert "connector HQ: all messages go by on-premises" in told


def field(message: bytes, name: str) -> list[bytes]:
    return re.findall(rb"^X-MS-Exchange-" + name.encode() + rb": (.*?)\r?$", message, re.MULTILINE)


INTERNAL = b"X-MS-Exchange-CrossPremises-AuthAs: Internal\r\nX-MS-Exchange-CrossPremises-AuthSource: ex1\r\n"


def test_t_hyb_3_what_the_other_side_says_of_its_people_is_believed(direct: Hybrid) -> None:
    direct.to_premises(JULIE, DAVID, mark="t-hyb-3", fields=INTERNAL)
    stored = direct.here("david", "t-hyb-3")
    assert field(stored, "Organization-AuthAs") == [b"Internal"]
    assert not field(stored, "CrossPremises-AuthAs")
    told = direct.service.command("explain", ids(stored)[-1])[1]
    assert "internal trust: the other side says AuthAs: Internal" in told
    assert "spam bypass: internal mail is not filtered for spam" in told


def test_t_hyb_3_through_a_relay_that_strips_them_it_is_from_outside(direct: Hybrid) -> None:
    checks = direct.onprem.header_checks("X-MS-Exchange-")
    direct.onprem.reload(header_checks=checks)
    try:
        direct.to_premises(JULIE, DAVID, mark="t-hyb-3 stripped", fields=INTERNAL)
        stored = direct.here("david", "t-hyb-3 stripped")
    finally:
        direct.onprem.reload(header_checks="")
    assert field(stored, "Organization-AuthAs") == [b"Anonymous"]
    assert "spam bypass: the message is not internal" in direct.service.command("explain", ids(stored)[-1])[1]


def test_t_hyb_3_a_stranger_who_says_so_is_not_believed(direct: Hybrid) -> None:
    content = INTERNAL + b"X-MS-Exchange-Organization-AuthAs: Internal\r\n" + letter(JULIE, DAVID, "t-hyb-3 forged")
    direct.service.send(JULIE, DAVID, content=content)
    assert field(direct.here("david", "t-hyb-3 forged"), "Organization-AuthAs") == [b"Anonymous"]


def test_t_hyb_3_outward_the_wire_says_internal(direct: Hybrid) -> None:
    direct.from_here(DAVID, JULIE, mark="t-hyb-3 out")
    there = direct.onprem.arrived("julie", "t-hyb-3 out")
    assert field(there, "CrossPremises-AuthAs") == [b"Internal"]
    direct.from_here(DAVID, "t-hyb-3@home.test", mark="t-hyb-3 away")
    assert not re.search(rb"^X-MS-Exchange-", direct.outside("t-hyb-3 away").content, re.MULTILINE)


def test_t_hyb_6_inbound_mail_goes_by_on_premises_and_comes_back(central: Hybrid) -> None:
    message = central.from_internet(OUTSIDE, DAVID, mark="t-hyb-6")
    (row,) = central.service.settled(message)
    assert row["outbound_connector"] == "HQ"
    stored = central.here("david", "t-hyb-6")
    assert path(stored) == ["here", "there", "here"]
    first, second = ids(stored)
    assert first == message
    (back,) = central.service.settled(second)
    assert (back["recipient_address"], back["inbound_connector"], back["outbound_connector"]) == (
        "david@contoso.mail.example", "From on-premises", "",
    )  # fmt: skip
    assert (back["sender_address"], back["message_id"]) == (OUTSIDE, row["message_id"])


def test_t_hyb_7_the_mx_is_on_premises(direct: Hybrid) -> None:
    direct.to_premises(OUTSIDE, DAVID, JULIE, mark="t-hyb-7")
    assert path(direct.here("david", "t-hyb-7")) == ["there", "here"]
    assert path(direct.onprem.arrived("julie", "t-hyb-7")) == ["there"]
    (row,) = direct.service.trace(recipient="david@contoso.mail.example", sender=OUTSIDE)[:1]
    assert row["inbound_connector"] == "From on-premises" and row["tls"].startswith("TLS")


def test_t_hyb_8_what_is_forwarded_goes_by_on_premises_once(central: Hybrid) -> None:
    for mark, came in (("t-hyb-8 in", central.from_internet), ("t-hyb-8 there", central.to_premises)):
        came("ada@outside.example", FRANK, mark=mark)
        stored = central.here("frank", mark)
        copy = central.outside(mark, "frank@home.test")
        assert path(stored)[-2:] == ["there", "here"]
        assert path(copy.content) == [*path(stored), "there"]
        central.quiet()
        assert len(central.all_outside(mark)) == 1, "forwarded once, however often it passed"
        assert recipients(copy) == ["frank@home.test"]
    message = central.from_here(DAVID, FRANK, mark="t-hyb-8 here")
    assert path(central.outside("t-hyb-8 here").content) == ["here", "there"]
    ways = {row["recipient_address"]: row["outbound_connector"] for row in central.service.settled(message)}
    assert ways == {FRANK: "", "frank@home.test": "HQ"}


def test_on_premises_relays_for_our_certificate_and_for_nobody_else(central: Hybrid) -> None:
    shown = x509.load_pem_x509_certificate(Path(central.policy["chain"]).read_bytes())
    mark = shown.fingerprint(hashes.SHA256()).hex(":").upper()
    only = "permit_tls_clientcerts, reject_unauth_destination"
    central.onprem.reload(smtpd_relay_restrictions=only, relay_clientcerts=f"inline:{{ {{{mark} = us}} }}")
    try:
        central.from_here(DAVID, "ours@home.test", mark="by certificate")
        assert path(central.outside("by certificate").content) == ["here", "there"]
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            central.to_premises(DAVID, "theirs@home.test", mark="by nobody")
    finally:
        central.onprem.reload(smtpd_relay_restrictions="permit_mynetworks, reject_unauth_destination")


def test_two_directories_that_disagree_are_told_and_lose_nothing(direct: Hybrid) -> None:
    with direct.service.client("127.0.0.1") as client:
        client.begin(OUTSIDE)
        assert client.to("julie@contoso.mail.example")[0] == 250, "from outside it is an address like others"
    direct.to_premises(OUTSIDE, "julie@contoso.mail.example", mark="disagree")
    direct.onprem.logged(r"julie@contoso\.mail\.example.*status=deferred.*451 4\.4\.6")
    row, *_ = direct.service.until(
        lambda: direct.service.trace(recipient="julie@contoso.mail.example"), "the refusal is in the trace"
    )
    assert row["status"] == "Refused" and "451 4.4.6" in row["reply"]
