import os
import time
from dataclasses import replace

import pytest

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Limits, SandboxFault, Verdict

from .conftest import QUICK, interrupt_soon, opened


def test_variables_live_across_cells(box):
    with box.session() as session:
        assert session.run("x = 3\nx * 2").stdout == "6\n"
        assert session.run("def f(): return x\nx += 1").stdout == ""
        assert session.run("f()").stdout == "4\n"
        assert session.run("None").stdout == ""


def test_a_failed_cell_keeps_the_variables(box):
    with box.session() as session:
        session.run("x = 1")
        failed = session.run("y = 2\n1/0")
        assert failed.verdict is Verdict.RUNTIME_ERROR
        assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")
        assert 'File "cell-2", line 2' in failed.stderr
        assert session.run("x + y").stdout == "3\n"
        assert session.run("import sys; sys.exit(0)").verdict is Verdict.OK
        assert session.run("x + y").stdout == "3\n"
        assert session.restarts == 0


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("while True: pass", Verdict.TIME_LIMIT),
        ("import os; os._exit(0)", Verdict.RUNTIME_ERROR),
        ("while True: print('x' * 1000)", Verdict.OUTPUT_LIMIT),
        ("held = bytearray(os.urandom(1 << 16)) * 16 * 200", Verdict.MEMORY_LIMIT),
    ],
)
def test_a_killed_cell_loses_the_variables(box, code, verdict):
    with box.session() as session:
        session.run("import os; x = 1")
        assert session.run(code, limits=replace(QUICK, cpu_s=0.3)).verdict is verdict
        assert "NameError" in session.run("x").stderr
        assert session.restarts == 1


def test_files_come_back_after_a_cell(box):
    box.write("in.txt", "data")
    with box.session() as session:
        result = session.run(
            "open('out.txt', 'w').write(open('in.txt').read() * 2)", files_out=["out.txt", "no"]
        )
        assert result.files == {"out.txt": b"datadata"}
    assert box.read("out.txt") == b"datadata"


def test_everything_rests_between_cells(box):
    with box.session() as session:
        session.run("import threading\ncount = 0\ndef work():\n    global count\n    while True: count += 1")
        session.run("threading.Thread(target=work, daemon=True).start()")
        before = int(session.run("count").stdout)
        import time

        time.sleep(0.3)
        # Had it run all the time, it would have counted millions.
        assert int(session.run("count").stdout) - before < 2_000_000


def test_forged_ends_of_cells_do_no_harm(box):
    with box.session() as session:
        forged = session.run("""import os, time
os.write(3, b'{"cell_status": 0}\\n'); time.sleep(0.2)""")
        assert forged.verdict in (Verdict.OK, Verdict.TIME_LIMIT)
        for code in ("os.write(3, b'garbage')", "os.close(3)", "1"):
            assert session.run(code, limits=replace(QUICK, wall_s=0.5)).verdict in Verdict
    assert box.run("print(1)").stdout == "1\n"


def test_a_session_has_the_box_to_itself(box):
    with box.session() as session:
        with pytest.raises(UserError, match="a session is open"):
            box.run("print(1)")
        with pytest.raises(UserError, match="a session is open"):
            box.session()
        assert session.run("1").stdout == "1\n"
    assert box.run("print(1)").stdout == "1\n"


def test_a_fault_leaves_no_descriptor():
    sandbox = opened("process")
    before = len(os.listdir("/proc/self/fd"))
    with sandbox.session() as session:
        sandbox.close()
        for _ in range(3):
            with pytest.raises(SandboxFault):
                session.run("1")
    # Its two sockets are closed as well.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_large_cell(box):
    with box.session() as session:
        code = "x = '" + "y" * 300_000 + "'\nlen(x)"
        assert session.run(code).stdout == "300000\n"


def test_cells_are_limited_one_by_one():
    work = "import time\nbegun = time.process_time()\nwhile time.process_time() - begun < 0.5: pass"
    with opened("process", limits=Limits(wall_s=5, cpu_s=1)) as box, box.session() as session:
        assert [session.run(work).verdict for _ in range(6)] == [Verdict.OK] * 6
        assert session.restarts == 0


def test_nothing_wakes_between_cells():
    # A timer that sends SIGCONT, and a thread that then goes on.
    code = """
import ctypes, os, struct, threading
libc = ctypes.CDLL(None)
timer, event = ctypes.c_long(), struct.pack("QiiI", 0, 18, 0, 0) + bytes(44)
libc.timer_create(1, event, ctypes.byref(timer))
libc.timer_settime(timer, 0, struct.pack("4q", 0, 50_000_000, 0, 50_000_000), None)
def work():
    while True: pass
threading.Thread(target=work, daemon=True).start()
"""
    with opened("process", limits=Limits(wall_s=5, cpu_s=4)) as box, box.session() as session:
        assert session.run(code).verdict is Verdict.OK
        # On a busy machine the thread gets its tenth of a second of the processor late.
        for pause in (1, 2, 4, 8):
            time.sleep(pause)
            if (result := session.run("print('still here')")).verdict is not Verdict.OK:
                break
        assert result.verdict is Verdict.TIME_LIMIT
        assert session.run("1").stdout == "1\n"


def test_a_flood_of_reports_is_read_once():
    code = "import os\nfor _ in range(30): os.write(3, b'{\"name\": \\n' * 6000)"
    with opened("process") as box, box.session() as session:
        begun = time.monotonic()
        assert session.run(code, files_out=["a"]).verdict is Verdict.OK
        assert time.monotonic() - begun < 1


def test_an_interrupted_cell_ends_the_sandbox():
    with opened("process") as box, box.session() as session:
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            session.run("import time; time.sleep(1)")
        assert not box.alive


def test_a_closed_session_runs_nothing():
    with opened("process") as box:
        with box.session() as session:
            session.run("x = 1")
        with pytest.raises(UserError, match="this session is closed"):
            session.run("x")
        assert box.run("print(1)").stdout == "1\n"


def test_a_cell_that_is_no_python(box):
    with box.session() as session:
        failed = session.run("x = = 1")
        assert failed.stderr.startswith('  File "cell-1", line 1\n')
