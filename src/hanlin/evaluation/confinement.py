"""Run in the process that a stranger's program will replace: give up every power, then start it.

`sandbox` starts this file by itself (``python -I -S confinement.py JSON``), so it uses the standard
library alone. In order: limits of the process (setrlimit), root's capabilities, Landlock (which
files may be read and written: Linux 5.13, landlock(7)), a seccomp filter (which system calls may be
made: seccomp(2)), and the program in place of this one. What cannot be done is said, and nothing is
run.
"""

import ctypes
import json
import os
import resource
import struct
import sys
from collections.abc import Sequence

REFUSED = 97
"""The exit status where a protection could not be set up; standard error says which."""

# Landlock: the same numbers on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_ACCESSES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Version of Landlock -> how many kinds of access to files it knows; later ones as the last."""
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Processor -> its name in a filter."""
_CALLS: dict[str, tuple[int | None, int | None]] = {
    # network: no socket of any kind
    "socket": (41, 198), "socketpair": (53, 199), "io_uring_setup": (425, 425),
    # other processes: none can be made, signalled, watched or changed
    "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "setpriority": (141, 140), "kcmp": (312, 272),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30), "setpgid": (109, 154), "setsid": (112, 157),
    # what files are called and belong to, which Landlock leaves alone
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "truncate": (76, 45), "openat2": (437, 437),
    # what outlives a process
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    # the machine
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268),
    "chroot": (161, 51), "pivot_root": (155, 41), "bpf": (321, 280), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "open_by_handle_at": (304, 265), "personality": (135, 92),
    "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429),
}  # fmt: skip
"""System calls that are refused: their numbers on x86_64 and aarch64, None where there is none."""
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
_OPEN, _OPENAT = (2, None), (257, 56)
_THREAD = 0x10000

_NO_NEW_PRIVILEGES, _SECCOMP, _DROP_CAPABILITY, _DEATH_SIGNAL = 38, 22, 24, 1
_EPERM, _ENOSYS = 1, 38


class UnprotectedError(Exception):
    """A protection cannot be had on this machine."""


class _Libc:
    """The calls for which Python has no function; raises `UnprotectedError` where one fails."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def syscall(self, number: int, *arguments: object, what: str) -> int:
        result = int(self._library.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise UnprotectedError(f"{what}: {os.strerror(ctypes.get_errno())}")
        return result

    def prctl(self, option: int, *arguments: object, what: str | None) -> None:
        """`what` None: it does not matter whether this one succeeds."""
        filled = [*arguments, *(ctypes.c_ulong(0) for _ in range(4 - len(arguments)))]
        if self._library.prctl(ctypes.c_int(option), *filled) != 0 and what is not None:
            raise UnprotectedError(f"{what}: {os.strerror(ctypes.get_errno())}")


def limit(limits: dict[str, int]) -> None:
    """Set limits of this process, soft and hard: the names of `resource` without ``RLIMIT_``."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def drop_privileges() -> None:
    """Give up what root can do, and that any program started later could give it back."""
    libc = _Libc()
    for capability in range(64):
        libc.prctl(_DROP_CAPABILITY, ctypes.c_ulong(capability), what=None)
    libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), what="no_new_privs")


def restrict_files(read: Sequence[str], write: Sequence[str]) -> None:
    """Only what lies under `read` can be read and executed from now on, and under `write` written.

    Raises `UnprotectedError` where the kernel has no Landlock.
    """
    libc = _Libc()
    version = libc.syscall(
        _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1), what="Landlock"
    )
    files = (1 << _ACCESSES[min(version, 5)]) - 1
    handled = struct.pack("=Q", files)
    if version >= 4:
        handled += struct.pack("=Q", 0b11)  # TCP: bind, connect
    if version >= 6:
        handled += struct.pack("=Q", 0b11)  # abstract sockets and signals to the outside
    ruleset = libc.syscall(
        _CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0), what="Landlock"
    )
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    for paths, access in ((read, reading), (write, files & ~_IOCTL_DEV)):
        for path in paths:
            if not os.path.exists(path):
                continue
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = access if os.path.isdir(path) else access & _OF_A_FILE
            rule = struct.pack("=Qi", allowed & files, place)
            libc.syscall(
                _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0),
                what=f"Landlock for {path}",
            )  # fmt: skip
            os.close(place)
    libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0), what="Landlock")
    os.close(ruleset)


def filter_calls(machine: str) -> None:
    """Refuse the system calls of `_CALLS` and processes (threads are allowed) from now on.

    Raises `UnprotectedError` on a processor whose numbers are not known here, or without seccomp.
    """
    if machine not in _AUDIT:
        raise UnprotectedError(f"seccomp: no table of system calls for {machine}")
    program = _filter(machine, os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    held = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(
        struct.pack("@HP", len(program), ctypes.addressof(held)), struct.calcsize("@HP")
    )
    _Libc().prctl(_SECCOMP, ctypes.c_ulong(2), header, what="seccomp")


def _filter(machine: str, process: int) -> list[tuple[int, int, int, int]]:
    """The filter in the kernel's own words: (code, jump if true, jump if false, value)."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    and_with = 0x54
    number, name, first, second, third = 0, 4, 16, 24, 32
    refuse = (give, 0, 0, 0x50000 | _EPERM)
    allow = (give, 0, 0, 0x7FFF0000)
    column = list(_AUDIT).index(machine)
    program = [(load, 0, 0, name), (equal, 1, 0, _AUDIT[machine]), refuse, (load, 0, 0, number)]
    if machine == "x86_64":
        program += [(at_least, 0, 1, 0x40000000), refuse]  # the same calls by other numbers (x32)
    for numbers in _CALLS.values():
        if (call := numbers[column]) is not None:
            program += [(equal, 0, 1, call), refuse]
    # The C library goes on with clone, whose flags a filter can see.
    program += [(equal, 0, 1, _CLONE3[column]), (give, 0, 0, 0x50000 | _ENOSYS)]
    program += [(equal, 0, 4, _CLONE[column]), (load, 0, 0, first)]
    program += [(any_bit, 1, 0, _THREAD), refuse, allow]
    for numbers, argument in ((_TGKILL, process), (_PRLIMIT, 0)):
        program += [(equal, 0, 4, numbers[column]), (load, 0, 0, first)]
        program += [(equal, 1, 0, argument), refuse, allow]
    # Before its third version Landlock lets a file that may be read be emptied by opening it.
    emptying = os.O_TRUNC | os.O_ACCMODE
    for numbers, flags in ((_OPEN, second), (_OPENAT, third)):
        if (call := numbers[column]) is not None:
            program += [(equal, 0, 5, call), (load, 0, 0, flags), (and_with, 0, 0, emptying)]
            program += [(equal, 0, 1, os.O_TRUNC), refuse, allow]
    return [*program, allow]


def main() -> None:
    """Confine this process as the JSON in the first argument says, then become the program."""
    told = json.loads(sys.argv[1])
    try:
        if sys.platform == "linux":  # not to outlive who started us
            _Libc().prctl(_DEATH_SIGNAL, ctypes.c_ulong(9), what=None)
        if told["strict"]:
            drop_privileges()
            restrict_files(told["read"], told["write"])
            filter_calls(os.uname().machine)
        limit(told["limits"])
        os.execv(told["program"][0], told["program"])
    except (UnprotectedError, OSError, AttributeError, ValueError) as error:
        print(f"{error}", file=sys.stderr, flush=True)
        os._exit(REFUSED)


if __name__ == "__main__":
    main()
