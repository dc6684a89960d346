"""The promises of seams.Blocks, kept by the file and by the fake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lockgate.mail.blocks import Block, BlockList, Lifted
from lockgate.mail.findings import NOT_BLOCKED, Unknown
from lockgate.seams import Blocks
from lockgate.storage.blocks import BlockFile
from lockgate.testing.blocks import MemoryBlocks

ONE = Block("b1", "contoso", "Branch", 100.0, "volume", "lockgate", suspected=True, evidence={"volume": {"count": 7}})


@pytest.fixture(params=["file", "memory"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Blocks, Blocks]:
    """Who changes, and who only reads in another process."""
    if request.param == "memory":
        kept = MemoryBlocks()
        return kept, kept
    return BlockFile(tmp_path), BlockFile(tmp_path)


def adding(block: Block) -> Callable[[BlockList], BlockList]:
    return lambda before: msgspec.structs.replace(before, blocks=(*before.blocks, block))


def test_a_block_is_seen_by_others_at_the_next_question(both):
    writer, reader = both
    assert reader.state("contoso", "Branch") == NOT_BLOCKED and reader.listed() == BlockList()
    writer.change(adding(ONE))
    assert reader.state("contoso", "Branch") == ONE.answer
    assert reader.state("fabrikam", "Branch") == NOT_BLOCKED
    assert reader.listed().of("contoso", "Branch") == ONE

    def lift(before: BlockList) -> BlockList:
        return BlockList((), (Lifted(ONE, 200.0, "0 root", "cleaned"),))

    writer.change(lift)
    assert reader.state("contoso", "Branch") == NOT_BLOCKED
    assert reader.listed().lifted_at("contoso", "Branch") == 200.0


def test_a_damaged_file_is_unknown_until_it_is_mended(tmp_path):
    writer, reader = BlockFile(tmp_path), BlockFile(tmp_path)
    writer.change(adding(ONE))
    path = tmp_path / "connectors" / "blocked.json"
    good = path.read_bytes()
    path.write_bytes(b"{")
    found = reader.state("contoso", "Branch")
    assert isinstance(found, Unknown) and "damaged" in found.why
    with pytest.raises(OSError, match="damaged"):
        reader.listed()
    path.write_bytes(good)
    assert reader.state("contoso", "Branch") == ONE.answer
    path.unlink()
    assert reader.state("contoso", "Branch") == NOT_BLOCKED


def test_the_fake_can_be_broken():
    assert MemoryBlocks(broken="gone").state("contoso", "Branch") == Unknown("gone")
