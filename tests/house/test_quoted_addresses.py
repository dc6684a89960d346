"""A local part in quotes is the same person as without: known, blocked, listed and found under every spelling."""

from __future__ import annotations

import time
from pathlib import Path

from peers.client import Client, said
from peers.contoso import contoso, mail_users
from peers.listening import arrived
from peers.service import running
from peers.smtp_peer import SmtpPeer

PEOPLE = mail_users("ann", "carl") + '"""odd one""@contoso.com",mail_user\n"""dora""@contoso.com",mail_user\n'
RULES = r"""
[[named_list]]
name = "vip"
kind = "addresses"

[[mail_flow_rule]]
name = "No evil envelope"
sender_address_location = "envelope"
from = ["evil@out.test"]
reject_message = {reason_text = "no envelope"}

[[mail_flow_rule]]
name = "No evil author"
from = ["e\"vil@out.test"]
reject_message = {reason_text = "no author"}

[[mail_flow_rule]]
name = "Nothing to Carl"
sent_to = ["carl@contoso.com"]
reject_message = {reason_text = "no mail"}

[[mail_flow_rule]]
name = "To vip"
recipient_in_list = ["vip"]
set_header = {name = "X-Vip", value = "yes"}
""".replace(r"e\"vil@", r"\"e\\vil\"@")
LETTER = "From: {}\r\nSubject: x\r\n\r\nx\r\n".format
OUTSIDE = "s@out.test"


def to(client: Client, *recipients: str, sender: str = OUTSIDE) -> tuple[int, str]:
    """MAIL and RCPT exactly as written; the last reply."""
    client.ehlo_or_helo_if_needed()
    client.docmd("RSET")
    code, text = said(client.docmd("MAIL", f"FROM:<{sender}>"))
    for recipient in recipients:
        if code == 250:
            code, text = said(client.docmd("RCPT", f"TO:{recipient}"))
    return code, text


def delivered(
    client: Client, *recipients: str, sender: str = OUTSIDE, author: str = OUTSIDE
) -> tuple[int, str]:
    """A whole transaction; the reply to its content."""
    assert to(client, *recipients, sender=sender)[0] == 250
    return client.content(LETTER(author).encode())


def test_quotes_make_nobody_else(tmp_path: Path) -> None:
    with SmtpPeer() as store, running(tmp_path / "s", contoso(store.host) + RULES, recipients=PEOPLE) as service:
        service.told("list", "add", "vip", r'"d\ora"@contoso.com')
        time.sleep(0.3)
        with service.client() as client:
            for known in ('<"ann"@contoso.com>', r'<"a\nn"@contoso.com>', '<"postmaster"@contoso.com>'):
                assert to(client, known)[0] == 250, known
            for unknown in ('<"nobody"@contoso.com>', '<"an n"@contoso.com>'):
                assert to(client, unknown)[0] == 550, unknown
            for carl in ("<carl@contoso.com>", '<"carl"@contoso.com>', r'<"c\arl"@contoso.com>'):
                assert "no mail" in delivered(client, carl)[1], carl
            for evil in ("evil@out.test", '"evil"@out.test', r'"e\vil"@out.test'):
                assert "no envelope" in delivered(client, "<ann@contoso.com>", sender=evil)[1], evil
            for author in ("evil@out.test", 'Evil <"evil"@out.test>', r'"e\vil"@out.test', 'Evil <"evil"@out.test'):
                assert "no author" in delivered(client, "<ann@contoso.com>", author=author)[1], author

            given = r'<"d\ora"@contoso.com> ORCPT=rfc822;"d\ora"@contoso.com'
            code, text = delivered(client, given, r'<"odd\ one"@contoso.com>', sender='"s"@out.test')
            assert code == 250, text
        message = text.rpartition(" ")[2]
        service.settled(message)
        mails = arrived(store, 2)
        lines = {line for mail in mails for line in mail.rcpt}
        # The next hop is told the least quoting, and the original recipient as the sender wrote it.
        assert lines == {
            r'RCPT TO:<dora@contoso.com> ORCPT=rfc822;"d\ora"@contoso.com', 'RCPT TO:<"odd one"@contoso.com>',
        }  # fmt: skip
        assert all("<s@out.test>" in mail.mail for mail in mails)
        marked = {mail.rcpt[0][:14]: b"X-Vip: yes" in mail.content for mail in mails}
        assert marked == {"RCPT TO:<dora@": True, 'RCPT TO:<"odd ': False}

        for spelled in ("dora@contoso.com", r'"d\ora"@contoso.com', '<"dora"@contoso.com>'):
            assert [row["id"] for row in service.trace(recipient=spelled)] == [message], spelled
        assert "dora@contoso.com" in service.command("explain", message, "--recipient", '"dora"@contoso.com')[1]
