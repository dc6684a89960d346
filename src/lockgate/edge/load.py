"""How many connections are open, per peer and in all, over every worker: one shared table, no locks.

Each worker slot owns a slice of a memory-mapped file and writes nothing else, so that the counts of a worker that
was killed are removed by zeroing its slice. Within a slice peers are counted in a sketch of fixed size (two rows,
keyed hash): memory is bounded whatever comes, and nobody outside can choose peers that share a cell.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from lockgate.edge.mapped import map_shared
from lockgate.mail.connection import Load

_MAGIC = b"lockgate-load-1\n"
_KEY_SIZE = 16
_HEADER = 4096
_CELLS = 1 << 15
_ROWS = 2
_TOTAL = _ROWS * _CELLS  # index of the cell that counts all connections of a slot
_SERVED = _TOTAL + 1  # index of the cell that tells whether the worker of a slot accepts connections
_LATE = _TOTAL + 2  # index of the cell that tells how late the worker of a slot is, in microseconds
_SHOWN = 3  # these three stand side by side, so that who only looks reads them at once
_SLICE_CELLS = _TOTAL + 1024
_LATEST = (1 << 32) - 1
_CELL_SIZE = 4
_V6_NETWORK = 8
_V4_SIZE = 4
_REMEMBERED = 4096


class LoadTable:
    """The table as one worker sees it. IPv4 peers count per address, IPv6 peers per /64."""

    __slots__ = ("_bases", "_cells", "_key", "_map", "_own", "_remembered")

    def __init__(self, file: Path, slot: int, slots: int) -> None:
        """Open the table, make it if it is missing or of another size, and begin with an empty slice.

        `slot` counts from 0 and belongs to one living worker at a time. Raises OSError, ValueError.
        """
        if not 0 <= slot < slots:
            raise ValueError(f"there is no worker slot {slot} of {slots}")
        self._map = map_shared(file, _MAGIC, _HEADER + slots * _SLICE_CELLS * _CELL_SIZE, os.urandom(_KEY_SIZE))
        self._key = self._map[len(_MAGIC) : len(_MAGIC) + _KEY_SIZE]
        self._cells = memoryview(self._map)[_HEADER:].cast("I")
        self._bases = tuple(number * _SLICE_CELLS for number in range(slots))
        self._own = self._bases[slot]
        self._remembered: dict[bytes, tuple[int, int]] = {}
        self.clear(slot)

    def opened(self, packed: bytes) -> Load:
        """Count a new connection of the peer (4 or 16 octets) and tell how many there are, itself included."""
        first, second = self._places(packed)
        cells, own = self._cells, self._own
        cells[own + first] += 1
        cells[own + second] += 1
        cells[own + _TOTAL] += 1
        one = two = total = 0
        for base in self._bases:
            one += cells[base + first]
            two += cells[base + second]
            total += cells[base + _TOTAL]
        return Load(min(one, two), total)

    def closed(self, packed: bytes) -> None:
        """The connection is gone."""
        cells, own = self._cells, self._own
        for place in (*self._places(packed), _TOTAL):
            if cells[own + place]:
                cells[own + place] -= 1

    def serve(self) -> None:
        """Tell the siblings that this worker accepts connections from now on, until its slice is cleared."""
        self._cells[self._own + _SERVED] = 1

    def late(self, seconds: float) -> None:
        """Tell whoever looks how late this worker comes to what is due."""
        self._cells[self._own + _LATE] = min(int(seconds * 1_000_000), _LATEST)

    def unserved(self) -> tuple[int, ...]:
        """The slots whose workers do not accept connections: dead, or not ready yet."""
        return tuple([slot for slot, base in enumerate(self._bases) if not self._cells[base + _SERVED]])

    def clear(self, slot: int) -> None:
        """Forget the counts of a slot whose worker is dead, and that it served."""
        start = _HEADER + slot * _SLICE_CELLS * _CELL_SIZE
        self._map[start : start + _SLICE_CELLS * _CELL_SIZE] = bytes(_SLICE_CELLS * _CELL_SIZE)

    def close(self) -> None:
        """Give the map back."""
        self._cells.release()
        self._map.close()

    def _places(self, packed: bytes) -> tuple[int, int]:
        network = packed if len(packed) == _V4_SIZE else packed[:_V6_NETWORK]
        places = self._remembered.get(network)
        if places is not None:
            return places
        digest = hashlib.blake2b(network, digest_size=8, key=self._key).digest()
        places = (
            int.from_bytes(digest[:4], "little") % _CELLS,
            _CELLS + int.from_bytes(digest[4:], "little") % _CELLS,
        )
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[network] = places
        return places


class Workload(NamedTuple):
    """What one worker has to do: connections that are open, and how many seconds it comes late to what is due.

    `serves` tells that it accepts connections: it is neither dead nor about to begin.
    """

    connections: int
    late: float
    serves: bool = True


def workloads(file: Path, slots: int) -> tuple[Workload, ...]:
    """What each worker has to do, by slot, for those who only look. Raises OSError, ValueError."""
    found: list[Workload] = []
    with file.open("rb") as opened:
        for slot in range(slots):
            at = _HEADER + (slot * _SLICE_CELLS + _TOTAL) * _CELL_SIZE
            cells = os.pread(opened.fileno(), _SHOWN * _CELL_SIZE, at)
            if len(cells) != _SHOWN * _CELL_SIZE:
                raise ValueError(f"{file} has no place for worker {slot} of {slots}")
            connections, served, late = memoryview(cells).cast("I")
            found.append(Workload(connections, late / 1_000_000, bool(served)))
    return tuple(found)
