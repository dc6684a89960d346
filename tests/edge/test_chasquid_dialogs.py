"""Published dialogs of another server: the classes of its replies are ours too, each difference explained."""

from __future__ import annotations

import ast
import asyncio
import re

from edge.fake_visit import Peer, open_door
from fixtures_folder import fixtures_folder

# (file, number of the check in it): why ours is another class.
EXPLAINED: dict[tuple[str, int], str] = {}


def literal(text: str) -> bytes:
    """The value of the script's Python expression: string literals joined by + and *."""

    def value(node: ast.expr):
        match node:
            case ast.Constant(found) if isinstance(found, str | int):
                return found
            case ast.BinOp(left, ast.Add(), right):
                return value(left) + value(right)
            case ast.BinOp(left, ast.Mult(), right):
                return value(left) * value(right)
        raise ValueError(text)

    return value(ast.parse(text, mode="eval").body).encode()


async def play(script: str, port: int) -> list[tuple[str, str]]:
    """(expected, got) of every check."""
    peer: Peer | None = None
    checks: list[tuple[str, str]] = []
    for line in script.split("\n"):
        if not line.startswith("c "):
            continue
        word, _, rest = line[2:].partition(" ")
        match word:
            case "tcp_connect":
                peer = await Peer.dial(port)
            case "close":
                await peer.hang_up()
            case "->":
                peer.send(rest.encode() + b"\r\n")
            case "~>":
                peer.send(literal(rest))
            case "<~" | "<-" | "<...":
                try:
                    got = await asyncio.wait_for(peer.reply(), 5)
                except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                    got = ""
                expected = re.search(r"[2-5]\d\d", rest)
                checks.append((expected[0] if expected else "", got))
    if peer is not None:
        await peer.hang_up()
    return checks


async def test_reply_classes_agree(tmp_path):
    total, missed = 0, []
    for file in sorted((fixtures_folder("smtp") / "chasquid-dialogs").glob("*.cmy")):
        async with open_door(tmp_path, size_limit=1024 * 1024, rate_window=3600.0) as opened:
            for number, (expected, got) in enumerate(await play(file.read_text(), opened.port)):
                total += 1
                if expected[:1] != got[:1]:
                    missed.append((file.name, number, expected, got))
            verify = file.with_suffix(".cmy.verify")
            if verify.exists():
                (message,) = opened.hall.taken
                assert message.decode().replace("\r\n", "\n").rstrip() == verify.read_text().rstrip()
    unexplained = [miss for miss in missed if miss[:2] not in EXPLAINED]
    assert not unexplained
    assert total > 50 and len(missed) <= total * 0.05
