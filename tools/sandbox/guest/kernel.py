"""The system calls that Python has no function for, and the filter on those that guests may make."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

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
    _check(_libc.mount(b"tmpfs", place.encode(), b"tmpfs", _ulong(MS_NOSUID_NODEV), options.encode()), "mount")


def unmount(place: str) -> None:
    """Take a mount out of the tree; who holds a descriptor on it still sees it."""
    _check(_libc.umount2(place.encode(), MNT_DETACH), f"umount {place}")


def new_user_namespace() -> None:
    _check(_libc.unshare(CLONE_NEWUSER), "unshare")


def set_dumpable(yes: bool) -> None:
    """Whether others of the same user may look into this process."""
    _prctl(_PR_SET_DUMPABLE, int(yes))


def die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def drop_capabilities() -> None:
    """Give up every capability, for good, here and in everything that is started from here."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError:  # the kernel has no such capability, or we have no right to drop it from the bounds
            break
    _prctl(_PR_CAP_AMBIENT, 4)
    header = struct.pack("Ii", 0x20080522, 0)
    _check(_libc.capset(header, struct.pack("6I", *(0,) * 6)), "capset")


def holds_capabilities() -> bool:
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(struct.pack("Ii", 0x20080522, 0), data), "capget")
    return any(struct.unpack("6I", data.raw))


# Asking for one of these is never an accident: the process is killed (SIGSYS).
_FORBIDDEN = """
    ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp
    unshare setns mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl
    keyctl add_key request_key name_to_handle_at open_by_handle_at fanotify_init lookup_dcookie
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname syslog vhangup personality
    iopl ioperm modify_ldt nfsservctl quotactl_fd
""".split()

# These fail, since honest libraries try them and go on. Memory outside any process (System V, memfd, message
# queues) would escape the limits on memory.
_DENIED = """
    memfd_create memfd_secret shmget shmat shmctl semget msgget mq_open
    migrate_pages move_pages mbind set_mempolicy get_mempolicy landlock_create_ruleset
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset
    mknod mknodat listen accept accept4
""".split()

_NUMBERS = {
    "x86_64": dict(
        ptrace=101, process_vm_readv=310, process_vm_writev=311, process_madvise=440, pidfd_getfd=438, kcmp=312,
        unshare=272, setns=308, mount=165, umount2=166, pivot_root=155, chroot=161, move_mount=429, open_tree=428,
        fsopen=430, fsconfig=431, fsmount=432, fspick=433, mount_setattr=442, bpf=321, perf_event_open=298,
        userfaultfd=323, io_uring_setup=425, io_uring_enter=426, io_uring_register=427, init_module=175,
        finit_module=313, delete_module=176, kexec_load=246, kexec_file_load=320, reboot=169, swapon=167, swapoff=168,
        acct=163, quotactl=179, quotactl_fd=443, keyctl=250, add_key=248, request_key=249, name_to_handle_at=303,
        open_by_handle_at=304, fanotify_init=300, lookup_dcookie=212, settimeofday=164, clock_settime=227,
        clock_adjtime=305, adjtimex=159, sethostname=170, setdomainname=171, syslog=103, vhangup=153, personality=135,
        iopl=172, ioperm=173, modify_ldt=154, nfsservctl=180, memfd_create=319, memfd_secret=447, shmget=29, shmat=30,
        shmctl=31, semget=64, msgget=68, mq_open=240, migrate_pages=256, move_pages=279, mbind=237, set_mempolicy=238,
        get_mempolicy=239, landlock_create_ruleset=444, setuid=105, setgid=106, setreuid=113, setregid=114,
        setresuid=117, setresgid=119, setgroups=116, setfsuid=122, setfsgid=123, capset=126, mknod=133, mknodat=259,
        listen=50, accept=43, accept4=288, socket=41, socketpair=53, clone=56, clone3=435, prlimit64=302, ioctl=16,
        kill=62, tkill=200, tgkill=234, rt_sigqueueinfo=129, rt_tgsigqueueinfo=297, pidfd_open=434, connect=42,
    ),
    "aarch64": dict(
        ptrace=117, process_vm_readv=270, process_vm_writev=271, process_madvise=440, pidfd_getfd=438, kcmp=272,
        unshare=97, setns=268, mount=40, umount2=39, pivot_root=41, chroot=51, move_mount=429, open_tree=428,
        fsopen=430, fsconfig=431, fsmount=432, fspick=433, mount_setattr=442, bpf=280, perf_event_open=241,
        userfaultfd=282, io_uring_setup=425, io_uring_enter=426, io_uring_register=427, init_module=105,
        finit_module=273, delete_module=106, kexec_load=104, kexec_file_load=294, reboot=142, swapon=224, swapoff=225,
        acct=89, quotactl=60, quotactl_fd=443, keyctl=219, add_key=217, request_key=218, name_to_handle_at=264,
        open_by_handle_at=265, fanotify_init=262, lookup_dcookie=18, settimeofday=170, clock_settime=112,
        clock_adjtime=266, adjtimex=171, sethostname=161, setdomainname=162, syslog=116, vhangup=58, personality=92,
        nfsservctl=42, memfd_create=279, memfd_secret=447, shmget=194, shmat=196, shmctl=195, semget=190, msgget=186,
        mq_open=180, migrate_pages=238, move_pages=239, mbind=235, set_mempolicy=237, get_mempolicy=236,
        landlock_create_ruleset=444, setuid=146, setgid=144, setreuid=145, setregid=143, setresuid=147, setresgid=149,
        setgroups=159, setfsuid=151, setfsgid=152, capset=91, mknodat=33, listen=201, accept=202, accept4=242,
        socket=198, socketpair=199, clone=220, clone3=435, prlimit64=261, ioctl=29, kill=129, tkill=130, tgkill=131,
        rt_sigqueueinfo=138, rt_tgsigqueueinfo=240, pidfd_open=434, connect=203,
    ),
}  # fmt: skip
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEWEST = 461
"""Later system calls are not known here, so that they do not exist for guests."""

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value & 0xFFFFFFFF)


def _low(argument: int) -> bytes:
    """Load the low half of an argument (both machines are little-endian)."""
    return _op(_LOAD, 16 + 8 * argument)


def _begin() -> bytes:
    architecture = _op(_LOAD, 4) + _op(_EQUAL, _ARCHITECTURE[platform.machine()], 1) + _op(_RETURN, _KILL)
    return architecture + _op(_LOAD, 0)


def _rule(number: int, body: bytes) -> bytes:
    """`body` for one system call; the accumulator holds the number before and after."""
    return _op(_EQUAL, number, 0, len(body) // 8) + body


def guest_filter() -> bytes:
    """The classic BPF program that guests and their server run under.

    Network sockets, further namespaces (also by clone), other people's limits and typing into terminals are
    denied by argument; whatever else is not meant for guests by number.
    """
    numbers = _NUMBERS[platform.machine()]
    denied = _op(_RETURN, _ERRNO | _EPERM)
    program = _begin() + _op(_AT_LEAST, _NEWEST + 1, 0, 1) + _op(_RETURN, _ERRNO | _ENOSYS)
    for name in _FORBIDDEN:
        if name in numbers:
            program += _rule(numbers[name], _op(_RETURN, _KILL))
    for name in _DENIED:
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
    typing = _low(1) + _op(_EQUAL, _TIOCSTI, 1) + _op(_EQUAL, _TIOCLINUX, 0, 1) + denied + allowed
    program += _rule(numbers["ioctl"], typing)
    return program + allowed


def guard_filter(processes: Iterable[int]) -> bytes:
    """Denies signals to these processes and to everybody at once, for servers that are not the first process
    of a namespace, which the kernel guards by itself."""
    numbers = _NUMBERS[platform.machine()]
    denied, allowed = _op(_RETURN, _ERRNO | _EPERM), _op(_RETURN, _ALLOW)
    program = _begin()
    guarded = [-1, *processes, *(-process for process in processes if process > 1)]
    for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"):
        tests = b"".join(_op(_EQUAL, process, 0, 1) + denied for process in guarded)
        program += _rule(numbers[name], _low(0) + tests + allowed)
    return program + allowed


def install(program: bytes) -> None:
    """Put a filter on this process and on everything that it starts. It cannot be taken off."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(header))
