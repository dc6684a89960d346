"""Named lists on the running service: rules look into them, an edit acts at once, and nothing of them is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from lockgate.flow.asking import AuditFind, ListAdd, ListImport
from peers.contoso import contoso, mail_users
from peers.listening import arrived, recipients
from peers.service import SOURCE, Service, running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@shop.fabrikam.com"
PEOPLE = mail_users("ana", "ben")
RULES = """
[[named_list]]
name = "partners"
kind = "domains"
[[named_list]]
name = "vip"
kind = "addresses"
[[named_list]]
name = "project names"
kind = "words"

[[mail_flow_rule]]
name = "From partners"
sender_in_list = ["partners"]
set_header = {name = "X-Partner", value = "yes"}

[[mail_flow_rule]]
name = "To vip"
recipient_in_list = ["vip"]
set_header = {name = "X-Vip", value = "yes"}

[[mail_flow_rule]]
name = "Projects"
subject_or_body_contains_list = ["project names"]
except_if_sender_in_list = ["partners"]
reject_message = {reason_text = "Not outside"}
"""
LETTER = "From: {}\r\nSubject: {}\r\n\r\n{}\r\n".format
SEEN = 0.3
"""Seconds after which the next question looks at the lists first (storage/lists.py, LOOK)."""


def changed(service: Service, *words: str) -> None:
    """A command that changes a list, once every worker has to see it."""
    service.told("list", *words)
    time.sleep(SEEN)


def refused(service: Service, sender: str, subject: str, text: str) -> str:
    """The reply that ends a message to ben; "" if it was taken."""
    with service.client() as client:
        code, said = client.letter(sender, "ben@contoso.com", content=LETTER(sender, subject, text).encode())
    return "" if code == 250 else f"{code} {said.split(' (id')[0]}"


def test_mail_meets_lists_and_an_edit_acts_without_a_revision(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host) + RULES, recipients=PEOPLE
    ) as service:  # fmt: skip
        before = service.status()["policy_revision"]
        first = service.send(OUTSIDE, "ana@contoso.com", content=LETTER(OUTSIDE, "x", "hello"))
        service.settled(first)
        assert b"X-Partner" not in arrived(headquarters)[0].content
        code, out, _ = service.command("explain", first)
        assert code == 0 and "the sender is on none of partners; partners has no entries" in out

        changed(service, "add", "partners", "Fabrikam.com")
        changed(service, "add", "vip", "Ana@Contoso.com")
        file = tmp_path / "names.txt"
        file.write_text("# what nobody outside has to know\nProject Falcon\n東京計画\n", "utf-8")
        changed(service, "import", "project names", str(file))
        second = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com",
                              content=LETTER(OUTSIDE, "about project falcon", "hello"))  # fmt: skip
        service.settled(second)
        for_ana, for_ben = sorted(arrived(headquarters)[1:], key=recipients)
        assert b"X-Partner: yes\r\n" in for_ana.content and b"X-Partner: yes\r\n" in for_ben.content
        assert b"X-Vip: yes\r\n" in for_ana.content and b"X-Vip" not in for_ben.content
        code, out, _ = service.command("explain", second)
        assert "shop.fabrikam.com is, or is below, 'Fabrikam.com', which is on the list partners (revision 1)" in out

        assert refused(service, "m@far.example", "x", "the Project\r\nFALCON.") == "550 5.7.1 Not outside"
        assert refused(service, "m@far.example", "x", "the falcon project") == ""
        changed(service, "remove", "partners", "fabrikam.com")
        assert refused(service, OUTSIDE, "project falcon", "hello") == "550 5.7.1 Not outside"
        changed(service, "remove", "project names", "project falcon")
        assert refused(service, OUTSIDE, "project falcon", "hello") == ""
        assert service.status()["policy_revision"] == before

        # What was decided is told with what was known then, whatever is on the lists now.
        code, again, _ = service.command("explain", second)
        assert again == out
        rows = service.done(AuditFind(what="list"))
        assert [row["what"] for row in reversed(rows)] == [
            "list add", "list add", "list import", "list remove", "list remove",
        ]  # fmt: skip
        assert all(row["who"] for row in rows)


def test_a_test_of_rules_and_what_if_look_into_the_lists(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host) + RULES, recipients=PEOPLE
    ) as service:  # fmt: skip
        changed(service, "add", "project names", "Project Falcon")
        eml = tmp_path / "x.eml"
        eml.write_text("From: m@far.example\nSubject: x\n\n" + "filler words\n" * 30_000 + "project falcon\n")
        asked = ("rule", "test", str(eml), "--from", "m@far.example", "--to", "ben@contoso.com")
        (ben,) = service.told(*asked)["recipients"]
        assert {one["rule"]: one["hit"] for one in ben["rules"]} == {
            "From partners": "miss", "To vip": "miss", "Projects": "hit",
        }  # fmt: skip
        assert "the text has 'Project Falcon', which is on the list project names" in ben["rules"][2]["because"]
        (ben,) = service.told(*asked, "--suppose", "list partners = far.example")["recipients"]
        assert [one["hit"] for one in ben["rules"]] == ["hit", "miss", "miss"]
        (ben,) = service.told(*asked, "--suppose", "list vip = unknown on fire")["recipients"]
        assert "on fire" in ben["rules"][1]["because"] and ben["rules"][1]["hit"] == "unknown"
        sent = service.send(OUTSIDE, "ben@contoso.com", content=LETTER(OUTSIDE, "x", "hello"))
        service.settled(sent)
        code, out, _ = service.command("what-if", "--like", sent, "--suppose", "list partners = fabrikam.com")
        assert code == 0 and "which is on the list partners" in out


NEW = """
[[named_list]]
name = "fresh"
kind = "words"
[[named_list]]
name = "people"
kind = "addresses"
[[mail_flow_rule]]
name = "Fresh"
subject_contains_list = ["fresh"]
reject_message = {reason_text = "Fresh"}
[[mail_flow_rule]]
name = "People"
recipient_in_list = ["people"]
reject_message = {reason_text = "People"}
"""


def test_recorded_mail_is_judged_by_the_lists_of_today_where_nobody_asked_them_then(tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host) + RULES, recipients=PEOPLE
    ) as service:  # fmt: skip
        for subject in ("fresh fish", "old"):
            for whom in ("ana@contoso.com", "ben@contoso.com"):
                service.settled(service.send(OUTSIDE, whom, content=LETTER(OUTSIDE, subject, "hello").encode()))
        service.told("list", "declare", "fresh", "--kind", "words")
        service.told("list", "declare", "people", "--kind", "addresses")
        changed(service, "add", "fresh", "Fresh Fish")
        changed(service, "add", "people", "ana@contoso.com")
        (draft / "a.toml").write_text(contoso(headquarters.host) + RULES + NEW)
        code, out, err = service.command("replay", "--policy", str(draft), "--json")
        told = json.loads(out)
        assert code == 1 and (told["recipients"], told["changed"], told["unknown"]) == (4, 3, 0), err
        rules = {one["rule"]: (one["newly"], one["unknown"]) for one in told["rules"]}
        assert rules["Fresh"] == (2, 0) and rules["People"] == (1, 0)

        service.told("shadow", "start", "--policy", str(draft), "--share", "100%")
        letter = LETTER(OUTSIDE, "Fresh fish", "hello").encode()
        service.settled(service.send(OUTSIDE, "ben@contoso.com", content=letter))
        shown = service.until(lambda: judged(service), "the draft has judged it")
        assert (shown["changed"], shown["unknown"]) == (1, 0)


def judged(service: Service) -> dict[str, Any] | None:
    """What the shadow says, once it has seen mail."""
    _, out, _ = service.command("shadow", "show", "--json")
    found: dict[str, Any] = json.loads(out)
    return found if found["messages"] else None


def test_a_large_import_and_two_writers_survive_a_kill(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host) + RULES, recipients=PEOPLE
    ) as service:  # fmt: skip
        file = tmp_path / "partners.csv"
        file.write_text("domain\n" + "".join(f"d{n}.example\n" for n in range(100_000)))
        done = service.told("list", "import", "partners", str(file))
        assert done["added"] == done["entries"] == 100_000
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "lockgate", "--config", str(service.config), "list", "add", "partners", name],
                env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.PIPE,
            )
            for name in ("one.test", "two.test")
        ]  # fmt: skip
        assert [one.wait(60) for one in writers] == [0, 0]
        killed(service)
        shown = service.told("list", "show", "partners")
        assert (shown["entries"], shown["revision"]) == (100_002, 3)
        assert service.told("list", "find", "partners", "x.two.test")["entry"] == "two.test"

        # Killed while a replacement is under way: the old list, or the new one.
        big = "".join(f"e{n}.example\n" for n in range(200_000))
        request = ListImport("partners", big, "big", replace=True)
        code = "import sys; from lockgate.cli.client import ask; from lockgate.flow.asking import read_request; "
        code += "from pathlib import Path; import msgspec; "
        code += "ask(Path(sys.argv[1]), read_request(sys.stdin.buffer.read()), 60)"
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(service.state / "run" / "control.sock")], stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()
        service.until(lambda: list((service.state / "lists").glob("*.new")), "the new table is being written")
        killed(service)
        child.wait(30)
        shown = service.told("list", "show", "partners")
        assert shown["entries"] in (100_002, 200_000)
        assert not list((service.state / "lists").glob("*.new"))
        sender = "x@d77.example" if shown["entries"] == 100_002 else "x@e77.example"
        service.settled(service.send(sender, "ana@contoso.com", content=LETTER(sender, "x", "hello")))
        assert b"X-Partner: yes\r\n" in arrived(headquarters)[-1].content


def killed(service: Service) -> None:
    """Kill all of it at once, and start it again."""
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait()
    (service.state / "run" / "service.json").unlink()
    service.start()


def test_lists_are_in_the_backup(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters:
        with running(
            tmp_path / "old", contoso(headquarters.host) + RULES, recipients=PEOPLE
        ) as service:  # fmt: skip
            many = "".join(f"d{n}.example\n" for n in range(5000))
            service.done(ListImport("partners", many, "many"))
            service.done(ListAdd("partners", ("Fabrikam.com",)))
            service.told("backup", str(tmp_path / "b.tar.zst"))
        config = tmp_path / "new" / "lockgate.toml"
        config.parent.mkdir()
        config.write_text((tmp_path / "old" / "lockgate.toml").read_text())
        restored = Service(config.parent, config)
        code, out, err = restored.command("restore", str(tmp_path / "b.tar.zst"))
        assert code == 0, out + err
        restored.start()
        try:
            shown = restored.told("list", "show", "partners")
            assert (shown["entries"], shown["revision"]) == (5001, 2) and re.search(r"\d", shown["by"])
            assert restored.told("list", "export", "partners")[-1] == "Fabrikam.com"
            restored.settled(restored.send(OUTSIDE, "ana@contoso.com", content=LETTER(OUTSIDE, "x", "hello")))
            assert b"X-Partner: yes\r\n" in arrived(headquarters)[-1].content
        finally:
            assert restored.stop() == 0, restored.said()
