"""Message bodies of the measurements: 4, 29 and 289 KB, with an HTML part and an attachment like real ones."""

from __future__ import annotations

import base64
import random
from pathlib import Path

SIZES = {"small": 4 * 1024, "medium": 29 * 1024, "large": 289 * 1024}
MIX = ("small",) * 6 + ("medium",) * 3 + ("large",)
"""Six small, three medium, one large: 40 KB in the mean."""


def write_corpus(folder: Path) -> dict[str, Path]:
    """One file for each size, CRLF line ends; the same octets in every run."""
    chance = random.Random(4711)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for name, size in SIZES.items():
        files[name] = folder / f"{name}.eml"
        files[name].write_bytes(_message(size, chance))
    return files


def _message(size: int, chance: random.Random) -> bytes:
    head = (
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nFrom: Alice <alice@sender.test>\r\nTo: Bob <bob@bench.test>\r\n"
        "Subject: Figures of the month\r\nMessage-ID: <figures@sender.test>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="=_part"\r\n'
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=sender.test; s=s1; h=from:to:subject:date;\r\n"
        f"\tbh={_noise(chance, 32)};\r\n\tb={_noise(chance, 190)}\r\n\r\n"
        "--=_part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nPlease find the figures attached.\r\n\r\n"
        "--=_part\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    lines = [head]
    left = size - len(head) - 14
    while left > 78:
        lines.append(f"{_noise(chance, 57)}\r\n")
        left -= 78
    lines.append("--=_part--\r\n")
    return "".join(lines).encode()


def _noise(chance: random.Random, octets: int) -> str:
    return base64.b64encode(chance.randbytes(octets)).decode()
