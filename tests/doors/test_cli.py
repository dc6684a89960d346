"""The command line over a real control socket: exit codes, JSON, plain lines, what-if, and hostile mail content."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from doors.desk_here import EVIL, desk_here
from lockgate.seams import MOST_TASKS


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as found:
        yield found


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


async def test_queue_list_shows_lanes_then_messages(here):
    code, out, _ = await here.run("queue", "list")
    assert code == 0
    assert re.search(r"^contoso/HQ +1 +0", out, re.M)
    assert harmless(out) and "\t" not in out
    code, out, _ = await here.run("queue", "list", "--lane", "contoso/HQ")
    assert re.search(r"^m1 +contoso/HQ +x@out.test +ann@contoso.test +3 +2023-11-14 22:13:20Z +451", out, re.M)
    assert "m2" not in out


async def test_queue_show_and_what_does_not_wait(here):
    code, out, _ = await here.run("queue", "show", "m2")
    assert code == 0 and "y@far.test" in out and harmless(out)
    code, _, err = await here.run("queue", "show", "gone")
    assert code == 1 and "trace show gone" in err


@pytest.mark.parametrize(
    ("action", "word"), [("retry", "made due now"), ("hold", "held"), ("release", "released"), ("delete", "deleted")]
)
async def test_every_write_has_what_if_and_an_audit_line(here, action, word):
    code, out, _ = await here.run("queue", action, "--lane", "contoso/HQ", "--what-if")
    assert (code, here.keeping.edits, here.audit.rows) == (0, [], [])
    assert f"1 task would be {word}; nothing was changed." in out and "m1" in out
    code, out, _ = await here.run("queue", action, "m1")
    assert (code, out) == (0, f"1 task {word}.\n")
    ((done, task, by),) = here.keeping.edits
    assert (done, task) == (action, "m1") and by.startswith(f"{os.getuid()} ")
    (audit,) = here.audit.rows
    before = audit.pop("before")
    assert [(task["id"], task["lane"], task["recipients"]) for task in before] == [
        ("m1", "contoso/HQ", ["ann@contoso.test"])
    ]
    assert audit == {"by": by, "after": None, "did": f"queue {action}", "count": 1, "for_id": "m1"}


async def test_nothing_is_edited_without_a_filter(here):
    for arguments in (["queue", "delete"], ["queue", "delete", "m1", "--lane", "x"]):
        code, _, err = await here.run(*arguments)
        assert code == 2 and err
    assert here.keeping.edits == []
    code, _, err = await here.run("queue", "retry", "gone")
    assert code == 1 and "No waiting message matches" in err


ALL_IDS = ("m1", "gone", "m2", "m1")


@pytest.mark.parametrize("action", ["retry", "hold", "release", "delete"])
async def test_an_unknown_id_is_named_and_keeps_nobody_from_the_others(here, action):
    code, out, err = await here.run("queue", action, *ALL_IDS, "--what-if")
    assert code == 1 and "2 tasks would be" in out and "m1" in out and "m2" in out
    assert err == "No waiting message matches: gone\n" and here.keeping.edits == []
    code, out, err = await here.run("queue", action, *ALL_IDS)
    assert code == 1 and out.startswith("2 tasks ") and err == "No waiting message matches: gone\n"
    assert [(done, message) for done, message, _ in here.keeping.edits] == [(action, "m1"), (action, "m2")]


async def test_json_of_several_ids_is_one_document(here):
    code, out, _ = await here.run("queue", "hold", *ALL_IDS, "--what-if", "--json")
    told = json.loads(out)
    assert (code, told["count"], [task["id"] for task in told["tasks"]]) == (1, 2, ["m1", "m2"])
    code, out, _ = await here.run("queue", "hold", *ALL_IDS, "--json")
    assert (code, json.loads(out)) == (1, {"action": "hold", "what_if": False, "count": 2, "unknown": ["gone"]})
    code, out, _ = await here.run("queue", "hold", "gone", "--json")
    assert (code, json.loads(out)) == (1, {"unknown": ["gone"]})
    code, out, _ = await here.run("queue", "hold", "m1", "--json")
    assert (code, json.loads(out)["count"]) == (0, 1)


@pytest.mark.parametrize("json_", [[], ["--json"]])
async def test_what_was_done_is_told_when_the_keeper_goes_away_in_between(here, json_):
    edit = here.keeping.queue_edit

    async def and_goes(*order):
        count = await edit(*order)
        here.keeping.away = True
        return count

    here.keeping.queue_edit = and_goes
    code, out, err = await here.run("queue", "delete", "m1", "m2", *json_)
    assert code == 3 and "keeper" in err
    assert json.loads(out)["count"] == 1 if json_ else out == "1 task deleted.\n"
    code, out, err = await here.run("queue", "delete", "m1", "m2")
    assert (code, out) == (3, "")


async def test_a_list_that_is_cut_says_so_and_what_if_counts_all(here):
    (one, _) = here.keeping.tasks
    here.keeping.tasks = [{**one, "id": f"m{number}", "task": number} for number in range(MOST_TASKS + 30)]
    code, out, err = await here.run("queue", "list", "--lane", "contoso/HQ", "--json")
    assert (code, len(json.loads(out)), err) == (0, 5000, "The first 5000 of 5030 tasks are shown.\n")
    code, out, err = await here.run("queue", "delete", "--lane", "contoso/HQ", "--what-if")
    assert "5030 tasks would be deleted; nothing was changed." in out and "first 5000 of 5030" in err
    code, out, err = await here.run("queue", "delete", "--lane", "contoso/HQ")
    assert (code, out, err) == (0, "5030 tasks deleted.\n", "")
    here.keeping.tasks = [dict(one)]
    assert (await here.run("queue", "list", "--lane", "contoso/HQ"))[2] == ""


async def test_trace_find_filters_and_refusals(here):
    code, out, _ = await here.run("trace", "find", "--ip", "192.0.2.2", "--status", "refused", "--since", "2h")
    assert code == 0
    assert "nobody@contoso.test" in out and "550 5.4.1" in out and "m1" not in out
    assert here.keeping.asked[-1]["since"] == "1700002800.0"
    assert here.keeping.asked[-1]["status"] == "Refused"
    code, out, _ = await here.run("trace", "find", "--sender", "stranger@x.test")
    assert code == 1 and "Nothing" in out


async def test_times_are_read_or_refused(here):
    await here.run("trace", "find", "--since", "2023-11-14T22:00:00Z", "--until", "2023-11-15")
    assert here.keeping.asked[-1] == {"since": "1699999200.0", "until": "1700006400.0"}
    for wrong in ("yesterday", "nan", "99999-01-01"):
        code, _, err = await here.run("trace", "find", "--since", wrong)
        assert code == 2 and "is no time" in err
    code, _, err = await here.run("trace", "find", "--status", "Lost")
    assert code == 2 and "Delivered" in err


async def test_json_is_documented_rows_and_ascii(here):
    code, out, _ = await here.run("trace", "find", "--id", "m1", "--json")
    assert code == 0 and out.isascii() and harmless(out)
    (row,) = json.loads(out)
    assert row["subject"] == EVIL and row["status"] == "Pending"
    for command in (["queue", "list"], ["queue", "show", "m1"], ["status"], ["trace", "show", "m1"], ["reload"]):
        code, out, _ = await here.run(*command, "--json")
        assert code == 0 and json.loads(out)


async def test_trace_show_tells_the_story(here):
    code, out, _ = await here.run("trace", "show", "K2")
    assert code == 0 and "Access denied" in out and harmless(out)
    code, _, err = await here.run("trace", "show", "nothing")
    assert code == 1 and "No message has the id nothing" in err


async def test_status_and_alarms(here):
    code, out, _ = await here.run("status")
    assert code == 0 and "policy revision" in out and "127.0.0.1:2525" in out
    assert "ALARM AT" in out and harmless(out)
    _, out, _ = await here.run("status", "--alarms", "0")
    assert "ALARM" not in out


async def test_reload_is_all_or_nothing(here):
    here.revisions.texts["rules.toml"] = "\n[[mail_flow_rule]]\nname = 'x'\nwhen = 1\n"
    for flag in ([], ["--what-if"]):
        code, _, err = await here.run("reload", *flag)
        assert code == 1 and "rules.toml:4: mail_flow_rule[0].when: there is no 'when' here" in err
    code, out, _ = await here.run("reload", "--json")
    assert code == 1 and json.loads(out)["problems"][0]["line"] == 4
    here.revisions.texts["rules.toml"] = "[operator]\nip_block_list = ['192.0.2.66']\n"
    await here.run("reload", "--what-if")
    assert (len(here.revisions.kept), here.audit.rows) == (1, [])
    code, out, _ = await here.run("reload")
    assert (code, len(here.revisions.kept)) == (0, 2)
    assert [row["did"] for row in here.audit.rows] == ["reload", "operator added"]


async def test_exit_code_three_when_nobody_answers(here):
    here.keeping.away = True
    code, _, err = await here.run("queue", "list")
    assert code == 3 and "keeper" in err
    code, _, err = await here.run("--control", str(here.path) + ".gone", "queue", "list", control=False)
    assert code == 3 and "does not run" in err


async def test_exit_code_two_for_misuse(here, tmp_path, monkeypatch):
    assert (await here.run("queue", "frobnicate"))[0] == 2
    assert (await here.run("trace", "find", "--limit", "0"))[0] == 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCKGATE_CONFIG", raising=False)
    code, _, err = await here.run("status", control=False)
    assert code == 2 and "--config" in err


async def test_config_check_and_serve_use_the_file(here, tmp_path):
    file = tmp_path / "lockgate.toml"
    file.write_text('hostname = "mx.contoso.test"\nworkrs = 1\n')
    code, _, err = await here.run("--config", str(file), "config", "check", control=False)
    assert code == 1 and f"{file}:2: workrs: this key is unknown" in err
    (tmp_path / "policy").mkdir()
    file.write_text('hostname = "mx.contoso.test"\n')
    code, out, _ = await here.run("--config", str(file), "config", "check", control=False)
    assert code == 0 and "sound" in out
    code, _, _ = await here.run("--config", str(file), "serve", control=False)
    assert code == 0 and here.served == [file]


async def test_a_terminal_gets_a_table_without_escapes_of_others(here):
    import asyncio

    def on_a_terminal() -> bytes:
        master, slave = pty.openpty()
        script = (
            "import sys; from lockgate.cli.asked import Switchboard; from lockgate.cli.commands import main;"
            "main(Switchboard(*[None] * len(Switchboard._fields)), sys.argv[1:])"
        )
        command = [sys.executable, "-c", script, "--control", str(here.path), "trace", "find"]
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root / "src"), "TERM": "xterm", "COLUMNS": "200"}
        process = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=environment)
        os.close(slave)
        data = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            data += piece
        assert process.wait(30) == 0, data
        os.close(master)
        return data

    data = await asyncio.to_thread(on_a_terminal)
    text = data.decode()
    assert "RECIPIENT" in text and "nobody@contoso.test" in text
    assert "\x1b[2J" not in text and "\x1b]0" not in text and "\x07" not in text and "\u202e" not in text
    assert "[bold" in text  # shown as the text it is, not taken as markup


def test_the_installed_command(tmp_path):
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    version = subprocess.run(
        [sys.executable, "-m", "lockgate", "--version"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert re.fullmatch(r"lockgate \d+\.\d+\.\d+\n", version.stdout), version.stderr
    gone = subprocess.run(
        [sys.executable, "-m", "lockgate", "--control", str(tmp_path / "none"), "status"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert gone.returncode == 3 and "does not run" in gone.stderr


async def test_the_audit_is_found_and_exported_without_active_cells(here):
    here.audited = [
        {"at": 1_700_000_000.0, "who": "1000 ann", "what": "queue release", "refused": False, "before": None,
         "after": {"name": EVIL}, "details": {"for_id": "=HYPERLINK(1)", "count": 1}},
        {"at": 1_700_000_000.0, "who": "=cmd|' /C calc'!A0", "what": "+x", "refused": True, "before": "@SUM(1)",
         "after": EVIL, "details": {}},
    ]  # fmt: skip
    code, out, _ = await here.run("audit", "find", "--who", "ann", "--since", "1h")
    assert code == 0 and "queue release" in out and "2023-11-14 22:13:20Z" in out and harmless(out)
    asked, since, until = here.audit_asked[-1]
    assert (asked.who, since, until) == ("ann", 1_700_010_000.0 - 3600, None)
    code, out, _ = await here.run("audit", "find", "--csv")
    assert code == 0
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert rows[0] == ["at", "who", "what", "details", "before", "after", "refused"]
    assert len(rows) == 3
    assert not [cell for row in rows[1:] for cell in row if cell[:1] in "=+-@\t\r" and cell]
    code, out, _ = await here.run("audit", "find", "--json")
    assert json.loads(out) == here.audited
    here.audited = []
    code, out, _ = await here.run("audit", "find", "--refused")
    assert code == 1 and "Nothing in the audit" in out
    code, _, err = await here.run("audit", "find", "--since", "yesterday")
    assert code == 2 and "no time" in err
