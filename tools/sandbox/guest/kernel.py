"""System calls for which Python has no function, and the filter on those that guests make."""

import ctypes
import os
import struct
from collections.abc import Iterable

from . import syscalls

SUPPORTED = ("x86_64", "aarch64")

MS_NOSUID_NODEV = 2 | 4
MNT_DETACH = 2
CLONE_NEWUSER = 0x10000000
_NAMESPACES = 0x7E020080  # NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 36, 38, 47

_libc = ctypes.CDLL(None, use_errno=True)
_ulong = ctypes.c_ulong


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, first: int, second: int = 0) -> None:
    result = _libc.prctl(option, _ulong(first), _ulong(second), _ulong(0), _ulong(0))
    _check(result, f"prctl({option})")


def mount_tmpfs(place: str, options: str) -> None:
    _check(
        _libc.mount(b"tmpfs", place.encode(), b"tmpfs", _ulong(MS_NOSUID_NODEV), options.encode()), "mount"
    )


def unmount(place: str) -> None:
    """Detach a mount from the tree; descriptors on it stay valid."""
    _check(_libc.umount2(place.encode(), MNT_DETACH), f"umount {place}")


def new_user_namespace() -> None:
    _check(_libc.unshare(CLONE_NEWUSER), "no user namespace (sysctl user.max_user_namespaces?)")


def set_dumpable(yes: bool) -> None:
    """Set whether other processes of the same user may inspect this process."""
    _prctl(_PR_SET_DUMPABLE, int(yes))


def die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def drop_capabilities() -> None:
    """Give up every capability for good, in this process and in whatever it starts."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError:  # the kernel has no such capability, or we may not drop it from the bounding set
            break
    _prctl(_PR_CAP_AMBIENT, 4)
    header = struct.pack("Ii", 0x20080522, 0)
    _check(_libc.capset(header, struct.pack("6I", *(0,) * 6)), "capset")


def holds_capabilities() -> bool:
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(struct.pack("Ii", 0x20080522, 0), data), "capget")
    return any(struct.unpack("6I", data.raw))


_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEWEST = 456
"""Later system calls do not exist for guests: the next two, `statmount` and `listmount`, show the host's
paths, and nobody knows what future ones will do."""

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_AF_UNIX = 1
_O_ASYNC = 0x2000
_PR_SCHED_CORE = 62
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value & 0xFFFFFFFF)


def _low(argument: int) -> bytes:
    """Load the low half of an argument (both machines are little-endian)."""
    return _op(_LOAD, 16 + 8 * argument)


def _begin() -> bytes:
    architecture = _op(_LOAD, 4) + _op(_EQUAL, _ARCHITECTURE[os.uname().machine], 1) + _op(_RETURN, _KILL)
    return architecture + _op(_LOAD, 0)


def _rule(number: int, body: bytes) -> bytes:
    """`body` for one system call; the accumulator holds the call's number before and after."""
    return _op(_EQUAL, number, 0, len(body) // 8) + body


def _only(argument: int, values: Iterable[int], denied: bytes, allowed: bytes) -> bytes:
    """The body of a rule that allows these values of an argument."""
    return _low(argument) + b"".join(_op(_EQUAL, value, 0, 1) + allowed for value in values) + denied


def guest_filter() -> bytes:
    """The classic BPF program that guests and their server run under.

    Network sockets, new namespaces (also by clone), changes to other processes' limits and scheduling, and
    all but a few commands of `fcntl` and `ioctl` are denied by argument; everything else that guests must not
    use is denied by number.
    """
    numbers = syscalls.numbers(os.uname().machine)
    denied = _op(_RETURN, _ERRNO | _EPERM)
    program = _begin() + _op(_AT_LEAST, _NEWEST + 1, 0, 1) + _op(_RETURN, _ERRNO | _ENOSYS)
    for name in syscalls.FORBIDDEN:
        if name in numbers:
            program += _rule(numbers[name], _op(_RETURN, _KILL))
    for name in syscalls.DENIED:
        if name in numbers:
            program += _rule(numbers[name], denied)
    allowed = _op(_RETURN, _ALLOW)
    for name in ("socket", "socketpair"):
        program += _rule(numbers[name], _low(0) + _op(_EQUAL, _AF_UNIX, 1) + denied + allowed)
    # Its arguments lie in memory, where a filter cannot look; libc falls back to clone.
    program += _rule(numbers["clone3"], _op(_RETURN, _ERRNO | _ENOSYS))
    program += _rule(numbers["clone"], _low(0) + _op(_ANY_BIT, _NAMESPACES, 0, 1) + denied + allowed)
    others = _low(0) + _op(_EQUAL, 0, 1) + denied + allowed
    program += _rule(numbers["prlimit64"], others)
    # A server scheduled last watches nobody, and all later guests would be slow too.
    for name in ("sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"):
        program += _rule(numbers[name], others)
    itself = _low(0) + _op(_EQUAL, 0, 1) + denied + _low(1) + _op(_EQUAL, 0, 1) + denied + allowed
    program += _rule(numbers["setpriority"], itself)
    flags = _low(2) + _op(_ANY_BIT, _O_ASYNC, 0, 1) + denied + allowed
    setting_flags = _low(1) + _op(_EQUAL, syscalls.FCNTL["F_SETFL"], 0, len(flags) // 8) + flags
    program += _rule(numbers["fcntl"], setting_flags + _only(1, syscalls.FCNTL.values(), denied, allowed))
    program += _rule(numbers["ioctl"], _only(1, syscalls.IOCTL.values(), denied, allowed))
    program += _rule(numbers["prctl"], _low(0) + _op(_EQUAL, _PR_SCHED_CORE, 0, 1) + denied + allowed)
    return program + allowed


def guard_filter(processes: Iterable[int]) -> bytes:
    """Denies signals to these processes, and broadcasts. For servers that are not the first process of a
    namespace, which the kernel itself protects."""
    numbers = syscalls.numbers(os.uname().machine)
    denied, allowed = _op(_RETURN, _ERRNO | _EPERM), _op(_RETURN, _ALLOW)
    program = _begin()
    guarded = [-1, *processes, *(-process for process in processes if process > 1)]
    for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"):
        tests = b"".join(_op(_EQUAL, process, 0, 1) + denied for process in guarded)
        program += _rule(numbers[name], _low(0) + tests + allowed)
    return program + allowed


def install(program: bytes) -> None:
    """Put a filter on this process and whatever it starts. It cannot be removed."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(header))
