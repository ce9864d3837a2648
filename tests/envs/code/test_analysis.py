"""`ludus/DataAnalysis-v0`: its tools, its notebooks across branches, its plots, and that cheating fails."""

import base64
import gc
import io
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ludus.envs.chat import content_images, content_text
from ludus.envs.code.analysis import environment, notebooks
from ludus.envs.code.analysis.answers import written
from ludus.envs.code.analysis.environment import DataAnalysis
from ludus.envs.code.analysis.guest import PLOT_BYTES, PLOT_PIXELS, is_plot
from ludus.envs.code.analysis.notebooks import NOTEBOOKS, History, pool
from ludus.envs.code.analysis.scripted import call, right_program
from ludus.envs.code.analysis.tasks import KINDS, given_case, other_case
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.tools.sandbox import Limits, SandboxFault

pytestmark = pytest.mark.usefixtures("needs_sandbox")

TABLES_OF = {"shop": "orders.csv", "weather": "readings.csv", "club": "runs.tsv", "library": "loans.csv"}


@pytest.fixture
def env() -> Iterator[DataAnalysis]:
    env = DataAnalysis(worlds=("shop",))
    env.reset(seed=0)
    yield env
    env.close()


def message(env: DataAnalysis, tool: str, **arguments: str) -> Any:
    """The answer to one call."""
    observation, *_ = env.step(call(tool, **arguments))
    assert observation in env.observation_space
    (message,) = observation
    return message


def cell(env: DataAnalysis, code: str) -> str:
    return content_text(message(env, "python", code=code))


def pictures(message: Any) -> list[Image.Image]:
    urls = content_images(message)
    opened = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
    for picture in opened:
        picture.load()
    return opened


# Submitting


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_solved_through_the_sandbox(kind: str) -> None:
    env = DataAnalysis(worlds=kind.partition("/")[0])
    seed = 0
    observation, info = env.reset(seed=seed)
    while not env.task_name.startswith(f"{kind}("):
        seed += 1
        observation, info = env.reset(seed=seed)
    _, reward, terminated, _, info = env.step(call("submit", program=right_program(observation)))
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_a_constant_that_was_typed_in_is_wrong_on_other_numbers(env: DataAnalysis) -> None:
    answer = written(given_case(env.snapshot()[0].task).expected)
    _, reward, terminated, _, info = env.step(call("submit", program=f"print({answer!r})"))
    assert terminated
    assert not info["success"]
    assert info["reward_terms"]["answer"] == 1
    assert info["reward_terms"]["transfers"] == info["reward_terms"]["solved"] == 0
    assert reward == pytest.approx(0.1)


def test_a_program_that_is_right_on_the_other_numbers_only_is_not_right(env: DataAnalysis) -> None:
    answer = written(other_case(env.snapshot()[0].task).expected)
    _, reward, terminated, _, info = env.step(call("submit", program=f"print({answer!r})"))
    assert terminated
    assert not info["success"]
    assert info["reward_terms"]["transfers"] == 1
    assert reward == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("pass", "printed nothing"),
        ("print(1); print(2)", "printed 2 lines"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("print('x' * 10**6)", "printed too much"),
        ("this is no program", "SyntaxError"),
        ("", "printed nothing"),
    ],
)
def test_a_program_without_an_answer_can_be_mended(program: str, said: str) -> None:
    env = DataAnalysis()
    first, _ = env.reset(seed=3)
    observation, reward, terminated, truncated, info = env.step(call("submit", program=program))
    assert not terminated
    assert not truncated
    assert reward == pytest.approx(-0.01)
    assert info["reward_terms"]["calls"] == 1
    assert said in content_text(observation[0])
    _, reward, terminated, _, info = env.step(call("submit", program=right_program(first)))
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_nothing_of_the_other_tables_reaches_the_agent(env: DataAnalysis) -> None:
    # Answers on the tables it knows; on any others it prints what it sees.
    known = repr(given_case(env.snapshot()[0].task).files["orders.csv"].decode())
    answer = written(given_case(env.snapshot()[0].task).expected)
    program = f"seen = open('orders.csv').read()\nprint({answer!r} if seen == {known} else 1 / 0 or seen)"
    observation, _, terminated, _, info = env.step(call("submit", program=program))
    assert terminated
    assert not info["success"]
    assert content_text(observation[0]) == "Right on these tables, wrong on others of the same form."


def test_a_program_finds_the_given_files_and_nothing_of_the_notebook(env: DataAnalysis) -> None:
    cell(env, "open('clean.csv', 'w').write('x'); secret = 1")
    looks = "import os\nraise ValueError(sorted(os.listdir()), 'secret' in globals())"
    said = content_text(message(env, "submit", program=looks))
    assert "ValueError: (['orders.csv', 'shop.sqlite'], False)" in said


def test_replies_without_calls_are_answered(env: DataAnalysis) -> None:
    observation, reward, *_, info = env.step("The answer is 42.")
    assert reward == pytest.approx(-0.1)
    assert info["reward_terms"]["malformed"] == 1
    assert "`submit`" in content_text(observation[0])


# The notebook


def test_variables_and_files_live_across_cells(env: DataAnalysis) -> None:
    assert cell(env, "import pandas as pd\nx = 20") == "(no output)"
    assert cell(env, "x += 1\nx * 2") == "42"
    assert "ZeroDivisionError" in cell(env, "y = 5\nx / 0")
    assert cell(env, "open('notes', 'w').write('kept'); print(y)\nx") == "5\n21"
    assert cell(env, "open('notes').read()") == "'kept'"
    table = cell(env, "orders = pd.read_csv('orders.csv', sep=';')\n[*orders.columns][:2], len(orders) > 100")
    assert table == "(['order_id', 'customer_id'], True)"


def test_pandas_solves_a_task(env: DataAnalysis) -> None:
    seed = 0
    while env.reset(seed=seed) and not env.task_name.startswith("shop/busiest-day"):
        seed += 1
    month = dict(env.snapshot()[0].task.parameters)["month"]
    program = f"""
import pandas as pd
orders = pd.read_csv("orders.csv", sep=";", dtype=str)
orders["order_id"] = orders["order_id"].str.strip().str.upper()
orders = orders.drop_duplicates("order_id", keep="last")
placed = pd.to_datetime(orders["placed_at"], utc=True, format="ISO8601")
days = placed[placed.dt.strftime("%B %Y") == {month!r}].dt.date.value_counts()
print(days[days == days.max()].index.min())
"""
    assert env.step(call("submit", program=program))[1] == 1.0


def test_addresses_and_long_outputs_are_cut(env: DataAnalysis) -> None:
    assert cell(env, "object()") == "<object object at 0x…>"
    said = cell(env, "print('a' * 30000 + 'end')")
    assert len(said) <= 4000
    assert said.endswith("end")
    assert "characters left out" in said


def test_a_branch_does_not_see_what_another_did(env: DataAnalysis) -> None:
    cell(env, "x = 1\nopen('made-before', 'w').close()")
    before = env.snapshot()
    assert cell(env, "x += 1; open('made-after', 'w').close(); x") == "2"
    after = env.snapshot()
    env.restore(before)
    look = "import os\nx, sorted(name for name in os.listdir() if name.startswith('made'))"
    assert cell(env, look) == "(1, ['made-before'])"
    env.restore(after)
    assert cell(env, look) == "(2, ['made-after', 'made-before'])"
    other = DataAnalysis(worlds=("shop",))
    other.restore(before)
    assert cell(other, look) == "(1, ['made-before'])"
    other.close()


def test_cells_that_went_on_are_not_run_again(env: DataAnalysis, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    begin = notebooks._Live.__init__

    def counted(*given: Any) -> None:
        opened.append(given)
        begin(*given)

    monkeypatch.setattr(notebooks._Live, "__init__", counted)
    for number in range(4):
        cell(env, f"x{number} = {number}")
    assert len(opened) == 1
    env.restore(env.snapshot())
    cell(env, "x3")
    assert len(opened) == 1
    env.reset(seed=1)
    assert "NameError" in cell(env, "x3")
    assert len(opened) == 2


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "import os; os.kill(os.getpid(), 11)"])
def test_a_notebook_that_ends_begins_anew(env: DataAnalysis, end: str) -> None:
    cell(env, "x = 1; open('made', 'w').close()")
    assert "begins anew" in cell(env, end)
    assert env.snapshot()[0].cells == ()
    assert "NameError" in cell(env, "x")
    assert cell(env, "import os; sorted(os.listdir())") == "['orders.csv', 'shop.sqlite']"


def test_a_cell_that_runs_out_of_time_says_so(env: DataAnalysis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks, "LIMITS", Limits(wall_s=1, cpu_s=0.5, memory_mb=512))
    assert "it ran out of time" in cell(
        env, "while True:\n    try:\n        1 / 0\n    except BaseException: pass"
    )
    assert cell(env, "1 + 1") == "2"


def test_live_notebooks_are_bounded_and_the_rest_is_run_again() -> None:
    envs = [DataAnalysis() for _ in range(NOTEBOOKS.most + 3)]
    for number, env in enumerate(envs):
        env.reset(seed=number)
        cell(env, f"x = {number}")
    assert NOTEBOOKS.live <= NOTEBOOKS.most < pool().size
    for number, env in enumerate(envs):
        assert cell(env, "x += 100; x") == str(number + 100)
    assert NOTEBOOKS.live <= NOTEBOOKS.most
    before = NOTEBOOKS.live
    for env in envs:
        env.close()
    assert NOTEBOOKS.live <= before - NOTEBOOKS.most


def test_a_forgotten_environment_holds_no_sandbox() -> None:
    env = DataAnalysis()
    env.reset(seed=0)
    before = NOTEBOOKS.live
    cell(env, "x = 1")
    assert NOTEBOOKS.live >= before
    with_it = NOTEBOOKS.live
    del env
    gc.collect()
    assert NOTEBOOKS.live == with_it - 1


def test_a_notebook_leaves_an_empty_sandbox_behind() -> None:
    env = DataAnalysis()
    env.reset(seed=0)
    for number in range(3):
        cell(env, f"open('/box/tmp/left-{number}', 'w').close(); open('left', 'w').close()")
        env.close()
    look = "import os; print(sum(map(os.listdir, ('.', '/box/tmp', '/box/shm')), []))"
    for _ in range(pool().size):
        assert pool().run(look).stdout == "[]\n"


def _go_on(env: DataAnalysis, results: Any) -> None:
    results.put(cell(env, "x += 1; x"))


def test_a_fork_has_notebooks_of_its_own(env: DataAnalysis) -> None:
    cell(env, "x = 1")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_go_on, args=(env, results))
    child.start()
    assert results.get(timeout=60) == "2"
    child.join()
    assert child.exitcode == 0
    assert cell(env, "x += 10; x") == "11"


def test_a_broken_sandbox_is_a_fault(env: DataAnalysis, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def broken(*_: Any) -> Iterator[Any]:
        raise SandboxFault("gone")
        yield

    held = NOTEBOOKS.live
    monkeypatch.setattr(type(pool()), "box", broken)
    for reply in (
        call("python", code="1"),
        call("sql", query="SELECT 1"),
        call("submit", program="print(1)"),
    ):
        with pytest.raises(EnvironmentFault, match="gone"):
            env.step(reply)
    assert NOTEBOOKS.live == held
    with pytest.raises(SandboxFault):
        NOTEBOOKS.run(-1, History("k"), {}, "1")


# Plots


def test_figures_come_back_as_images(env: DataAnalysis) -> None:
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.title('Σ')\nplt.show()\nprint('drawn')"
    shown = message(env, "python", code=plot)
    assert content_text(shown) == "drawn\n[image]"
    (picture,) = pictures(shown)
    assert picture.format == "PNG"
    assert max(picture.size) == PLOT_PIXELS
    assert len({color for _, color in picture.convert("RGB").getcolors(1 << 20) or []}) > 2
    assert cell(env, "plt.get_fignums()") == "[]"


def test_as_many_figures_are_shown_as_fit(env: DataAnalysis) -> None:
    noise = "import numpy as np, matplotlib.pyplot as plt\nrng = np.random.default_rng(0)\n"
    noise += "for size in ((6, 6), (200, 50), (2, 2)):\n"
    noise += "    plt.figure(figsize=size); plt.imshow(rng.random((300, 300, 3)))"
    shown = message(env, "python", code=noise)
    found = pictures(shown)
    assert len(found) == 2
    assert all(max(picture.size) <= PLOT_PIXELS for picture in found)
    assert all(len(url) < PLOT_BYTES * 4 / 3 + 100 for url in content_images(shown))


def test_a_figure_that_cannot_be_drawn_is_a_complaint(env: DataAnalysis) -> None:
    said = cell(env, "import matplotlib.pyplot as plt\n_ = plt.title(r'$\\frac{$')")
    assert said.startswith("The figures cannot be drawn: ")
    assert cell(env, "1 + 1") == "2"


@pytest.mark.parametrize(
    "hook",
    [
        "lambda figure, name, **_: open(name, 'wb').write(b'<script>alert(1)</script>' * 99)",
        "lambda figure, name, **_: __import__('os').symlink('/etc/hostname', name)",
        "lambda figure, name, **_: __import__('os').mkdir(name)",
        "lambda figure, name, **_: open(name, 'wb').write(bytes(5 * 10**6))",
    ],
)
def test_what_is_no_picture_is_not_shown(env: DataAnalysis, hook: str) -> None:
    code = f"import matplotlib.pyplot as plt\nplt.Figure.savefig = {hook}\n_ = plt.plot([1])"
    shown = message(env, "python", code=code)
    assert content_images(shown) == []
    assert cell(env, "1 + 1").splitlines()[0] == "2"


@given(st.binary(max_size=100))
def test_only_pictures_of_bearable_size_are_pictures(data: bytes) -> None:
    assert not is_plot(data)
    for side, fits in ((1, True), (2 * PLOT_PIXELS, True), (2 * PLOT_PIXELS + 1, False)):
        picture = png(side, 2)
        assert is_plot(picture) == fits
        assert not is_plot(picture + data + b"1")
        assert not is_plot(picture[:-1])
    assert not is_plot(png(1, 1) + bytes(PLOT_BYTES))


def png(width: int, height: int, mode: str = "RGBA") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "png")
    return file.getvalue()


@given(st.integers(0, 70), st.integers(0, 255))
def test_a_broken_picture_is_none(place: int, byte: int) -> None:
    picture = bytearray(png(3, 2))
    whole = picture[place % len(picture)] == byte
    picture[place % len(picture)] = byte
    assert is_plot(bytes(picture)) == whole
    assert not is_plot(png(3, 2, "RGB"))


# Queries


def test_queries_give_tables(env: DataAnalysis) -> None:
    ordered = "SELECT product, category FROM products ORDER BY product LIMIT 2"
    said = content_text(message(env, "sql", query=ordered))
    expected = ["product | category", "------- | --------", "bench   | garden", "bowl    | kitchen", "2 rows"]
    assert said.splitlines() == expected
    long = content_text(message(env, "sql", query="SELECT hex(zeroblob(40))")).splitlines()
    assert long[2:] == ["0" * 59 + "…", "1 rows"]
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, x'00', NULL FROM n"
    said = content_text(message(env, "sql", query=endless))
    assert len(said.splitlines()) == 53
    assert said.splitlines()[-1] == "… more rows; only the first 50 are shown"
    assert len(content_text(message(env, "sql", query="SELECT hex(zeroblob(100000))"))) < 1000


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT missing FROM customers", "no such column"),
        ("DELETE FROM customers", "readonly database"),
        ("", "gives no table"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("'; import os", "unrecognized token"),
        ("SELECT load_extension('x')", "not authorized"),
    ],
)
def test_wrong_queries_are_explained(env: DataAnalysis, query: str, said: str) -> None:
    text = content_text(message(env, "sql", query=query))
    assert text.startswith("Error: ")
    assert said in text


# Arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"worlds": ("shop", "wether")}, "did you mean weather"),
        ({"worlds": ()}, "empty"),
        ({"worlds": 3}, "worlds=3: give a name"),
        ({"rows": 10}, "80 to 2000"),
        ({"rows": 2.5}, "80 to 2000"),
        ({"max_turns": True}, "max_turns=True"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        DataAnalysis(**arguments)


def test_the_agent_is_told_how_many_replies_it_has() -> None:
    assert "You have 5 replies." in DataAnalysis(max_turns=5).reset(seed=0)[0][0]["content"]


@pytest.mark.parametrize("world", TABLES_OF)
def test_rows_and_worlds_are_what_was_asked_for(world: str) -> None:
    env = DataAnalysis(worlds=[world], rows=400, max_turns=3)
    for seed in range(3):
        env.reset(seed=seed)
        assert env.task_name.startswith(f"{world}/")
        lines = given_case(env.snapshot()[0].task).files[TABLES_OF[world]].count(b"\n")
        assert 320 < lines < 600
    assert environment.FEWEST_ROWS == 80
    assert [env.step("")[3] for _ in range(3)] == [False, False, True]
