"""Mail flow rules on the running service: by city, by words, on audit; headers changed, mail refused, held, deleted."""

from __future__ import annotations

from pathlib import Path

from peers.contoso import contoso
from peers.listening import arrived, recipients
from peers.service import running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@outside.example"
PEOPLE = (
    "address,kind,city\nana@contoso.com,mail_user,New Orleans\nben@contoso.com,mail_user,Seattle\n"
    "carl@contoso.com,mail_user,Seattle\n"
)


def test_rules_by_command_act_on_the_copies_they_are_for(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        told("rule", "add", "Site", 'recipient_ad_attribute_contains_words={city = ["new orleans"]}',
             'set_header={name = "X-Site", value = "Nola"}', "prepend_subject=[NOLA] ", "priority=0")  # fmt: skip
        told("rule", "add", "Secret", "subject_contains_words=secret", "subject_contains_words=top hush",
             'except_if_from=["alice@outside.example"]', 'reject_message={reason_text = "Not so"}')  # fmt: skip
        told("rule", "add", "Watch", "subject_matches_patterns=^watch", "mode=audit", "delete_message=true")
        told("rule", "add", "Keep", 'header_contains_words={header = "X-Odd", words = ["odd one"]}', "quarantine=true")
        letter = "From: {}\r\nTo: all\r\nSubject: {}\r\nX-Odd: {}\r\n\r\nHello\r\n".format

        first = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com",
                             content=letter(OUTSIDE, "watch this secret", "none").encode())  # fmt: skip
        both = service.until(lambda: len(arrived(headquarters)) == 2 and arrived(headquarters), "both arrive")
        for_ana, for_ben = sorted(both, key=recipients)
        assert recipients(for_ana) == ["ana@contoso.com"] and recipients(for_ben) == ["ben@contoso.com"]
        assert b"X-Site: Nola\r\n" in for_ana.content and b"Subject: [NOLA] watch this secret\r\n" in for_ana.content
        assert b"X-Site" not in for_ben.content and b"Subject: watch this secret\r\n" in for_ben.content
        code, out, _ = service.command("explain", first)
        assert code == 0
        assert "the city of ana@contoso.com is 'New Orleans', which has 'new orleans'" in out
        assert "only told, because the rule is on audit: deleted" in out
        assert "exception: the sender is alice@outside.example" in out

        with service.client() as client:
            hush = letter("mallory@outside.example", "a Top  Hush matter", "").encode()
            code, text = client.letter("mallory@outside.example", "ben@contoso.com", content=hush)
        assert (code, text.split(" (id")[0]) == (550, "5.7.1 Not so")
        held = service.send(OUTSIDE, "carl@contoso.com", content=letter(OUTSIDE, "x", "an ODD one").encode())
        row = service.until(lambda: service.trace(id=held, status="Held"), "it is held")[0]
        assert row["recipient_address"] == "carl@contoso.com"
        told("hold", "release", held)
        service.until(lambda: service.trace(id=held, status="Delivered"), "released, no rule is looked at again")
