"""Attacks with processes: too many, too long-lived, and against each other."""

from ludus.tools.sandbox.conformance.attack import Attack, Evidence, in_time
from ludus.tools.sandbox.result import Verdict

_COUNTED = ("processes", "process count")
_STOPPED = (Verdict.TIME_LIMIT, Verdict.MEMORY_LIMIT, Verdict.RUNTIME_ERROR)


def _few_threads(evidence: Evidence) -> str:
    started = evidence.results[0].stdout.strip()
    if started.isdigit() and int(started) < evidence.limits.processes:
        return ""
    return f"it started {started!r} threads; the limit is {evidence.limits.processes}, itself included"


ATTACKS = (
    Attack(
        "fork bomb",
        """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
        _STOPPED,
        seconds=0.5,
        needs=_COUNTED,
    ),
    Attack(
        "fork bomb, called",
        """
import os
def attack(n):
    while True:
        try: os.fork()
        except OSError: pass
""",
        _STOPPED,
        seconds=0.5,
        how="call",
        needs=_COUNTED,
    ),
    Attack(
        "fork bomb in a cell",
        """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
        _STOPPED,
        seconds=0.5,
        how="session",
        then=("print('here again')",),
        needs=_COUNTED,
    ),
    Attack(
        "thread bomb",
        """
import os, threading, time
started = 0
try:
    while started < 10_000:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
except RuntimeError: pass
print(started, flush=True)
os._exit(0)
""",
        (Verdict.OK,),
        needs=_COUNTED,
        judge=_few_threads,
    ),
    Attack(
        "daemonised grandchild",
        """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(64):
            try: os.close(number)
            except OSError: pass
        time.sleep(20)
    os._exit(0)
os.wait()
""",
        (Verdict.OK,),
    ),
    Attack(
        "a child that keeps the pipes open",
        """
import os, time
if os.fork() == 0:
    time.sleep(20)
print("done", flush=True)
os._exit(0)
""",
        (Verdict.OK,),
        judge=in_time,
    ),
    Attack(
        "a child that outlives its cell",
        """
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(20)
    os._exit(0)
""",
        (Verdict.OK,),
        how="session",
        then=("print('next')",),
    ),
    Attack(
        "kill scan",
        """
import os, signal
for number in (signal.SIGKILL, signal.SIGSTOP):
    for process in (-1, *range(1, 400), os.getppid(), host["victim"], host["owner"]):
        if process != os.getpid():
            try: os.kill(process, number)
            except OSError: pass
""",
        (Verdict.OK,),
        needs=("processes",),
    ),
    Attack(
        "signals that a descriptor sends",
        """
import ctypes, fcntl, os, signal, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
SETSIG, SETOWN_EX, FIOASYNC, FIOSETOWN, SIOCSPGRP = 10, 15, 0x5452, 0x8901, 0x8902
def by_fcntl(end, process): fcntl.fcntl(end, fcntl.F_SETOWN, process)
def by_owner(end, process): fcntl.fcntl(end, SETOWN_EX, struct.pack("ii", 1, process))
def by_group(end, process): fcntl.fcntl(end, fcntl.F_SETOWN, -process)
def by_ioctl(end, process): fcntl.ioctl(end, FIOSETOWN, struct.pack("i", process))
def by_socket(end, process): fcntl.ioctl(end, SIOCSPGRP, struct.pack("i", process))
def by_flag(end): fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)
def by_order(end): fcntl.ioctl(end, FIOASYNC, struct.pack("i", 1))
def allowed(what, *arguments):
    try: what(*arguments)
    except OSError: return False
    return True
for owned in (by_fcntl, by_owner, by_group, by_ioctl, by_socket):
    for process in {1, os.getppid(), host["victim"], host["owner"]}:
        near, far = socket.socketpair()
        if allowed(owned, near, process): print("ESCAPED: a descriptor belongs to", process, owned.__name__)
        allowed(fcntl.fcntl, near, SETSIG, signal.SIGKILL)
        for started in (by_flag, by_order):
            if allowed(started, near): print("ESCAPED: a descriptor sends signals", started.__name__)
            far.send(b"!")
""",
        (Verdict.OK,),
        needs=("system calls",),
    ),
    Attack(
        "signals through a folder of /proc",
        """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
for process in {1, os.getppid(), host["victim"], host["owner"]}:
    try: folder = os.open(f"/proc/{process}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError: folder = -1
    if folder < 0:  # not a descriptor: does the kernel look?
        sent = libc.syscall(424, 9999, 0, None, 0)
        if sent == 0 or ctypes.get_errno() != 1: print("ESCAPED: the kernel would send a signal", process)
    elif libc.syscall(424, folder, signal.SIGKILL, None, 0) == 0:
        print("ESCAPED: it ended", process)
""",
        (Verdict.OK,),
        needs=("system calls",),
    ),
    Attack(
        "a child that its parent's parent has",
        """
import ctypes, os, platform, signal
CLONE_PARENT, clone = 0x8000, 220 if platform.machine() == "aarch64" else 56
for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGCHLD):
    if ctypes.CDLL(None).syscall(clone, CLONE_PARENT | number, 0, 0, 0, 0) == 0: os._exit(0)
""",
        (Verdict.OK, Verdict.RUNTIME_ERROR),
    ),
    Attack(
        "looking for the host's processes",
        """
import os
for process in (host["victim"], host["owner"]):
    try:
        if os.readlink(f"/proc/{process}/exe"): print("ESCAPED: it sees a process of the host")
    except OSError: pass
""",
        (Verdict.OK,),
    ),
    Attack(
        "raising its own limits",
        """
import resource
for name in ("CPU", "FSIZE", "DATA", "NPROC", "NOFILE", "CORE"):
    limit = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(limit)[1]
    if hard == resource.RLIM_INFINITY:
        continue  # held by other means, which the other attacks try
    try:
        resource.setrlimit(limit, (hard + 1, hard + 1))
        print("ESCAPED: it raised", name)
    except (OSError, ValueError): pass
    try:
        resource.prlimit(host["owner"], limit, resource.getrlimit(limit))
        print("ESCAPED: it set the limits of its owner")
        break
    except (OSError, ValueError): pass
""",
        (Verdict.OK, Verdict.REFUSED),
        needs=("processes",),
    ),
    Attack(
        "raising its own limits and priority",
        """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    print("ESCAPED: it raised its number of descriptors")
except (OSError, ValueError): pass
try:
    os.nice(-5)
    print("ESCAPED: it goes before others")
except OSError: pass
""",
        (Verdict.OK, Verdict.REFUSED),
    ),
    Attack(
        "sending the server to the end of the queue",
        """
import os
here = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0))
open("before", "w").write(repr(here))
for process in {1, os.getppid()}:
    for what in (
        lambda: os.setpriority(os.PRIO_PROCESS, process, 19),
        lambda: os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0)),
        lambda: os.sched_setaffinity(process, {min(os.sched_getaffinity(0))}),
    ):
        try:
            what()
            print("ESCAPED: it has a say in when process", process, "runs")
        except OSError: pass
try: os.setpriority(os.PRIO_USER, 0, 19)
except OSError: pass
""",
        (Verdict.OK,),
        then=(
            """
import os
here = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0))
assert repr(here) == open("before").read()
""",
        ),
        needs=("system calls",),
    ),
)
