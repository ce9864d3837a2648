import asyncio
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Limits, Sandbox, SandboxFault, Value, Verdict, cgroups
from ludus.tools.sandbox.backends import GUARANTEES

from .conftest import QUICK, opened


def test_a_program_runs_with_its_input_and_output(box):
    result = box.run(
        "import sys\nprint(sys.stdin.read().upper())\nprint('oh', file=sys.stderr)", stdin="hi ü"
    )
    assert (result.verdict, result.exit_code, result.signal) == (Verdict.OK, 0, None)
    assert (result.stdout, result.stderr) == ("HI Ü\n", "oh\n")
    assert 0 < result.seconds < 1
    assert 1 << 20 < result.peak_memory < 1 << 28


@pytest.mark.parametrize(
    ("code", "verdict", "exit_code"),
    [
        ("1/0", Verdict.RUNTIME_ERROR, 1),
        ("import sys; sys.exit(3)", Verdict.RUNTIME_ERROR, 3),
        ("import sys; sys.exit('why')", Verdict.RUNTIME_ERROR, 1),
        ("import sys; sys.exit()", Verdict.OK, 0),
        ("import os; os._exit(0)", Verdict.OK, 0),
        ("raise KeyboardInterrupt", Verdict.RUNTIME_ERROR, 1),
        ("def f(:", Verdict.RUNTIME_ERROR, 1),
        ("\0", Verdict.RUNTIME_ERROR, 1),
        ("x = bytearray(10**11)", Verdict.MEMORY_LIMIT, 1),
    ],
)
def test_exits(box, code, verdict, exit_code):
    result = box.run(code)
    assert (result.verdict, result.exit_code, result.signal) == (verdict, exit_code, None)


def test_a_traceback_shows_the_program_only(box):
    result = box.run("def f():\n    return 1 / 0\nf()")
    assert result.stderr == (
        "Traceback (most recent call last):\n"
        '  File "main.py", line 3, in <module>\n    f()\n'
        '  File "main.py", line 2, in f\n    return 1 / 0\n           ~~^~~\n'
        "ZeroDivisionError: division by zero\n"
    )


def test_a_signal_is_named(box):
    result = box.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (result.verdict, result.exit_code) == (Verdict.RUNTIME_ERROR, None)
    assert result.signal == signal.SIGSEGV


def test_what_an_interpreter_does_at_its_end_is_done(box):
    code = """
import atexit, threading, time
atexit.register(print, "last")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
print("main")
"""
    assert box.run(code).stdout == "main\nthread\nlast\n"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)"])
def test_time_is_limited(box, code):
    began = time.monotonic()
    result = box.run(code, limits=replace(QUICK, wall_s=0.4, cpu_s=0.2))
    assert result.verdict is Verdict.TIME_LIMIT
    assert time.monotonic() - began < 5
    assert box.run("print(1)").stdout == "1\n"


def test_the_time_of_all_processes_together_is_limited(box):
    code = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    result = box.run(code, limits=replace(QUICK, wall_s=30, cpu_s=0.3))
    assert result.verdict is Verdict.TIME_LIMIT
    assert result.seconds < 10


def test_what_was_printed_before_the_end_is_kept(box):
    code = "print('a', flush=True)\nwhile True: pass"
    assert box.run(code, limits=replace(QUICK, cpu_s=0.1)).stdout == "a\n"


def test_output_is_limited_and_cut(box):
    result = box.run("while True: print('x' * 1000)")
    assert result.verdict is Verdict.OUTPUT_LIMIT
    assert len(result.stdout) == QUICK.output_kb * 1024
    assert box.run("print('y' * 1000)").verdict is Verdict.OK


def test_output_that_is_no_text_is_replaced(box):
    result = box.run(r"import os; os.write(1, b'a\xff\xfe\n')")
    assert (result.verdict, result.stdout) == (Verdict.OK, "a��\n")


@pytest.mark.parametrize(
    "code",
    [
        "open('big', 'wb').write(b'x' * (20 << 20))",
        "[open(f'part{i}', 'wb').write(b'x' * (1 << 20)) for i in range(20)]",
        "open('sparse', 'wb').truncate(1 << 40)",
        "[open(str(i), 'w').close() for i in range(100_000)]",
    ],
)
def test_the_disk_is_limited_and_emptied(box, code):
    assert box.run(code).verdict is Verdict.DISK_LIMIT
    box.wipe()
    assert box.run("import os; print(os.listdir())").stdout == "[]\n"


def test_only_who_fills_the_disk_is_blamed(box):
    fill = """
with open('f', 'wb', 0) as file:
    try:
        while True: file.write(bytes(1 << 16))
    except OSError: pass
"""
    assert box.run(fill).verdict is Verdict.DISK_LIMIT
    assert box.run("print(1)").verdict is Verdict.OK
    assert box.run("open('g', 'w').write('x' * 9999)").verdict is Verdict.DISK_LIMIT


def test_nothing_is_left_of_a_program(box):
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.1)
        open("late", "w").write("still here")
        time.sleep(60)
    os._exit(0)
"""
    assert box.run(code).verdict is Verdict.OK
    time.sleep(0.2)
    assert box.run("import os; print(os.path.exists('late'))").stdout == "False\n"


def test_memory_of_many_children_counts_together(box):
    code = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 16)) * 16 * 24
        time.sleep(60)
time.sleep(60)
"""
    assert box.run(code, limits=replace(QUICK, wall_s=3)).verdict is Verdict.MEMORY_LIMIT


def test_refused_system_calls(box):
    assert box.run("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)").verdict is Verdict.REFUSED
    result = box.run("import socket; socket.socket()")
    assert (result.verdict, "PermissionError" in result.stderr) == (Verdict.RUNTIME_ERROR, True)


def test_the_environment_of_the_owner_is_not_seen(box):
    os.environ["LUDUS_SECRET"] = "swordfish"
    try:
        result = box.run("import os; print(dict(os.environ), os.getcwd(), os.uname().nodename)")
    finally:
        del os.environ["LUDUS_SECRET"]
    assert "swordfish" not in result.stdout
    assert result.stdout.endswith("/box/work ludus\n")


def test_guests_hold_no_descriptor_but_their_own(box):
    code = """
import os
def is_open(number):
    try: os.fstat(number)
    except OSError: return False
    return True
print([number for number in range(4096) if is_open(number)])
"""
    assert box.run(code).stdout == "[0, 1, 2]\n"


def test_files_go_in_and_out(box):
    box.write("data/in.bin", b"\x00\xff" * 1000)
    box.write("text.txt", "ü")
    code = "data = open('data/in.bin', 'rb').read()\nopen('out.bin', 'wb').write(data[::-1])"
    result = box.run(code, files_out=["out.bin", "text.txt", "missing"])
    assert result.files == {"out.bin": b"\xff\x00" * 1000, "text.txt": "ü".encode()}
    assert box.read("text.txt") == "ü".encode()
    with pytest.raises(FileNotFoundError, match="not a regular file"):
        box.read("missing")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a\0b", "./a"])
def test_names_stay_in_the_work_directory(box, name):
    for attempt in (lambda: box.write(name, b""), lambda: box.read(name)):
        with pytest.raises(UserError, match="inside the work directory"):
            attempt()


def test_links_and_pipes_are_not_followed(box):
    code = """
import os
os.symlink("/etc/ld.so.cache", "link"); os.symlink("/", "root"); os.mkfifo("pipe"); os.mkdir("folder")
os.symlink("/box/shm/planted", "written")
"""
    names = ["link", "root/etc/ld.so.cache", "pipe", "folder"]
    assert box.run(code, files_out=names).files == {}
    box.write("written", "new")
    assert box.run("import os; print(os.path.exists('/box/shm/planted'))").stdout == "False\n"


def test_a_file_that_does_not_fit_is_refused(box):
    with pytest.raises(UserError, match="big"):
        box.write("big", bytes(64 << 20))


def test_the_work_directory_stays_and_programs_are_apart(box):
    box.run("open('kept', 'w').write('1'); import builtins; builtins.print = None")
    assert box.run("print(open('kept').read())").stdout == "1\n"


def test_snapshots(box):
    box.write("a/b.txt", "one")
    snapshot = box.snapshot()
    box.run("import os; os.remove('a/b.txt'); open('c', 'w').write('two')")
    box.restore(snapshot)
    assert box.run("import os; print(os.listdir(), open('a/b.txt').read())").stdout == "['a'] one\n"
    with pytest.raises(UserError, match="is it a snapshot"):
        box.restore(b"no archive")


def test_hostile_trees_are_removed(box):
    code = """
import os
for depth in range(400):
    os.mkdir("d" * 20); os.chdir("d" * 20)
os.chdir("/box/work"); os.mkdir("locked"); open("locked/f", "w"); os.chmod("locked", 0)
"""
    assert box.run(code).verdict is Verdict.OK
    box.wipe()
    assert box.run("import os; print(os.listdir())").stdout == "[]\n"


def test_calls_give_values_and_errors(box):
    result = box.call("def f(a, b): return [a / b, (a, b)]", "f", [[1, 2], [1, 0], ["x", 2]])
    assert result.values[0] == Value([0.5, [1, 2]])
    assert result.values[1] == Value(error="ZeroDivisionError: division by zero")
    assert result.values[2].error.startswith("TypeError")
    assert result.result.verdict is Verdict.OK
    assert box.call("x = 1", "f", [[1]]).values == [Value(error="no function 'f'")]
    assert box.call("def f(d): return d['f']", "f", [[{}]]).values == [Value(error="KeyError: 'f'")]
    assert box.call("def f(): return object()", "f", [[]]).values[0].error.startswith("TypeError")


def test_a_stopped_call_keeps_the_values_before_it(box):
    code = "def f(n):\n    while n == 2: pass\n    return n"
    result = box.call(code, "f", [[0], [1], [2], [3]], limits=replace(QUICK, cpu_s=0.2))
    assert result.values == [Value(0), Value(1)]
    assert result.result.verdict is Verdict.TIME_LIMIT


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (rb'{"value": 7}\n', [Value(7), Value(1), Value(2)]),
        (rb"\x80\x04\x95pickle\n", [Value(error="not a result"), Value(1), Value(2)]),
        (rb"[[[[[[" * 1000 + rb"\n", [Value(error="not a result"), Value(1), Value(2)]),
        (rb'{"value": 1e999}', [Value(error="not a result"), Value(2), Value(3)]),
    ],
)
def test_what_a_guest_writes_into_the_channel_is_only_its_own_word(box, written, values):
    literal = "b'" + written.decode() + "'"
    code = f"import os\nos.write(3, {literal})\ndef f(n): return n"
    assert box.call(code, "f", [[1], [2], [3]]).values == values


def test_programs_do_the_same_every_time():
    code = "import random\nprint(random.random(), {'a', 'b', 'c', 'd'}, hash('x'))"
    outputs = set()
    for _ in range(2):
        with opened("process") as sandbox:
            outputs |= {sandbox.run(code).stdout, sandbox.run("import json\n" + code).stdout}
    assert len(outputs) == 1


def test_packages_are_there_when_they_are_chosen():
    code = "import numpy, sys; print(numpy.ones(3).sum(), 'gymnasium' in sys.modules)"
    with opened("process") as plain:
        assert "No module named 'numpy'" in plain.run(code).stderr
    with opened("process", packages=("numpy",), preload=("numpy",)) as chosen:
        assert chosen.run(code).stdout == "3.0 False\n"
        assert "No module named 'gymnasium'" in chosen.run("import gymnasium").stderr
    with pytest.raises(UserError, match="'no-such-thing' is not installed"):
        Sandbox.open("process", packages=("no-such-thing",))


def test_async_forms(box):
    async def both():
        return await asyncio.gather(box.arun("print(1)"), box.acall("def f(): return 2", "f", [[]]))

    ran, called = asyncio.run(both())
    assert (ran.stdout, called.values) == ("1\n", [Value(2)])


def test_a_dead_sandbox_is_a_fault():
    sandbox = opened("process")
    sandbox.close()
    sandbox.close()
    assert not sandbox.alive
    with pytest.raises(SandboxFault, match="has ended"):
        sandbox.run("print(1)")


def test_nobody_is_put_into_less_than_was_required(monkeypatch):
    from ludus.tools.sandbox import subprocess as backend

    monkeypatch.setattr(backend, "_warned", threading.Event())
    with pytest.raises(UserError, match="'nothing' is not a guarantee"):
        Sandbox.open("process", require=["nothing"])
    with pytest.warns(RuntimeWarning, match="isolates nothing"), Sandbox.open("subprocess") as sandbox:
        assert sandbox.isolation == {}
    with pytest.raises(UserError, match="cannot isolate here: network"):
        Sandbox.open("subprocess", require=["network"])
    with opened("process") as sandbox:
        assert set(sandbox.isolation) == set(GUARANTEES)


def test_what_is_not_held_is_said_once(caplog):
    from ludus.tools.sandbox import process

    opened("process").close()

    def shared_disk(spec):
        launched = process.launch(spec)
        return replace(launched, isolation={"files": "mount namespace"})

    for _ in range(2):
        Sandbox.open(shared_disk, limits=QUICK, require=["files"]).close()
    (said,) = [record.message for record in caplog.records if "shared_disk" in record.message]
    assert said == (
        "the sandbox 'shared_disk' does not isolate here: disk, memory, network, process count, "
        "processes, system calls, users"
    )


def test_backends_are_named(monkeypatch):
    with pytest.raises(UserError, match="backend='dokcer' is not a sandbox; choose from process, docker"):
        Sandbox.open("dokcer")
    monkeypatch.setenv("LUDUS_SANDBOX", "nope")
    with pytest.raises(UserError, match="LUDUS_SANDBOX='nope'"):
        Sandbox.open()


@pytest.mark.parametrize(
    "limits", [{"wall_s": 0}, {"memory_mb": -1}, {"processes": True}, {"processes": 1.5}, {"cpu_s": "2"}]
)
def test_wrong_limits(limits):
    with pytest.raises(UserError, match=next(iter(limits))):
        Limits(**limits)


@pytest.mark.parametrize("wrong", [{"limits": {"wall_s": 1}}, {"packages": "pandas"}, {"require": "disk"}])
def test_a_sandbox_is_not_opened_with_wrong_arguments(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))}=.*: give"):
        Sandbox.open("process", **wrong)


def test_a_module_that_cannot_be_preloaded_is_named():
    opened("process").close()
    with pytest.raises(UserError, match=r"preload: 'nosuch' cannot be imported there.*No module named"):
        Sandbox.open("process", preload=["json", "nosuch"])


def test_a_backend_of_ones_own_can_be_used():
    from ludus.tools.sandbox import process

    launched = []

    def mine(spec):
        launched.append(spec)
        return process.launch(spec)

    opened("process").close()
    with Sandbox.open(mine, limits=QUICK) as sandbox:
        assert sandbox.run("print(1)").stdout == "1\n"
    assert launched[0].limits == QUICK


@given(st.binary(max_size=300))
@settings(max_examples=30)
def test_any_bytes_are_a_program_of_some_kind(bytes_box, data):
    result = bytes_box.run(data.decode("latin-1"))
    assert result.verdict in Verdict


@pytest.fixture(scope="module")
def bytes_box():
    with opened("process") as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    "child",
    ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "pass"],
    ids=["children that are ignored", "orphans"],
)
def test_children_that_nobody_waits_for_are_counted(child):
    code = f"""
import os, signal, time
{child}
for _ in range(30):
    if os.fork() == 0:
        if os.fork() == 0:
            begun = time.process_time()
            while time.process_time() - begun < 0.04: pass
        os._exit(0)
    time.sleep(0.05)
"""
    # On a busy machine many of them live at the same time.
    with opened("process", limits=Limits(wall_s=5, cpu_s=0.3, processes=100)) as box:
        assert box.run(code).verdict is Verdict.TIME_LIMIT


def test_memory_behind_a_first_thread_that_ended(monkeypatch):
    monkeypatch.setattr(cgroups, "_parents", list)
    code = """
import ctypes, platform, threading, time
def work():
    time.sleep(0.1)
    held = b"1" * (96 << 20)
    time.sleep(2)
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
    with opened("process", limits=Limits(memory_mb=64)) as box:
        assert box.run(code).verdict is Verdict.MEMORY_LIMIT


def test_a_snapshot_that_a_program_prevents_is_no_fault():
    with opened("process") as box:
        box.run("import os; open('locked', 'w'); os.chmod('locked', 0)")
        with pytest.raises(UserError, match="snapshot"):
            box.snapshot()
        assert box.alive


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda box: box.run(None), "code=None is not a program"),
        (lambda box: box.call(b"def f(): 1", "f", [[]]), "is not a program"),
        (lambda box: box.run("1", stdin=2), "2 cannot go into a sandbox"),
        (lambda box: box.write("name", 2), "2 cannot go into a sandbox"),
        (lambda box: box.restore(None), "None cannot go into a sandbox"),
        (lambda box: box.run("1", files_out="plot"), r"give a list, \['plot'\]"),
        (lambda box: box.run("1", files_out=[3]), "file 3: give a path"),
        (lambda box: box.run("1", limits={"wall_s": 1}), "give Limits"),
    ],
)
def test_wrong_arguments_are_named_and_do_no_harm(box, do, said):
    held = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match=said):
        do(box)
    # A number is not a descriptor: none of ours was passed on.
    assert len(os.listdir("/proc/self/fd")) == held
    assert box.run("print(1)").stdout == "1\n"
