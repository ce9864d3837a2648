"""Attacks on the disk, and with files."""

from ludus.tools.sandbox.conformance.attack import Attack
from ludus.tools.sandbox.result import Verdict

_DISK = (Verdict.DISK_LIMIT,)
_HELD = ("disk",)

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
