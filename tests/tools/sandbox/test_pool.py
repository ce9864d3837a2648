import asyncio
import contextlib
import gc
import multiprocessing
import os
import threading
import time

import pytest

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Sandbox, SandboxFault, SandboxPool, Value, Verdict, shared_pool

from .conftest import QUICK, interrupt_soon, opened


@pytest.fixture
def pool():
    opened("process").close()
    with SandboxPool(2, "process", QUICK) as made:
        yield made


def test_programs_run_apart(pool):
    code = "open('mine', 'w').write('1'); open('/tmp/too', 'w').write('2'); print(open('a').read())"
    first = pool.run(code, files={"a": "given"}, files_out=["mine"])
    assert (first.stdout, first.files) == ("given\n", {"mine": b"1"})
    for _ in range(3):
        assert pool.run("import os; print(os.listdir('.'), os.listdir('/tmp'))").stdout == "[] []\n"


def test_many_at_once(pool):
    results = {}

    def work(number):
        for _ in range(5):
            results[number] = pool.call("def f(n): return n * n", "f", [[number]]).values

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [Value(number * number)] for number in range(8)}


def test_dead_sandboxes_are_replaced(pool):
    with pool.box() as box:
        box.close()
    assert pool.run("print(1)").stdout == "1\n"


def test_sessions_end_with_the_loan(pool):
    with pool.box() as box:
        box.session().run("x = 1")
    for _ in range(2):
        assert pool.run("print(1)").stdout == "1\n"


def test_async_forms(pool):
    async def all_of_them():
        return await asyncio.gather(*(pool.arun(f"print({number})") for number in range(6)))

    assert [result.stdout for result in asyncio.run(all_of_them())] == [f"{number}\n" for number in range(6)]
    assert asyncio.run(pool.acall("def f(): return 1", "f", [[]])).values == [Value(1)]


def test_a_closed_pool(pool):
    pool.run("print(1)")
    pool.close()
    with pytest.raises(SandboxFault, match="closed"):
        pool.run("print(1)")


def test_one_shared_pool_for_equal_arguments(monkeypatch):
    opened("process").close()
    monkeypatch.setenv("LUDUS_SANDBOX", "process")
    assert shared_pool(QUICK) is shared_pool(QUICK)
    assert shared_pool(QUICK).run("print(1)").verdict is Verdict.OK
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as workers:
        children = workers.map(_in_a_fork, range(2))
    assert all(stdout == "2\n" and process != os.getpid() for stdout, process in children)
    assert shared_pool(QUICK).run("print(3)").stdout == "3\n"


def _in_a_fork(_):
    return shared_pool(QUICK).run("print(2)").stdout, os.getpid()


@pytest.mark.parametrize("size", [0, -1, "2", True])
def test_a_wrong_size(size):
    with pytest.raises(UserError, match="size="):
        SandboxPool(size)


def test_an_interrupted_start_leaves_no_descriptor(pool):
    pool.run("print(1)")  # opened once for all sandboxes

    def held():
        return len(os.listdir("/proc/self/fd"))

    before = held()
    for delay in (0.001, 0.01, 0.02, 0.03, 0.04):
        interrupt_soon(delay)
        with contextlib.suppress(KeyboardInterrupt), Sandbox.open("process", QUICK):
            time.sleep(1)
    gc.collect()
    assert held() <= before
