"""Attacks on the kernel, and through it."""

import platform
import signal

from ludus.tools.sandbox.conformance.attack import Attack, Evidence
from ludus.tools.sandbox.result import Verdict

_NOTHING = (Verdict.OK, Verdict.REFUSED)
_FILTERED = ("system calls",)


_CALLS = {
    "x86_64": {
        "sysfs": 139, "ustat": 136, "uselib": 134, "inotify_init": 253,
        # The number of these is limited for the whole host, or for all processes of a user.
        "io_setup": 206, "io_uring_setup": 425, "inotify_init1": 294, "fanotify_init": 300, "add_key": 248,
        "request_key": 249, "keyctl": 250, "mq_open": 240, "mq_unlink": 241, "shmget": 29, "semget": 64,
        "msgget": 68, "semctl": 66, "msgctl": 71, "shmctl": 31, "userfaultfd": 323, "perf_event_open": 298,
        "bpf": 321, "memfd_create": 319, "memfd_secret": 447, "landlock_create_ruleset": 444,
        # These reveal the host's file systems, or what others read in them.
        "statmount": 457, "listmount": 458, "name_to_handle_at": 303, "open_by_handle_at": 304,
        "open_tree": 428, "fsopen": 430, "fspick": 433, "mount_setattr": 442, "lookup_dcookie": 212,
        "quotactl": 179, "quotactl_fd": 443, "cachestat": 451, "lsm_get_self_attr": 459,
        "lsm_list_modules": 461,
        # These reach other processes, or the whole host.
        "kcmp": 312, "process_madvise": 440, "process_mrelease": 448, "pidfd_getfd": 438,
        "get_robust_list": 274, "sync": 162, "syncfs": 306, "set_mempolicy_home_node": 450, "syslog": 103,
    },
    "aarch64": {
        "io_setup": 0, "io_uring_setup": 425, "inotify_init1": 26, "fanotify_init": 262, "add_key": 217,
        "request_key": 218, "keyctl": 219, "mq_open": 180, "mq_unlink": 181, "shmget": 194, "semget": 190,
        "msgget": 186, "semctl": 191, "msgctl": 187, "shmctl": 195, "userfaultfd": 282,
        "perf_event_open": 241, "bpf": 280, "memfd_create": 279, "memfd_secret": 447,
        "landlock_create_ruleset": 444, "statmount": 457, "listmount": 458, "name_to_handle_at": 264,
        "open_by_handle_at": 265, "open_tree": 428, "fsopen": 430, "fspick": 433, "mount_setattr": 442,
        "lookup_dcookie": 18, "quotactl": 60, "quotactl_fd": 443, "cachestat": 451,
        "lsm_get_self_attr": 459, "lsm_list_modules": 461, "kcmp": 272, "process_madvise": 440,
        "process_mrelease": 448, "pidfd_getfd": 438, "get_robust_list": 100, "sync": 81, "syncfs": 267,
        "set_mempolicy_home_node": 450, "syslog": 116,
    },
}.get(platform.machine(), {})  # fmt: skip
"""Numbers, on this machine, of system calls that no guest may make."""


def _segfault(evidence: Evidence) -> str:
    killer = evidence.results[0].signal
    return "" if killer == signal.SIGSEGV else f"the signal is {killer}, not {int(signal.SIGSEGV)}"


ATTACKS = (
    Attack(
        "sockets",
        """
import socket
places = [
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", host["port"])),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", host["port"])),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", host["port"])),
    (socket.AF_UNIX, socket.SOCK_STREAM, host["socket"]),
    (socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + host["abstract"]),
]
for family, kind, address in places:
    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(0.2)
            sock.connect(address)
            sock.send(b"hello")
            if kind == socket.SOCK_STREAM: print("ESCAPED: it is connected to", address)
    except OSError: pass
""",
        _NOTHING,
    ),
    Attack(
        "sockets by ctypes",
        """
import ctypes, os, struct, socket
libc = ctypes.CDLL(None, use_errno=True)
for family in (socket.AF_INET, socket.AF_INET6, 16, 17, 38, 40):  # also netlink, packet, alg, vsock
    for kind in (1, 2, 3):
        number = libc.socket(family, kind, 0)
        if number >= 0:
            print("ESCAPED: it has a socket of family", family)
            if family == socket.AF_INET:
                address = struct.pack("=HH4s8x", family, socket.htons(host["port"]), bytes([127, 0, 0, 1]))
                libc.connect(number, address, 16)
            os.close(number)
""",
        _NOTHING,
    ),
    Attack(
        "io_uring",
        """
import ctypes
if ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120)) >= 0:
    print("ESCAPED: it has a ring, which no filter sees")
""",
        _NOTHING,
    ),
    Attack(
        "ptrace",
        """
import ctypes
libc = ctypes.CDLL(None)
if libc.ptrace(16, host["victim"], 0, 0) == 0: print("ESCAPED: it traces a process of the host")
""",
        _NOTHING,
    ),
    Attack(
        "reading the memory of another process",
        """
import ctypes, os
libc = ctypes.CDLL(None)
here = ctypes.create_string_buffer(8)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
there = (ctypes.c_size_t * 2)(id(0), 8)
for process in {1, os.getppid()}:
    if libc.process_vm_readv(process, vector, 1, there, 1, 0) > 0:
        print("ESCAPED: it reads the memory of", process)
""",
        _NOTHING,
    ),
    Attack(
        "unshare",
        """
import ctypes
libc = ctypes.CDLL(None)
flags = dict(user=0x10000000, mount=0x20000, network=0x40000000, process=0x20000000)
for name, flag in flags.items():
    if libc.unshare(flag) == 0: print("ESCAPED: it has a namespace of its own:", name)
""",
        _NOTHING,
    ),
    Attack(
        "mount",
        """
import ctypes
libc = ctypes.CDLL(None)
for kind in (b"tmpfs", b"proc"):
    if libc.mount(b"none", b".", kind, 0, None) == 0: print("ESCAPED: it mounted", kind)
if libc.umount2(b"/", 2) == 0 or libc.chroot(b"/") == 0: print("ESCAPED: it changed its root")
""",
        _NOTHING,
        needs=_FILTERED,
    ),
    Attack(
        "taking what the host has only so much of",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
contexts = 0
while contexts < 1000 and libc.syscall(AIO, 1000, ctypes.byref(ctypes.c_ulong())) == 0: contexts += 1
if contexts: print("ESCAPED: it has", contexts, "asynchronous contexts, of which the host has so many")
""".replace("AIO", str(_CALLS.get("io_setup"))),
        _NOTHING,
        needs=_FILTERED,
    ),
    Attack(
        "taking what there is only so much of for a user",
        """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
timers, event = 0, struct.pack("QiiI", 0, 18, 1, 0) + bytes(44)  # SIGEV_NONE
while timers < 2000 and libc.timer_create(1, event, ctypes.byref(ctypes.c_void_p())) == 0: timers += 1
if timers >= 2000: print("ESCAPED: it has", timers, "timers")
if libc.mlock(ctypes.create_string_buffer(1 << 16), 1 << 16) == 0: print("ESCAPED: it has locked memory")
""",
        _NOTHING,
        needs=_FILTERED,
    ),
    Attack(
        "calls that nobody needs",
        f"CALLS = {_CALLS!r}"
        """
import ctypes, errno, os
REFUSED, REACHED = 0, 7
def made(number):
    libc = ctypes.CDLL(None, use_errno=True)
    # Without a filter the kernel finds that the arguments are wrong, or that this is not root.
    if libc.syscall(number, -1, 0, 0, 0, 0, 0) < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        return REFUSED
    return REACHED
for name, number in CALLS.items():
    if os.fork() == 0: os._exit(made(number))
    if os.waitstatus_to_exitcode(os.wait()[1]) == REACHED: print("ESCAPED: the kernel listens to", name)
""",
        _NOTHING,
        needs=_FILTERED,
    ),
    Attack(
        "becoming root",
        """
import os
for become in (os.setuid, os.seteuid, os.setgid):
    try: become(0)
    except OSError: pass
if 0 in (os.getuid(), os.geteuid(), os.getgid()): print("ESCAPED: it is root")
try:
    os.setgroups([0])
    print("ESCAPED: it chose its groups")
except OSError: pass
""",
        _NOTHING,
    ),
    Attack(
        "device files",
        """
import os, stat
try:
    os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
    print("ESCAPED: it made a device")
except OSError: pass
for name in ("mem", "kmem", "sda", "vda", "kvm", "fuse", "net/tun"):
    try:
        os.close(os.open(f"/dev/{name}", os.O_RDONLY))
        print("ESCAPED: it opened", name)
    except OSError: pass
""",
        _NOTHING,
    ),
    Attack("segfault", "import ctypes; ctypes.string_at(0)", (Verdict.RUNTIME_ERROR,), judge=_segfault),
    Attack(
        "segfault in a call",
        "import ctypes\ndef attack(n): return n if n == 1 else ctypes.string_at(0)",
        (Verdict.RUNTIME_ERROR,),
        how="call",
        judge=_segfault,
    ),
)
