"""Attacks on the kernel, and through it."""

import signal

from ludus.tools.sandbox.conformance.attack import Attack, Evidence
from ludus.tools.sandbox.result import Verdict

_NOTHING = (Verdict.OK, Verdict.REFUSED)
_FILTERED = ("system calls",)


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
        "calls that nobody needs",
        """
import ctypes, os, platform
calls = dict(userfaultfd=323, bpf=321, perf_event_open=298, keyctl=250, open_by_handle_at=304)
if platform.machine() == "aarch64":
    calls = dict(userfaultfd=282, bpf=280, perf_event_open=241, keyctl=219, open_by_handle_at=265)
for name, number in calls.items():
    if os.fork() == 0:
        os._exit(7 if ctypes.CDLL(None).syscall(number, 0, 0, 0, 0, 0) >= 0 else 0)
    if os.wait()[1] == 7 << 8: print("ESCAPED:", name)
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
