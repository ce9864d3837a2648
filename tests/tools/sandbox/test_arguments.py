"""What cannot go into a sandbox is refused in one line, and the sandbox stays usable."""

import pytest

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Verdict

from .conftest import opened

HALF = "a\ud800b"
ENDLESS: list = []
ENDLESS.append(ENDLESS)


@pytest.fixture(scope="module")
def process_box():
    with opened("process") as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda box: box.run("1", stdin=HALF), r"stdin: '\\ud800' at 1 is half of a surrogate pair"),
        (lambda box: box.write("file", HALF), r"data: '\\ud800' at 1"),
        (lambda box: box.write(HALF, "1"), r"file: '\\ud800' at 1"),
        (lambda box: box.read(HALF), r"file: '\\ud800' at 1"),
        (lambda box: box.run("1", files_out=[HALF]), r"file: '\\ud800' at 1"),
        (lambda box: box.restore(HALF), r"snapshot: '\\ud800' at 1"),
        (
            lambda box: box.call("f = abs", "f", [[{1}]]),
            "set is not JSON serializable; arguments go",
        ),
        (lambda box: box.call("f = abs", "f", [[b"1"]]), "inputs: .*bytes is not JSON serializable"),
        (lambda box: box.call("f = abs", "f", [[10**5000]]), "inputs: Exceeds the limit"),
        (lambda box: box.call("f = abs", "f", [[ENDLESS]]), "inputs: Circular reference"),
        (lambda box: box.call("f = abs", "f", [1]), r"inputs=\[1\]: give a list of arguments for each call"),
        (lambda box: box.call("f = abs", "f", 1), "inputs=1: give"),
        (lambda box: box.call("f = abs", 3, [[1]]), "name=3 is not the name of a function"),
    ],
)
def test_what_cannot_go_in_is_refused_in_one_line(process_box, use, said):
    with pytest.raises(UserError, match=said) as caught:
        use(process_box)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
    assert process_box.run("print(1)").stdout == "1\n"


def test_a_cells_files_have_names_that_can_be_written(process_box):
    process_box.reset()
    with process_box.session() as session:
        assert session.run("x = 1").verdict is Verdict.OK
        with pytest.raises(UserError, match="half of a surrogate pair"):
            session.run("x", files_out=[HALF])
        assert session.run("x").stdout == "1\n"


@pytest.mark.parametrize(
    "source", [f"print('{HALF}')", "print(1)\0", "\x01", "(" * 5000, "-" * 100_000 + "1"]
)
def test_a_source_that_is_no_python_is_the_programs_own_failure(process_box, source):
    process_box.reset()
    failed = (Verdict.RUNTIME_ERROR, Verdict.MEMORY_LIMIT)
    assert process_box.run(source).verdict in failed
    with process_box.session() as session:
        session.run("x = 1")
        assert session.run(source).verdict in failed
        assert session.run("x").stdout == "1\n"


def test_half_of_a_surrogate_pair_travels_as_an_argument_and_as_a_value(process_box):
    process_box.reset()
    called = process_box.call("def same(text): return text", "same", [[HALF]])
    assert [value.value for value in called.values] == [HALF]
