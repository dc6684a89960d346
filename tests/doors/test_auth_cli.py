"""`lockgate auth check` over real DNS on loopback: results, reasons, the field we would write, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, public_record, sign
from lockgate.mail.headers import read_headers
from peers.dns_server import DnsServer

ROOT = Path(__file__).resolve().parents[2]
KEY = SigningKey("d.test", "s", rsa.generate_private_key(65537, 2048))
RECORD = public_record(KEY)
ZONE = {
    ("d.test", "TXT"): ['"v=spf1 ip4:192.0.2.1 -all"'],
    ("_dmarc.d.test", "TXT"): ['"v=DMARC1; p=reject"'],
    ("s._domainkey.d.test", "TXT"): [" ".join(f'"{RECORD[at : at + 200]}"' for at in range(0, len(RECORD), 200))],
    ("plain.test", "A"): ["192.0.2.9"],
}
LETTER = b"From: Ann <ann@d.test>\r\nTo: bob@x.test\r\nSubject: hello\r\n\r\nA body\r\n"


def signed(letter: bytes = LETTER) -> bytes:
    headers = read_headers(letter)
    return sign(headers.fields, Bodies(letter[headers.end :]), KEY, at=1_760_000_000) + letter


async def lockgate(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lockgate", *arguments,
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaint = await process.communicate()
    return process.returncode or 0, out.decode(), complaint.decode()


async def check(
    folder: Path, letter: bytes, *more: str, peer: str = "192.0.2.1", sender: str = "ann@d.test", modes=None
):
    file = folder / "letter.eml"
    file.write_bytes(letter)
    async with DnsServer(ZONE, dict(modes or {})) as server:
        where = f"{server.address[0]}:{server.address[1]}"
        return await lockgate(
            "auth", "check", str(file), "--ip", peer, "--helo", "mx.d.test", "--from", sender, "--resolver", where,
            *more, cwd=folder,
        )  # fmt: skip


async def test_a_proven_author_passes(tmp_path):
    code, out, complaint = await check(tmp_path, signed(), "--json")
    told = json.loads(out)
    assert (code, complaint) == (0, "")
    assert (told["spf"]["verdict"], told["spf"]["matched"]) == ("pass", "ip4:192.0.2.1")
    assert [one["verdict"] for one in told["dkim"]] == ["pass"]
    assert (told["dmarc"]["verdict"], told["dmarc"]["aligned_by"]) == ("pass", ["spf", "dkim=d.test"])
    assert told["arc"]["verdict"] == "none"
    assert "dmarc=pass action=none header.from=d.test" in told["field"]
    assert "compauth=pass reason=100" in told["field"]
    assert (told["composite"]["verdict"], told["composite"]["reason"]) == ("pass", "100")


async def test_line_ends_of_unix_do_not_break_a_signature(tmp_path):
    code, out, _ = await check(tmp_path, signed().replace(b"\r\n", b"\n"), "--json", peer="203.0.113.9")
    told = json.loads(out)
    assert code == 0
    assert (told["spf"]["verdict"], told["dmarc"]["aligned_by"]) == ("fail", ["dkim=d.test"])


async def test_a_forged_author_is_a_finding_and_every_reason_is_shown(tmp_path):
    code, out, _ = await check(tmp_path, LETTER, peer="203.0.113.9", sender="x@plain.test")
    assert code == 1
    assert "the domain publishes no SPF record" in out
    assert "the message is not signed" in out
    assert "nothing that passed is aligned; the record at d.test wants reject" in out
    assert "Authentication-Results: " in out
    assert "dmarc=fail" in out
    assert "compauth=fail reason=000" in out
    assert "fail (000)" in out


@pytest.mark.parametrize("mode", ["servfail", "refused", "garbage"])
async def test_dns_that_does_not_answer_is_neither_pass_nor_fail(tmp_path, mode):
    modes = dict.fromkeys(("d.test", "_dmarc.d.test", "s._domainkey.d.test"), mode)
    if mode == "garbage":  # ignored until the time is up; one name is enough to see it
        modes = {"_dmarc.d.test": mode}
    code, out, _ = await check(tmp_path, signed(), "--json", modes=modes)
    assert code == 3
    assert json.loads(out)["dmarc"]["verdict"] == "temperror"


async def test_the_null_sender_is_checked_by_its_greeting(tmp_path):
    code, out, _ = await check(tmp_path, signed(), "--json", sender="<>")
    told = json.loads(out)
    assert (code, told["spf"]["domain"], told["spf"]["verdict"]) == (0, "mx.d.test", "none")


async def test_hostile_text_stays_text(tmp_path):
    letter = b"DKIM-Signature: v=1; d=\x1b[31mevil; s=\x07x; a=rsa-sha256; h=from; b=AA; bh=AA\r\n" + LETTER
    code, out, _ = await check(tmp_path, letter)
    assert code == 0  # SPF is aligned
    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--ip", "nowhere"), "'nowhere' is no IP address"),
        (("--from", "no address"), "'no address' is no address"),
        (("--resolver", "dns.example"), "'dns.example' is no resolver"),
        (("--resolver", "127.0.0.1:0"), "'127.0.0.1:0' is no resolver"),
    ],
)
async def test_misuse_is_said_clearly(tmp_path, change, said):
    code, out, complaint = await check(tmp_path, LETTER, *change)
    assert (code, out) == (2, "")
    assert said in complaint


async def test_a_file_that_is_not_there(tmp_path):
    code, _, complaint = await lockgate(
        "auth", "check", "gone.eml", "--ip", "192.0.2.1", "--helo", "h", "--from", "<>", "--resolver", "127.0.0.1",
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 2
    assert "gone.eml" in complaint
