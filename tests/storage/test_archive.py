"""Backups as files: what was written comes back, and what is cut off, changed or hostile is refused."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import msgspec
import pytest
import zstandard

from lockgate.storage.archive import MANIFEST, ArchiveWriter, Manifest, Member, NotABackup, unpack

META = Manifest(0, "1.0", "mx.test", 1_700_000_000.0, {"tasks": 3}, {"outside/000-key.pem": "/etc/key.pem"})


def written(path: Path) -> dict[str, bytes]:
    generator = random.Random(7)
    files = {
        "state/a": b"", "state/deep/er/b": generator.randbytes(3_000_000),
        "state/holes": b"x" + bytes(5_000_000) + b"y" + bytes(3_000_000), "policy/ü.toml": b"a = 1\n",
    }  # fmt: skip
    archive = ArchiveWriter(path)
    for name, data in files.items():
        archive.add_bytes(name, data)
    archive.finish(META)
    return files


def unpacked(path: Path, into: Path) -> Manifest:
    into.mkdir()
    return unpack(path, into)


def test_what_was_written_comes_back_and_zeros_take_no_room(tmp_path):
    files = written(tmp_path / "b")
    manifest = unpacked(tmp_path / "b", tmp_path / "out")
    assert (manifest.hostname, manifest.counts, manifest.places) == ("mx.test", META.counts, META.places)
    for name, data in files.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    assert (tmp_path / "out" / "state" / "holes").stat().st_blocks * 512 < 5_000_000
    with pytest.raises(FileExistsError):
        ArchiveWriter(tmp_path / "b")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_backup_that_was_cut_off_is_refused(tmp_path, share):
    written(tmp_path / "b")
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(NotABackup):
        unpacked(tmp_path / "cut", tmp_path / "out")


def test_a_changed_octet_is_noticed(tmp_path):
    written(tmp_path / "b")
    data = bytearray((tmp_path / "b").read_bytes())
    for n, at in enumerate(random.Random(3).sample(range(20, len(data)), 12)):
        changed = bytearray(data)
        changed[at] ^= 0x10
        (tmp_path / f"c{n}").write_bytes(changed)
        with pytest.raises(NotABackup):
            unpacked(tmp_path / f"c{n}", tmp_path / f"out{n}")


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes], manifest: bytes | None = None) -> None:
    """An archive by somebody else's hand."""
    out = io.BytesIO()
    listed = tuple(Member(info.name, len(data), hashlib.sha256(data).hexdigest()) for info, data in members)
    whole = msgspec.structs.replace(META, format=1, members=listed)
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in [*members, (tarfile.TarInfo(MANIFEST), manifest or msgspec.json.encode(whole))]:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(zstandard.compress(out.getvalue()))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "state/../../evil", "a//b", "./a", "state/\0x"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    packed(tmp_path / "b", (tarfile.TarInfo(name), b"x"))
    with pytest.raises(NotABackup):
        unpacked(tmp_path / "b", tmp_path / "in" if (tmp_path / "in").exists() else tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_links_and_devices_are_refused(tmp_path):
    link = tarfile.TarInfo("state/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    packed(tmp_path / "b", (link, b""))
    with pytest.raises(NotABackup, match="no plain file"):
        unpacked(tmp_path / "b", tmp_path / "out")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [(b'{"format": 2}', "newer Lockgate"), (b"{", "cannot be read"), (b'{"format": 1}', "cannot be read")],
)
def test_what_is_newer_or_no_manifest_is_told_apart(tmp_path, manifest, says):
    packed(tmp_path / "b", manifest=manifest)
    with pytest.raises(NotABackup, match=says):
        unpacked(tmp_path / "b", tmp_path / "out")


def test_a_member_that_the_manifest_does_not_know_is_refused(tmp_path):
    whole = msgspec.json.encode(msgspec.structs.replace(META, format=1))
    packed(tmp_path / "b", (tarfile.TarInfo("state/x"), b"x"), manifest=whole)
    with pytest.raises(NotABackup, match="is not what was written"):
        unpacked(tmp_path / "b", tmp_path / "out")


def test_giving_up_leaves_nothing_behind(tmp_path):
    archive = ArchiveWriter(tmp_path / "b")
    archive.add_bytes("a", b"x" * 100_000)
    archive.abort()
    assert list(tmp_path.iterdir()) == []
