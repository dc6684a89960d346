"""T-CONN-0 and `connector advise`: one TOML document on standard output, files, findings and exit codes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from doors.desk_here import Here, desk_here
from doors.terminal import run
from lockgate.cli import connector_advise, connector_dialogue
from lockgate.policy.advice import Mailboxes
from lockgate.policy.advice_answers import Answers, Partner, Security, Site

OWN = ("own-servers", "--domain", "contoso.com", "--next-hop", "mail.contoso.com", "--own-certificate", "contoso.com")
ALL = (
    "both", *OWN[1:], "--centralised", "--device", "203.0.113.40", "--gateway", "198.51.100.0/24",
    "--partner", "contosobank.com,certificate=*.contosobank.com", "--partner", "a.test,tls=none,address=192.0.2.0/28",
    "--site", "NOLA,host=gw.nola.contoso.com,city=New Orleans", "--relay", "smart.isp.example:587",
)  # fmt: skip


def advise(*words: str) -> tuple[int, str, str]:
    return run("connector", "advise", *words)


def test_t_conn_0_the_answer_is_none_and_the_service_is_not_needed() -> None:
    assert advise("all", "hosted") == (0, "none\n", "")
    code, out, _ = advise("hosted", "--json")
    assert code == 0 and json.loads(out) == {"mailboxes": "hosted", "connectors": []}
    code, out, _ = advise("hosted", "--domain", "contoso.com")
    assert code == 0 and "# none: no connector is needed" in out and tomllib.loads(out)["accepted_domain"]


def test_t_conn_0_by_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_advise.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(connector_advise.typer, "prompt", lambda text, **more: more.get("default", "hosted"))
    monkeypatch.setattr(connector_advise.typer, "confirm", lambda text, **more: False)
    assert advise() == (0, "none\n", "")


def test_what_is_printed_is_a_document_that_check_accepts(tmp_path: Path) -> None:
    code, out, err = advise(*ALL)
    assert (code, err) == (0, "")
    read = tomllib.loads(out)
    assert {"organisation", "accepted_domain", "inbound_connector", "outbound_connector", "mail_flow_rule"} == set(read)
    assert out.count("\n# ") > 20, "with the reasons"
    (tmp_path / "all.toml").write_text(out)
    assert run("check", str(tmp_path))[0] == 0
    code, out, _ = advise(*ALL, "--json")
    told = json.loads(out)
    assert set(told) == {"mailboxes", "organisation", "connectors", "documents", "findings", "other_side", "prove",
                         "written"}  # fmt: skip
    assert set(told["documents"]) == {"organisation.toml", "connectors.toml"} and told["findings"] == []
    assert all(set(row) == {"table", "name", "connector_type", "needed", "why"} for row in told["connectors"])
    assert any(line.startswith("lockgate connector validate") for line in told["prove"])


def test_written_files_are_sound_and_overwrite_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    code, out, _ = advise(*ALL, "--write", str(folder))
    assert code == 0 and sorted(path.name for path in folder.iterdir()) == ["connectors.toml", "organisation.toml"]
    assert f"# written: {folder / 'connectors.toml'}" in out and "[[" not in out
    assert run("check", str(folder))[0] == 0
    assert advise(*ALL, "--write", str(folder))[0] == 0, "the same again says nothing new"
    (folder / "connectors.toml").write_text("# mine\n")
    code, _, err = advise(*ALL, "--write", str(folder))
    assert code == 1 and "says something else" in err and (folder / "connectors.toml").read_text() == "# mine\n"


def test_beside_a_folder_the_exit_code_tells(tmp_path: Path) -> None:
    advise("hosted", "--domain", "contoso.com", "--write", str(tmp_path))
    code, out, _ = advise(*OWN[:1], "--policy", str(tmp_path))
    assert code == 1 and "# missing: inbound_connector 'Our servers'" in out and "--own-certificate" in out
    code, out, _ = advise(*OWN, "--policy", str(tmp_path), "--write", str(tmp_path))
    assert code == 1 and "connectors-advised.toml" in out
    assert run("check", str(tmp_path))[0] == 0
    code, out, _ = advise("own-servers", "--policy", str(tmp_path))
    assert (code, out) == (0, "none\n")
    code, out, _ = advise("hosted", "--policy", str(tmp_path))
    assert code == 0 and "# needless: outbound_connector 'To our servers'" in out, "needless is no failure"
    code, out, _ = advise("own-servers", "--policy", str(tmp_path), "--partner", "bank.test", "--json")
    assert code == 0 and [one["kind"] for one in json.loads(out)["findings"]] == ["wanting", "wanting"]


def test_answers_that_make_no_sense_are_misuse(tmp_path: Path) -> None:
    for words, option in (
        (("own-servers", "--domain", "contoso.com"), "--next-hop"),
        (("hosted", "--device", "203.0.113.40"), "--domain"),
        (("hosted", "--domain", "contoso.com", "--partner", "bank.test,tls=loud"), "--partner"),
        (("hosted", "--domain", "contoso.com", "--site", "NOLA"), "--site"),
        (("own-servers", *OWN[1:5], "--own-certificate", "mail.other.example"), "--own-certificate"),
        (("hosted", "--domain", "contoso.com", "--partner", f"bank.test,tls=ca,ca_file={'x' * 4097}"), "--domain"),
        (("hosted", "--domain", "contoso.com", "--site", f"{'x' * 65},host=a.test,domain=b.test"), "--domain"),
    ):
        code, out, err = advise(*words)
        assert code == 2 and err.startswith(option) and out == "", (words, err)
    (tmp_path / "a.toml").write_text("nonsense = 1\n")
    code, _, err = advise("hosted", "--policy", str(tmp_path))
    assert code == 1 and "a.toml:1" in err


def test_the_dialogue_asks_for_all_of_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([
        "203.0.113.40, 203.0.113.41", "bank.test", "name", "*.bank.test", "", "free.test", "any", "192.0.2.0/28", "",
        "", "198.51.100.0/24", "NOLA", "gw.nola.contoso.com", "", "city", "New Orleans", "",
        "mail.contoso.com", "", "192.0.2.10", "smart.isp.example", "contoso.com contoso.net",
    ])  # fmt: skip
    asked: list[str] = []

    def prompt(text: str, **more: object) -> str:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr(connector_dialogue.typer, "prompt", prompt)
    monkeypatch.setattr(connector_dialogue.typer, "confirm", lambda text, **more: True)
    found = connector_dialogue.asked(Answers(Mailboxes.BOTH), devices=False, partners=False)
    assert found.devices == ("203.0.113.40", "203.0.113.41") and found.centralised
    assert found.partners == (
        Partner("bank.test", Security.NAME, "*.bank.test"), Partner("free.test", addresses=("192.0.2.0/28",)),
    )  # fmt: skip
    assert found.gateway_addresses == ("198.51.100.0/24",) and found.enhanced_filtering
    assert found.sites == (Site("NOLA", ("gw.nola.contoso.com",), "", "city", ("New Orleans",)),)
    assert (found.next_hops, found.addresses, found.relay) == (
        ("mail.contoso.com",), ("192.0.2.10",), "smart.isp.example"
    )  # fmt: skip
    assert found.domains == ("contoso.com", "contoso.net") and len(asked) == 22


async def test_beside_what_the_service_has_in_force(tmp_path: Path) -> None:
    async with desk_here(tmp_path) as here:
        await on_the_service(here)


async def on_the_service(here: Here) -> None:
    code, out, _ = await here.run("connector", "advise", "hosted", "--in-force")
    assert (code, out) == (0, "none\n")
    code, out, _ = await here.run("connector", "advise", "own-servers", "--in-force", "--json")
    told = json.loads(out)
    assert code == 1 and told["organisation"] == "contoso" and {one["kind"] for one in told["findings"]} == {"missing"}
    added = await here.run("connector", "add", "Devices", "--inbound", "connector_type=on_premises",
                           "sender_ip_addresses=192.0.2.7")  # fmt: skip
    assert added[0] == 0
    code, out, _ = await here.run("connector", "advise", "hosted", "--in-force")
    assert code == 0 and "# needless: inbound_connector 'Devices'" in out
    assert (await here.run("connector", "advise", "hosted", "--in-force", "--device", "192.0.2.7"))[1] == "none\n"
    code, _, err = await here.run("connector", "advise", "hosted", "--in-force", "--organisation", "nobody")
    assert code == 2 and "--organisation" in err
