"""The machine itself: folders, disk, limits, ports."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lockgate.app.config import OperatorFile
from lockgate.app.state_folder import nearest
from lockgate.flow.checkup import Found, blocked, passed, warned

SLOW_SYNC = 0.1
"""Seconds for one small file to reach the disk, above which accepting mail will feel slow."""

FEW_FILES = 4096
MAIL_PORT = 25
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})


def folders(config: OperatorFile) -> Iterator[Found]:
    """The state directory: there, ours, on a local disk with room, and quick enough."""
    folder = config.state_directory
    place = nearest(folder)
    if not os.access(place, os.W_OK | os.X_OK):
        mend = f"chown $(id -un) {folder}    # or run as the account that owns it"
        yield blocked("state directory", f"{place} cannot be written by this account", mend)
        return
    try:
        took = _sync_time(place)
    except OSError as trouble:
        yield blocked("state directory", f"{place}: {trouble}", "mend the disk, or choose another state_directory")
        return
    if took > SLOW_SYNC:
        mend = "put state_directory on a local SSD, or expect senders to wait"
        yield warned("state directory", f"a synced write to {place} took {took * 1000:.0f} ms", mend)
    else:
        yield passed("state directory", f"{place}: a synced write took {took * 1000:.1f} ms")
    if (kind := _filesystem(place)) in _REMOTE:
        mend = "choose a state_directory on a local disk"
        what = f"{place} is on a network file system ({kind}); a queue there loses mail"
        yield blocked("state directory", what, mend)
    free = shutil.disk_usage(place).free
    if free < config.alerts.disk_free:
        mend = f"make room below {place}, or lower alerts.disk_free"
        yield warned("disk", f"{free // 1024**2} MiB are free, less than alerts.disk_free asks for", mend)
    else:
        yield passed("disk", f"{free // 1024**2} MiB are free")


def limits() -> Iterator[Found]:
    """Open files: each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FEW_FILES:
        mend = f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}    # in systemd: LimitNOFILE=65536"
        yield warned("open files", f"only {soft} may be open at a time, and every connection takes one", mend)
    else:
        yield passed("open files", f"{soft} may be open at a time")


def ports(config: OperatorFile, ours: frozenset[str]) -> Iterator[Found]:
    """Each listener can be opened, or is open by ourselves (`ours`: what the running service listens on)."""
    for listener in config.listener:
        name = f"{listener.address} port {listener.port}"
        if _among(listener.address, listener.port, ours):
            yield passed("listener", f"{name} is served by Lockgate")
            continue
        yield _tried(listener.address, listener.port, name)
    if not any(listener.port == MAIL_PORT for listener in config.listener):
        first = next((listener.port for listener in config.listener if listener.port), 2525)
        redirect = f"nft add rule ip nat prerouting tcp dport 25 redirect to :{first}"
        mend = f"{redirect}\nor port = 25, with CAP_NET_BIND_SERVICE"
        yield warned("port 25", "mail from the Internet comes to port 25, and no listener has it", mend)


def _tried(address: str, port: int, name: str) -> Found:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((address, port))
        except PermissionError:
            mend = "AmbientCapabilities=CAP_NET_BIND_SERVICE    # in the systemd unit; or take a port above 1023"
            return blocked("listener", f"{name}: this account may not open ports below 1024", mend)
        except OSError as trouble:
            if trouble.errno == errno.EADDRINUSE:
                return blocked("listener", f"{name} is taken by another program", f"ss -ltnp 'sport = :{port}'")
            mend = "give an address of this machine (ip address show), or 0.0.0.0 and ::"
            return blocked("listener", f"{name}: {trouble.strerror}", mend)
    return passed("listener", f"{name} is free")


def _among(address: str, port: int, ours: frozenset[str]) -> bool:
    written = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return written in ours or (port == 0 and bool(ours))


def _sync_time(folder: Path) -> float:
    begin = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"lockgate preflight\n" * 200)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - begin


def _filesystem(folder: Path) -> str:
    """The type of the file system that holds the folder, "" if the kernel does not say."""
    best, kind = "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) < 3:
                continue
            point = words[1].replace("\\040", " ")
            inside = point == "/" or f"{folder.resolve()}/".startswith(f"{point}/")
            if inside and len(point) >= len(best):
                best, kind = point, words[2]
    return kind
