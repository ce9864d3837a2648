"""Attacks on what a guest must not know. The host's secret begins with `LUDUS-SECRET-`."""

from ludus.tools.sandbox.conformance.attack import Attack, Evidence
from ludus.tools.sandbox.result import Verdict

_OK = (Verdict.OK,)

# The pattern, written so that it does not match itself.
_SEARCH = """
import re
def search(text):
    if isinstance(text, str): text = text.encode("utf-8", "replace")
    for found in set(re.findall(rb"LUDUS-SECRET-[0-9a-f]{16}", text)):
        print("found", found.decode())
"""
_FRAMES = (
    _SEARCH
    + """
import gc, sys
frame = sys._getframe()
while frame:
    search(repr(frame.f_locals)); search(repr(frame.f_globals))
    frame = frame.f_back
for thing in gc.get_objects():
    inner = (*thing.keys(), *thing.values()) if type(thing) is dict else thing
    if type(thing) in (dict, list, tuple, set, frozenset):
        for text in inner:
            if type(text) in (str, bytes, bytearray): search(bytes(text) if type(text) is bytearray else text)
for module in list(sys.modules.values()):
    search(repr(vars(module)))
"""
)
# Freed memory too: the pages around all existing objects.
_HEAP = (
    _SEARCH
    + """
import ctypes, gc
for page in {id(thing) & ~4095 for thing in gc.get_objects()}:
    search(ctypes.string_at(page, 4096))
"""
)


def _nameless(evidence: Evidence) -> str:
    said = evidence.results[0].stdout
    return f"it knows the host's name, {evidence.nodename!r}" if evidence.nodename in said.split() else ""


_NEIGHBOUR = """
import os, socket, time
secret = "LUDUS-" + "SECRET-" + host["neighbour"]
for place in (".", "/tmp", "/dev/shm", "/var/tmp"):
    try: open(f"{place}/{host['mark']}-note", "w").write(secret)
    except OSError: pass
listener = socket.socket(socket.AF_UNIX)
try:
    listener.bind("\\0" + host["mark"])
    listener.listen()
except OSError: pass
time.sleep(0.6)
for place in (".", "/tmp", "/dev/shm", "/var/tmp"):
    try: os.remove(f"{place}/{host['mark']}-note")
    except OSError: pass
print("undisturbed")
"""

ATTACKS = (
    Attack("frame walking for hidden data", _FRAMES, _OK),
    Attack("frame walking for hidden data, called", _FRAMES + "\ndef attack(n): return n", _OK, how="call"),
    Attack("frame walking for hidden data, in a cell", _FRAMES, _OK, how="session"),
    Attack("memory that was freed", _HEAP, _OK),
    Attack("memory that was freed, in a cell", _HEAP, _OK, how="session"),
    Attack(
        "environment variables",
        _SEARCH
        + """
import ctypes, os
search(repr(dict(os.environ)))
environment = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
number = 0
while environment[number]:
    search(environment[number]); number += 1
""",
        _OK,
    ),
    Attack(
        "file descriptors of the host",
        _SEARCH
        + """
import os, stat
for number in range(3, 1024):
    try: kind = os.fstat(number).st_mode
    except OSError: continue
    print("ESCAPED: descriptor", number, "is open:", oct(kind))
    if stat.S_ISREG(kind): search(os.pread(number, 65536, 0))
""",
        _OK,
    ),
    Attack(
        "files of the host",
        _SEARCH
        + """
for root in ("", "/proc/1/root", f"/proc/{host['owner']}/root", "/host", "/mnt"):
    try: search(open(root + host["precious"], "rb").read())
    except OSError: pass
""",
        _OK,
    ),
    Attack(
        "/proc walking",
        _SEARCH
        + """
import os
try: processes = [name for name in os.listdir("/proc") if name.isdigit()]
except OSError: processes = []
for process in {"1", "self", str(os.getppid()), str(host["victim"]), str(host["owner"]), *processes}:
    for name in ("environ", "cmdline"):
        try: search(open(f"/proc/{process}/{name}", "rb").read())
        except OSError: pass
""",
        _OK,
    ),
    Attack(
        "clock and hostname as information",
        """
import os, socket
print(os.uname().nodename, socket.gethostname())
for path in ("/etc/hostname", "/proc/sys/kernel/hostname"):
    try: print(open(path).read())
    except OSError: pass
for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/proc/uptime", "/var/log/lastlog"):
    try:
        open(path).read()
        print("ESCAPED: it reads", path)
    except OSError: pass
""",
        _OK,
        judge=_nameless,
    ),
    Attack(
        "two guests trying to see each other",
        _SEARCH
        + """
import os, socket, time
time.sleep(0.2)
for place in (".", "/tmp", "/dev/shm", "/var/tmp"):
    try: search(open(f"{place}/{host['mark']}-note", "rb").read())
    except OSError: pass
try:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\\0" + host["mark"])
        print("ESCAPED: it is connected to its neighbour")
except OSError: pass
try: processes = os.listdir("/proc")
except OSError: processes = []
for process in processes:
    try: text = open(f"/proc/{process}/comm").read()
    except OSError: continue
    if process.isdigit() and int(process) != os.getpid() and host["mark"] in text:
        print("ESCAPED: it sees its neighbour's process")
""",
        _OK,
        how="pair",
        neighbour=_NEIGHBOUR,
    ),
    Attack(
        "watching the interpreter's files",
        """
import ctypes, fcntl, os, signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
folder = os.path.dirname(os.__file__)
if ctypes.CDLL(None).inotify_init1(0) >= 0: print("ESCAPED: it sees which files others read")
try:
    fcntl.fcntl(os.open(folder, os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
    print("ESCAPED: it is told when others read from", folder)
except OSError: pass
""",
        _OK,
        needs=("system calls",),
    ),
    Attack(
        "a guest before this one",
        _FRAMES
        + """
import os
for folder, _, names in os.walk("."):
    for name in names: search(open(os.path.join(folder, name), "rb").read())
""",
        _OK,
    ),
)
