"""Attacks on the disk, and with files."""

from ludus.tools.sandbox.conformance.attack import Attack
from ludus.tools.sandbox.result import Verdict

_DISK = (Verdict.DISK_LIMIT,)
_HELD = ("disk",)

_COLLECTED = (
    "folder",
    "folder/inner",
    "closed/inner",
    "locked",
    "pipe",
    "socket",
    "loop",
    "missing",
    "kept/inner",
)
_IN_THE_WAY = """
import os, socket
kept = 1
os.makedirs("folder/inner"); os.mkdir("closed")
for name in ("closed/inner", "locked", "kept"): open(name, "w").write("1")
os.chmod("closed", 0); os.chmod("locked", 0)
try: os.mkfifo("pipe")
except OSError: pass
os.symlink("loop", "loop")
socket.socket(socket.AF_UNIX).bind("socket")
"""
"""Everything that a name can stand for: a file, and all that is not one."""

ATTACKS = (
    Attack("disk fill", "open('big', 'wb').write(bytes(64 << 20))", _DISK, needs=_HELD),
    Attack(
        "disk fill by many files",
        "for n in range(64): open(str(n), 'wb').write(bytes(1 << 20))",
        _DISK,
        needs=_HELD,
    ),
    Attack(
        "disk fill that goes on",
        """
n = 0
while True:
    n += 1
    try: open(f"f{n}", "wb").write(bytes(1 << 18))
    except OSError: pass
""",
        (Verdict.DISK_LIMIT, Verdict.TIME_LIMIT),
        seconds=0.5,
        needs=_HELD,
    ),
    Attack(
        "disk fill of /tmp and /dev/shm",
        "for place in ('/tmp', '/dev/shm'): open(f\"{place}/{host['mark']}\", 'wb').write(bytes(64 << 20))",
        (Verdict.DISK_LIMIT, Verdict.RUNTIME_ERROR),
        needs=_HELD,
    ),
    Attack("inode flood", "for n in range(100_000): open(str(n), 'w').close()", _DISK, needs=_HELD),
    Attack("sparse terabyte file", "open('sparse', 'wb').truncate(1 << 40)", _DISK, needs=_HELD),
    Attack(
        "a folder too deep and one locked",
        """
import os
top = os.getcwd()
for _ in range(300): os.mkdir("d" * 30); os.chdir("d" * 30)
os.chdir(top); os.mkdir("locked"); open("locked/file", "w"); os.chmod("locked", 0)
""",
        (Verdict.OK,),
    ),
    Attack(
        "symlink escape in collected files",
        """
import os
os.symlink(host["precious"], "link")
os.symlink(host["folder"], "folder")
os.symlink("/", "root")
os.mkdir("directory")
try: os.mkfifo("pipe")
except OSError: pass
""",
        (Verdict.OK,),
        files_out=("link", "folder/precious", "root/etc/hostname", "pipe", "directory"),
        overwrite=("link",),
    ),
    Attack(
        "symlink escape in a cell",
        "import os\nos.symlink(host['precious'], 'link')\nos.symlink(host['folder'], 'folder')",
        (Verdict.OK,),
        how="session",
        files_out=("link", "folder/precious"),
    ),
    Attack(
        "something else where files are collected",
        _IN_THE_WAY,
        (Verdict.OK,),
        files_out=(*_COLLECTED, "kept"),
        kept=("kept",),
    ),
    Attack(
        "something else where a cell's files are collected",
        _IN_THE_WAY,
        (Verdict.OK,),
        how="session",
        then=("assert kept == 1",),
        files_out=(*_COLLECTED, "kept"),
        kept=("kept",),
    ),
    Attack(
        "no work directory where a cell's files are collected",
        "import os\nos.chdir('..')\ntry: os.rename('work', 'elsewhere')\nexcept OSError: pass",
        (Verdict.OK,),
        how="session",
        then=("print('here again')",),
        files_out=("file",),
    ),
    Attack(
        "hard link to a host's file",
        "import os\ntry: os.link(host['precious'], 'link')\nexcept OSError: pass",
        (Verdict.OK,),
        files_out=("link",),
        needs=("files",),
    ),
    Attack(
        "writing outside the work directory",
        """
import os
for place in ("/tmp", "/dev/shm", "/var/tmp", host["folder"]):
    try: open(f"{place}/{host['mark']}", "w").write("here")
    except OSError: pass
try: open(host["precious"], "w").write("overwritten")
except OSError: pass
""",
        (Verdict.OK,),
    ),
    Attack(
        "something else in place of a given folder",
        """
import os
os.chdir("..")
for place in os.listdir():
    try: os.rmdir(place)
    except OSError: pass
for place, leads in (("shm", "work"), ("tmp", "../" * 20)):
    try: os.symlink(leads, place)
    except OSError: pass
try: os.rename("work", "kept")
except OSError: pass
for name in ("work/left", "kept/left"):
    try: open(name, "w").write("for the next one")
    except OSError: pass
""",
        (Verdict.OK,),
        then=("import os\nfor place in ('.', '/tmp'): assert os.listdir(place) == [], os.listdir(place)",),
    ),
    Attack(
        "a full disk without the given folders",
        """
import os
for place in ("shm", "tmp"):
    try: os.rmdir(f"../{place}")
    except OSError: pass
for n in range(100_000): open(str(n), "w").close()
""",
        _DISK,
        needs=_HELD,
    ),
    Attack(
        "folders that nobody may enter",
        "import os\nfor place in ('/tmp', '.', '..'):\n    try: os.chmod(place, 0)\n    except OSError: pass",
        (Verdict.OK,),
        then=("open('mine', 'w').write('1'); open('/tmp/mine', 'w').write('1')",),
    ),
    Attack(
        "a message in the times of folders",
        """
import os
for place in (".", "..", "/tmp"):
    try: os.utime(place, (20406, 20406))
    except OSError: pass
""",
        (Verdict.OK,),
        then=(
            """
import os
for place in (".", "..", "/tmp"):
    if 20406 in (os.stat(place).st_mtime, os.stat(place).st_atime): print("ESCAPED: a message in", place)
""",
        ),
    ),
    Attack(
        "a message in attributes, and an access list for all that follows",
        """
import os, struct
entries = ((1, 0), (4, 0), (32, 0))
rights = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry, 0xFFFFFFFF) for entry in entries)
for place in (".", "..", "/tmp"):
    for name, value in (("user.message", b"for the next one"), ("system.posix_acl_default", rights)):
        try: os.setxattr(place, name, value)
        except OSError: pass
""",
        (Verdict.OK,),
        then=(
            """
import os
if os.listxattr("."): print("ESCAPED: attributes of one before it")
open("mine", "w").close()
open("mine").close()
""",
        ),
    ),
    Attack(
        "a tree that is hard to remove",
        """
import os
os.makedirs("a/b/c/d"); open("a/b/c/file", "w")
os.makedirs("x" * 250 + "/" + "y" * 250)
for n in range(20): os.makedirs(f"a.1.{n}/inside"); os.makedirs(f"{n}/inside")
os.symlink("/", "a/root"); os.symlink("loop", "a/loop")
for folder in ("a/b/c/d", "a/b/c", "a/b", "a", "x" * 250): os.chmod(folder, 0)
""",
        (Verdict.OK,),
    ),
    Attack(
        "changing the interpreter",
        """
import os, sys, encodings
for path in {os.__file__, sys.executable, encodings.__file__}:
    try:
        os.close(os.open(path, os.O_RDWR))
        print("ESCAPED: it can write to", path)
    except OSError: pass
for folder in {*sys.path, sys.prefix} - {""}:
    if os.access(folder, os.W_OK) and os.path.isdir(folder) and os.path.realpath(folder) != os.getcwd():
        print("ESCAPED: it can plant modules in", folder)
""",
        (Verdict.OK,),
    ),
)
