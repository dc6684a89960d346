"""A process's memory in large pages: what is there stays as it is, what is others' or hardly used is left alone."""

from __future__ import annotations

import ctypes
import mmap
import os

from lockgate.app import pages
from lockgate.app.pages import LARGE, gather

MAPS = """\
55a0c0a00000-55a0c0e00000 r-xp 00000000 fe:00 1234                       /usr/bin/python3.11
55a0c1000000-55a0c1400000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
7f0001000000-7f0001800000 rw-s 00000000 fe:00 77                         /state/run/load.table
7f0002000000-7f0002800000 r--p 00000000 00:00 0
7f0003000000-7f0003800000 rw-p 00004000 fe:00 99                         /usr/lib/libssl.so.3
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_memory_of_our_own_is_moved():
    assert pages._own(MAPS) == [(0x55A0C1000000, 0x55A0C1400000), (0x7F0000000000, 0x7F0000800000)]


def huge():
    """Octets of this process in large pages."""
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("AnonHugePages:"))


def in_a_child(work):
    """Run `work` in a process of its own; True if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_in_use_is_moved_and_stays_as_it_is():
    def work():
        things = [os.urandom(1000) * 2 for _ in range(8000)]
        before = [hash(thing) for thing in things]
        moved = gather()
        assert huge() >= moved * LARGE * 0.9
        assert [hash(bytes(thing)) for thing in things] == before

    assert in_a_child(work)


def test_a_large_page_that_is_hardly_used_takes_no_memory():
    library = ctypes.CDLL(None)
    room = mmap.mmap(-1, 4 * LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    offset = -start % LARGE
    room[offset] = 1
    assert not pages._collapsed(library, start + offset)
    second = offset + LARGE
    room[second : second + LARGE] = b"x" * LARGE
    pages._collapsed(library, start + second)
    assert room[second : second + LARGE] == b"x" * LARGE and not any(room[offset + 1 : second])


def test_where_the_kernel_cannot_nothing_happens(monkeypatch):
    monkeypatch.setattr(pages, "_MADV_COLLAPSE", 9999)
    assert gather() == 0
