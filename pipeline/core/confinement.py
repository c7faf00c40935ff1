"""Confines the calling process for good, before it sees a byte of a document: the one confinement of all children.

    limits ─▶ capabilities ─▶ no_new_privs ─▶ Landlock (files, TCP, signals) ─▶ seccomp (system calls)

`confine` is called before any thread starts: Landlock and seccomp hold for the calling thread and what it starts later,
and a thread without them would share its memory with the confined ones. `forbid` takes away more later. Nothing can be
lifted again, and nothing needs rights. The system calls are made by number, since glibc has no names
for some of them. Standard library only, and Python 3.9: LibreOffice's bindings run in the system's interpreter.

Sources: `linux/landlock.h`, `linux/seccomp.h`, `linux/filter.h`, `linux/capability.h`, and the pages
`userspace-api/landlock` and `userspace-api/seccomp_filter` of the kernel's documentation.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: The devices that programs expect; none of them leads anywhere.
DEVICES = tuple(Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom"))

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 4, 24, 36, 38

_libc = ctypes.CDLL(None, use_errno=True)


#: Files of the system that interpreters, decoders and programs read: code, fonts, time zones.
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types"),
    *("/etc/fonts", "/var/cache/fontconfig", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)


def interpreter_paths() -> list[Path]:
    """Return the folders that this interpreter imports from; of a folder with this package only the package."""
    package = Path(__file__).resolve().parents[1]
    folders = [Path(sys.prefix), Path(sys.base_prefix), package]
    for entry in sys.path:
        folder = Path(entry)
        if entry and folder.resolve() != package.parent and folder.exists():
            folders.append(folder)
    return [Path(path) for path in SYSTEM] + folders


@dataclass(frozen=True)
class Confinement:
    """The rights that a child keeps. Everything that is not named is refused."""

    readable: Sequence[Path] = ()
    """Files and folders that it may read, and run programs from."""
    writable: Sequence[Path] = ()
    """Folders in which it may do anything."""
    sockets: Sequence[Path] = ()
    """Folders in which it may make UNIX stream sockets; without any it makes no socket at all."""
    programs: bool = False
    """Whether it may start other programs, which inherit the confinement."""
    limits: Mapping[int, int] = field(default_factory=dict)
    """Resource limits by their `resource.RLIMIT_…` number."""


def missing_layers() -> list[str]:
    """Return what does not hold children on this machine, in words; nothing where every layer is in force."""
    version = landlock_version()
    missing = []
    if version < 1:
        missing.append("files: the kernel has no Landlock (Linux 5.13)")
    elif version < _SCOPED_FROM:
        missing.append(f"signals and abstract sockets: Landlock {version}, but Linux 6.12 has {_SCOPED_FROM}")
    if not filters_calls():
        missing.append(f"system calls and network: no filter for {os.uname().machine}")
    return missing


def confine(rights: Confinement) -> None:
    """Give up everything but the rights, for good.

    Raises:
        OSError: the kernel has a layer and refuses it, or another thread runs already. The child must not go on.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError(errno.EBUSY, "a thread runs already, which no confinement would hold")
    _limit(rights.limits)
    _drop_capabilities()
    _call(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")
    _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    _restrict_files(rights)
    _filter_calls(rights)


def become_reaper() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be waited for."""
    _call(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


# -- limits and capabilities


def _limit(limits: Mapping[int, int]) -> None:
    for kind, value in {resource.RLIMIT_CORE: 0, **limits}.items():
        hard = resource.getrlimit(kind)[1]
        # Soft and hard limit must differ for CPU time: where both are equal the kernel sends SIGKILL, not SIGXCPU.
        highest = value + 1 if kind == resource.RLIMIT_CPU else value
        highest = highest if hard == resource.RLIM_INFINITY else min(highest, hard)
        resource.setrlimit(kind, (min(value, highest), highest))


def _drop_capabilities() -> None:
    """Empty the bounding set as far as permitted, then every other set."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    _call(_libc.syscall(_numbers("capset"), header, bytes(24)), "capset")


# -- files: Landlock

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_SOCK = (1 << bit for bit in (0, 1, 2, 3, 9))
#: The rights that a rule about a single file may give.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE
#: How many rights to files each version of Landlock knows: then come renaming between folders, truncating, and
#: commands to devices.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
#: Binding and connecting by TCP, from version 4 on.
_TCP = 0b11
#: Abstract sockets and signals beyond the confined processes, from version 6 on.
_SCOPES = 0b11
_SCOPED_FROM = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def landlock_version() -> int:
    """Return the version of Landlock that the kernel has in force, 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)))


def _restrict_files(rights: Confinement) -> None:
    version = landlock_version()
    if not version:
        return
    every = (1 << _RIGHTS.get(version, 16)) - 1
    wanted = _Ruleset(every, _TCP if version >= 4 else 0, _SCOPES if version >= _SCOPED_FROM else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), 0), "Landlock")
    try:
        _allow(ruleset, rights.readable, _EXECUTE | _READ_FILE | _READ_DIR)
        _allow(ruleset, DEVICES, _READ_FILE | _WRITE_FILE)
        _allow(ruleset, rights.sockets, _MAKE_SOCK)
        _allow(ruleset, rights.writable, every)
        _call(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            rule = _Beneath(rights if is_folder else rights & _OF_FILES, descriptor)
            _call(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0), "Landlock")
        finally:
            os.close(descriptor)


# -- system calls: seccomp

#: AUDIT_ARCH_* of `linux/audit.h`.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: The system call `seccomp`, its operation, and its flag for all threads.
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER, _EVERY_THREAD = 1, 1
#: Numbers on x86_64 and aarch64; None where the architecture has no such call.
_SYSTEM_CALLS: dict[str, tuple[int | None, int | None]] = {
    "capset": (126, 91),
    # network
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    "prlimit64": (302, 261),
    # leaving the process group, with which a child ends
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # programs
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    # modes and owners
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utimensat": (280, 88),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # names and mounts
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # memory shared by names
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # kernel interfaces with a record of faults, and keys
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
    "personality": (135, 92),
    "lookup_dcookie": (212, 18),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "ioctl": (16, 29),
}
#: These decide by their arguments, see `_filter`.
_CONDITIONAL = frozenset({"socket", "kill", "tgkill", "clone", "ioctl", "prlimit64"})
#: These end well without doing anything where programs run, which set modes of their own files and give up otherwise.
_PRETENDED = frozenset({"chmod", "fchmod", "fchmodat", "chown", "lchown", "fchown", "fchownat", "utimensat"})
#: These are needed to start programs, and to make sockets.
_PROGRAMS = frozenset({"execve", "fork", "vfork", "kill", "tgkill", "tkill", "setpriority"})
_SOCKETS = frozenset({"connect", "bind", "listen", "accept", "accept4"})

_AF_UNIX, _SOCK_STREAM = 1, 1
#: A socket's type without its flags.
_TYPE = 0xF
_CLONE_THREAD = 0x00010000
#: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_CLONE_NAMESPACES = 0x7E020080
#: Pushing characters into a terminal's input: TIOCSTI and TIOCLINUX.
_TERMINAL_INPUT = (0x5412, 0x541C)

_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
#: Offsets in `struct seccomp_data`: number, architecture, and the low words of arguments.
_NUMBER, _ARCHITECTURE = 0, 4
#: System calls of the x32 ABI have this bit; they would evade numbers.
_X32 = 0x40000000

_Instruction = tuple[int, int, int, int]


def _numbers(name: str) -> int | None:
    x86, arm = _SYSTEM_CALLS[name]
    return arm if os.uname().machine == "aarch64" else x86


def filters_calls() -> bool:
    """Whether the numbers of this processor's system calls are known here."""
    return os.uname().machine in _ARCHITECTURES


def forbid(names: Iterable[str], *, every_thread: bool = False) -> None:
    """Refuse more system calls of `_SYSTEM_CALLS` to this thread, or to this whole process, and what it starts later.

    Raises:
        OSError: the kernel refuses the filter.
    """
    if filters_calls():
        rules = [rule for name in names if (number := _numbers(name)) is not None for rule in _refusal(number)]
        _install(rules, _EVERY_THREAD if every_thread else 0)


def _refusal(number: int) -> list[_Instruction]:
    return [(_EQUAL, 0, 1, number), _refuse(errno.EPERM)]


def _filter_calls(rights: Confinement) -> None:
    if filters_calls():
        numbers = ((name, _numbers(name)) for name in _SYSTEM_CALLS)
        _install([rule for name, number in numbers if number is not None for rule in _rule(name, number, rights)])


def _install(rules: Sequence[_Instruction], flags: int = 0) -> None:
    """Install a filter that allows what no rule decides."""
    program = [*_head(), *rules, (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    number = _SECCOMP[os.uname().machine]
    # The number of a thread, instead of 0, names one that has another filter.
    if _call(_libc.syscall(number, _SECCOMP_SET_MODE_FILTER, flags, ctypes.c_char_p(header)), "seccomp"):
        raise OSError(errno.EBUSY, "the kernel refuses seccomp: a thread has a filter of its own")


def _head() -> list[_Instruction]:
    """Return the instructions that refuse foreign numbers, and load the number of the call."""
    machine = os.uname().machine
    head: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    return head + ([(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)] if machine == "x86_64" else [])


def _rule(name: str, number: int, rights: Confinement) -> list[_Instruction]:
    """Return the instructions about one system call: those of `body` run for it and end with a verdict."""
    if name in (_PROGRAMS if rights.programs else ()) or name in (_SOCKETS if rights.sockets else ()):
        return []
    if name in _CONDITIONAL:
        body = _condition(name, rights)
    elif name in _PRETENDED and rights.programs:
        body = [_refuse(0)]
    else:
        body = [_refuse(errno.ENOSYS if name == "clone3" else errno.EPERM)]  # glibc then calls clone
    return [(_EQUAL, 0, len(body), number), *body]


def _condition(name: str, rights: Confinement) -> list[_Instruction]:
    refused, allowed = _refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    if name == "socket":
        if not rights.sockets:
            return [refused]
        # Streams only: a datagram needs no connection to reach a socket of others.
        is_stream = [_argument(1), (_AND, 0, 0, _TYPE), (_EQUAL, 0, 1, _SOCK_STREAM)]
        return [_argument(0), (_EQUAL, 0, 4, _AF_UNIX), *is_stream, allowed, _refuse(errno.EAFNOSUPPORT)]
    if name in ("kill", "tgkill"):  # to itself, as abort() does
        return [_argument(0), (_EQUAL, 0, 1, os.getpid()), allowed, refused]
    if name == "prlimit64":  # of itself: 0, or its own number
        return [_argument(0), (_EQUAL, 1, 0, 0), (_EQUAL, 0, 1, os.getpid()), allowed, refused]
    if name == "ioctl":
        first, second = _TERMINAL_INPUT
        return [_argument(1), (_EQUAL, 1, 0, first), (_EQUAL, 0, 1, second), refused, allowed]
    if rights.programs:  # clone
        return [_argument(0), (_ANY_BIT, 0, 1, _CLONE_NAMESPACES), refused, allowed]
    return [_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), allowed, refused]


def _argument(index: int) -> _Instruction:
    """Load the low word of an argument: both architectures are little-endian."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _refuse(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | number)


def _call(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"the kernel refuses {what}")
    return int(result)
