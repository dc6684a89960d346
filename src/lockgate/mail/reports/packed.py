"""Reports come packed, and some are bombs: one container is opened, within bounds, and never a container inside it."""

from __future__ import annotations

import io
import zipfile
import zlib

LARGEST = 20 * 1024 * 1024
"""Octets of an unpacked report."""

LARGEST_PACKED = 10 * 1024 * 1024


class BadReport(ValueError):
    """It is no report that can be read; the message says why."""


def unpacked(data: bytes) -> bytes:
    """The octets of a report: plain, gzip, or the one file of a zip archive. Raises BadReport."""
    if len(data) > LARGEST_PACKED:
        raise BadReport(f"it is larger than {LARGEST_PACKED // 1024**2} MiB")
    if data.startswith(b"\x1f\x8b"):
        return _inflated(zlib.decompressobj(wbits=31), data)
    if data.startswith(b"PK\x03\x04"):
        return _from_zip(data)
    return data


def _inflated(reader: zlib._Decompress, data: bytes) -> bytes:
    try:
        plain = reader.decompress(data, LARGEST + 1)
    except zlib.error as trouble:
        raise BadReport(f"it cannot be unpacked: {trouble}") from None
    if len(plain) > LARGEST:
        raise BadReport(f"it holds more than {LARGEST // 1024**2} MiB")
    if not reader.eof:
        raise BadReport("it is cut off")
    return plain


def _from_zip(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(files) != 1:
                raise BadReport(f"the archive holds {len(files)} files instead of one")
            with archive.open(files[0]) as file:
                plain = file.read(LARGEST + 1)
    except BadReport:
        raise
    except Exception as trouble:
        # Hostile archives make zipfile raise what its parser raises; encrypted ones RuntimeError.
        raise BadReport(f"the archive cannot be read: {trouble}") from None
    if len(plain) > LARGEST:
        raise BadReport(f"it holds more than {LARGEST // 1024**2} MiB")
    return plain
