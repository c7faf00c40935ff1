"""What a decoder that a hostile file has taken over would try. Runs in a confined child; prints one JSON line.

Each attempt returns true where it got through. Exceptions, and calls that the kernel refuses, mean that it was held.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

_libc = ctypes.CDLL(None, use_errno=True)


def _reads(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(file.read(1))


def _writes(path: str) -> bool:
    with open(path, "wb"):
        return True


def _connects(family: int, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(address)  # type: ignore[arg-type]
        return True


def _sends_datagram(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        return connection.sendto(b"x", ("127.0.0.1", port)) == 1


def _opens(family: int, kind: int) -> bool:
    with socket.socket(family, kind):
        return True


def _forks() -> bool:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _starts() -> bool:
    return subprocess.run(["/bin/true"], check=False, stdin=subprocess.DEVNULL).returncode == 0


def _changes_mode(path: str) -> bool:
    before = os.stat(path).st_mode
    os.chmod(path, before ^ 0o001)
    return os.stat(path).st_mode != before


def _calls(name: str, *arguments: object) -> bool:
    return int(getattr(_libc, name)(*arguments)) >= 0


def _system_call(number: int, *arguments: object) -> bool:
    return int(_libc.syscall(number, *arguments)) >= 0


def _truncates(path: str) -> bool:
    os.truncate(path, 0)
    return True


def _bombs() -> bool:
    """Start 300 processes that sleep; leave none."""
    children = []
    try:
        for _ in range(300):
            child = os.fork()
            if not child:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    for child in children:
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return len(children) == 300


def _maps_executable_memory_of_file(path: str) -> bool:
    with open(path, "rb") as file:
        mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        return True


def attempts(
    parent: int, secret: str, mode: str, tcp: int, udp: int, unix: str, abstract: str
) -> dict[str, Callable[[], bool]]:
    """Return the attempts: the parent's number, a file to read, one to change, and addresses that listen."""
    return {
        "read a file": lambda: _reads(secret),
        "run a file of others": lambda: _maps_executable_memory_of_file(secret),
        "read the system's accounts": lambda: _reads("/etc/shadow"),
        "read the parent's environment": lambda: _reads(f"/proc/{parent}/environ"),
        "read the parent's memory": lambda: _reads(f"/proc/{parent}/mem"),
        "list the parent's files": lambda: bool(os.listdir(f"/proc/{parent}/fd")),
        "read the parent's command": lambda: _reads(f"/proc/{parent}/cmdline"),
        "list the root": lambda: bool(os.listdir("/")),
        "write a file": lambda: _writes(secret + ".new"),
        "truncate a file": lambda: _truncates(secret),
        "write to /tmp": lambda: _writes("/tmp/pagesight-escaped"),
        "write to /dev/shm": lambda: _writes("/dev/shm/pagesight-escaped"),
        "change a mode": lambda: _changes_mode(mode),
        "trace the parent": lambda: _calls("ptrace", 16, parent, 0, 0),
        "signal the parent": lambda: os.kill(parent, 0) is None,
        "signal the first process": lambda: os.kill(1, 0) is None,
        "queue a signal": lambda: _system_call(129, parent, 0, bytes(128)),
        "hold the parent by a descriptor": lambda: _system_call(434, parent, 0),
        "bound the parent": lambda: _system_call(302, parent, 7, None, bytes(16)),
        "connect by TCP": lambda: _connects(socket.AF_INET, ("127.0.0.1", tcp)),
        "connect by TCP 6": lambda: _opens(socket.AF_INET6, socket.SOCK_STREAM),
        "send by UDP": lambda: _sends_datagram(udp),
        "connect by UNIX socket": lambda: _connects(socket.AF_UNIX, unix),
        "connect by abstract socket": lambda: _connects(socket.AF_UNIX, abstract),
        "send by UNIX datagram": lambda: _opens(socket.AF_UNIX, socket.SOCK_DGRAM),
        "make a UNIX socket": lambda: _opens(socket.AF_UNIX, socket.SOCK_STREAM),
        "open a raw socket": lambda: _opens(socket.AF_PACKET, socket.SOCK_RAW),
        "open a netlink socket": lambda: _opens(socket.AF_NETLINK, socket.SOCK_RAW),
        "leave the process group": lambda: os.setsid() > 0,
        "fork": _forks,
        "start a program": _starts,
        "fill the process table": _bombs,
        "mount": lambda: _calls("mount", b"none", os.fsencode(os.path.dirname(secret)), b"tmpfs", 0, None),
        "make a namespace": lambda: _calls("unshare", 0x10000000),
        "enter a root": lambda: _calls("chroot", os.fsencode(os.path.dirname(secret))),
        "load a BPF program": lambda: _system_call(321, 5, bytes(128), 128),
        "set up io_uring": lambda: _system_call(425, 1, bytes(120)),
        "watch page faults": lambda: _system_call(323, 0),
        "count events": lambda: _system_call(298, bytes(128), 0, -1, -1, 0),
        "take a key": lambda: _system_call(250, 0, -3, 0),
        "share memory by key": lambda: _system_call(29, 0, 4096, 0o600),
        "regain capabilities": lambda: _regains(),
        "type into the terminal": lambda: _system_call(16, 0, 0x5412, b"x"),
    }


def _regains() -> bool:
    with open("/proc/self/status") as file:
        return any(line.startswith("CapEff") and int(line.split()[1], 16) for line in file)


def report(*arguments: object) -> None:
    """Try everything, and print which attempts got through."""
    through = []
    for name, attempt in attempts(*arguments).items():  # type: ignore[arg-type]
        with suppress(BaseException):
            if attempt():
                through.append(name)
    sys.stdout.write(json.dumps(through) + "\n")
    sys.stdout.flush()
