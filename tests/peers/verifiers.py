"""DKIM verifiers that are not ours: opendkim over files, dkimpy in this process; both take keys out of a table."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import dkim
import pytest

OPENDKIM = shutil.which("opendkim") or shutil.which("opendkim", path="/usr/sbin:/usr/local/sbin")

needs_opendkim = pytest.mark.skipif(OPENDKIM is None, reason="the package opendkim is not installed")

_PASS = re.compile(r"dkim=pass [^;]*?header\.a=(\S+) header\.s=(\S+)")
_FILE = re.compile(r"^opendkim: (\S+?\.eml): verification", re.MULTILINE)


def opendkim(folder: Path, keys: Mapping[str, str], messages: Sequence[bytes]) -> list[set[str]]:
    """The selectors whose signatures opendkim takes for good, for each message; `keys` are TXT records by name."""
    assert OPENDKIM is not None
    folder.mkdir(exist_ok=True)
    table = folder / "dns"
    table.write_text("".join(f"{name} {record}\n" for name, record in keys.items()))
    settings = folder / "opendkim.conf"
    settings.write_text(f"Mode v\nTestDNSData file:{table}\nMinimumKeyBits 1024\n")
    found = []
    for number, message in enumerate(messages):
        path = folder / f"{number}.eml"
        path.write_bytes(message)
        done = subprocess.run(
            [OPENDKIM, "-x", str(settings), "-vv", "-t", str(path)],
            capture_output=True, timeout=60, check=False, text=True, errors="replace",
        )  # fmt: skip
        found.append({selector for _, selector in _PASS.findall(done.stdout + done.stderr)})
    return found


def dkimpy(keys: Mapping[str, str], message: bytes) -> list[bool]:
    """For each signature, from the top, whether dkimpy takes it for good."""

    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        record = keys.get(name.decode().rstrip("."))
        return None if record is None else record.encode()

    def takes(number: int) -> bool:
        try:
            return bool(dkim.DKIM(message).verify(idx=number, dnsfunc=txt))
        except dkim.DKIMException:
            return False

    head = message.partition(b"\r\n\r\n")[0]
    return [takes(number) for number in range(len(re.findall(rb"(?im)^dkim-signature:", head)))]
