"""`rule test` on the running service: a message in a file, whole, explained rule by rule for each recipient."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from peers.contoso import contoso
from peers.names import Names
from peers.service import running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@outside.example"
PEOPLE = "address,kind,city\nana@contoso.com,mail_user,New Orleans\nben@contoso.com,mail_user,Seattle\n"
RULES = """
[[anti_phishing_policy]]
name = "Default"

[[mail_flow_rule]]
name = "Site"
recipient_ad_attribute_contains_words = {city = ["new orleans"]}
set_header = {name = "X-Site", value = "Nola"}

[[mail_flow_rule]]
name = "Programs"
attachment_extension_matches_words = ["exe"]
prepend_subject = "[EXE] "

[[mail_flow_rule]]
name = "Later"
enabled = false
delete_message = true

[[mail_flow_rule]]
name = "Falcon"
subject_or_body_contains_words = ["project falcon"]
reject_message = {reason_text = "Not so"}
"""


def letter(last: bytes = b"About Project  Falcon.") -> bytes:
    """What matters lies far behind the beginning, and in base64."""
    text = b"filler words\r\n" * 30_000 + last + b"\r\n"
    program = base64.encodebytes(b"MZ" * 300).decode()
    return (
        f"From: {OUTSIDE}\nSubject: hello\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
        f"{base64.encodebytes(text).decode()}\n--b\nContent-Disposition: attachment; filename=run.exe\n"
        f"Content-Transfer-Encoding: base64\n\n{program}\n--b--\n"
    ).encode()


def test_what_if_with_a_file_says_what_becomes_of_it(tmp_path: Path) -> None:
    secret, odd, plain = tmp_path / "secret.eml", tmp_path / "odd.eml", tmp_path / "plain.eml"
    secret.write_bytes(letter())
    odd.write_bytes(letter(b"About nothing."))
    plain.write_bytes(f"From: {OUTSIDE}\nSubject: hello\n\nGood day.\n".encode())
    draft = tmp_path / "draft"
    draft.mkdir()
    with SmtpPeer() as headquarters, Names({}, {}) as names, running(
        tmp_path / "service", contoso(headquarters.host) + RULES, recipients=PEOPLE, dns=names.settings
    ) as service:  # fmt: skip

        def asked(eml: Path, *more: str) -> tuple[int, dict]:
            code, out, err = service.command(
                "what-if", str(eml), "--from", OUTSIDE, "--to", "ben@contoso.com", "--ip", "192.0.2.10",
                "--suppose", "dmarc = pass", "--json", *more,
            )  # fmt: skip
            assert out, err
            return code, json.loads(out)["parts"][0]

        for eml, code in ((secret, 550), (odd, 250), (plain, 250)):
            with service.client() as client:
                said, text = client.letter(OUTSIDE, "ben@contoso.com", content=eml.read_bytes().replace(b"\n", b"\r\n"))
            assert said == code, text
            refused, part = asked(eml)
            (ben,) = part["recipients"]
            assert refused == (code == 550) == (ben["what"] == "refused"), ben
            assert "not asked" not in json.dumps(part)
        assert "550 5.7.1 Not so" in json.dumps(asked(secret)[1])
        (draft / "contoso.toml").write_text(contoso(headquarters.host) + RULES.replace("project falcon", "good day"))
        assert [asked(eml, "--policy", str(draft))[0] for eml in (secret, plain)] == [0, 1]
        assert asked(secret, "--revision", str(service.status()["policy_revision"]))[0] == 1
        assert asked(secret, "--suppose", "text = unknown it is too long")[0] == 1, "a supposition wins"
        service.until(lambda: len(headquarters.mails) == 2, "what is taken arrives")
        arrived = {mail.content.split(b"Subject: ")[1].split(b"\r\n")[0] for mail in headquarters.mails}
        assert arrived == {b"[EXE] hello", b"hello"}


def test_every_rule_is_explained_for_a_message_in_a_file(tmp_path: Path) -> None:
    eml = tmp_path / "falcon.eml"
    eml.write_bytes(letter())
    draft = tmp_path / "draft"
    draft.mkdir()
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host) + RULES, recipients=PEOPLE
    ) as service:  # fmt: skip
        asked = ("rule", "test", str(eml), "--from", OUTSIDE, "--to", "ana@contoso.com", "--to", "ben@contoso.com")
        before = service.status()["policy_revision"]
        code, out, err = service.command(*asked, "--json")
        assert code == 0, err
        told = json.loads(out)
        ana, ben = told["recipients"]
        assert [(one["rule"], one["hit"]) for one in ana["rules"]] == [
            ("Site", "hit"), ("Programs", "hit"), ("Later", "miss"), ("Falcon", "hit"),
        ]  # fmt: skip
        assert [one["hit"] for one in ben["rules"]] == ["miss", "hit", "miss", "hit"]
        assert "run.exe" in ana["rules"][1]["because"] and "it is disabled" in ana["rules"][2]["because"]
        assert "'project falcon'" in ana["rules"][3]["because"] and "550 5.7.1 Not so" in ana["rules"][3]["effect"]
        assert told["policy"] == f"revision {before}" and ben["what"] == "refused"

        code, out, _ = service.command(*asked)
        assert code == 0 and re.search(r"hit +Falcon +the text has", out)
        assert re.search(r"miss +Later +it is disabled", out)

        (draft / "contoso.toml").write_text(contoso(headquarters.host))
        (draft / "rules.toml").write_text(RULES.replace("project falcon", "project hawk"))
        code, out, err = service.command(*asked, "--policy", str(draft), "--json")
        assert code == 0, err
        assert [one["hit"] for one in json.loads(out)["recipients"][1]["rules"]] == ["miss", "hit", "miss", "miss"]
        assert json.loads(out)["policy"].startswith("a draft")

        code, out, _ = service.command(*asked, "--suppose", "text = unknown it is too long", "--json")
        assert code == 0 and json.loads(out)["recipients"][0]["rules"][-1]["hit"] == "unknown"

        code, out, _ = service.command(*asked)
        assert "Supposed: dmarc = pass." in out, "else forged mail is turned away before rules are looked at"
        code, out, _ = service.command(*asked, "--suppose", "dmarc = fail reject")
        assert code == 0 and "Supposed: dmarc = fail reject." in out and "5.7.509" in out
        code, out, _ = service.command("what-if", "--from", OUTSIDE, "--to", "ana@contoso.com", "--ip", "192.0.2.1")
        assert code == 1 and "of a supposed message nobody is asked; suppose the answer: dmarc = pass" in out

        huge = tmp_path / "huge.eml"
        with huge.open("wb") as file:
            file.truncate(50 * 1024 * 1024 + 1)
        code, _, err = service.command("rule", "test", str(huge), "--from", OUTSIDE, "--to", "ana@contoso.com")
        assert code == 2 and "longer than 50 MB" in err
        code, _, err = service.command("rule", "test", "gone.eml", "--from", OUTSIDE, "--to", "ana@contoso.com")
        assert code == 2 and "gone.eml cannot be read" in err
        assert service.status()["policy_revision"] == before and not headquarters.mails

        code, out, _ = service.command(*asked, "--to", "nobody@contoso.com", "--organisation", "contoso")
        assert code == 0 and "No rule is looked at: directory" in out.split("nobody@contoso.com: ")[1]
        service.told("ip-list", "block", "203.0.113.7", "--operator")
        code, out, _ = service.command(*asked, "--ip", "203.0.113.7")
        assert code == 0 and "No rule is looked at, because everything is refused: 5" in out
