"""What another library runs in, whether it is there or not."""

import os
import threading
from pathlib import Path

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.foreign.library import Library, LibraryError, as_name
from ludus.envs.line_process import LineProcess
from ludus.registration import foreign_ids
from ludus.tools.errors import UserError

GUEST = """
import os, random, socket, subprocess
asked = []
def answer(question):
    if question == "names":
        return ["one", "two"]
    asked.append(question)
    return eval(question)
"""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """One whose guest evaluates questions, and counts them."""
    path = tmp_path / "guest.py"
    path.write_text(GUEST)
    return Library("json", str(path))


def test_questions_are_answered_and_what_is_raised_comes_back(library: Library) -> None:
    assert library.names() == ["one", "two"]
    assert library.ask(0, "6 * 7", 5) == 42
    assert library.ask(0, "chr(0xD800) + 'é\\n'", 5) == "\ud800é\n"
    with pytest.raises(LibraryError, match=r"^ZeroDivisionError: division by zero$"):
        library.ask(0, "1 / 0", 5)
    with pytest.raises(LibraryError, match="TypeError"):  # no JSON
        library.ask(0, "object()", 5)


def test_strings_hash_alike_whatever_they_do_here(library: Library) -> None:
    assert library.ask(0, "hash('a')", 5) == library.ask(1, "hash('a')", 5)
    assert library.ask(0, "os.environ['PYTHONHASHSEED']", 5) == "0"


def test_the_same_number_is_asked_of_the_same_process(library: Library) -> None:
    library.ask(3, "'first'", 5)
    assert library.ask(3, "asked", 5) == ["'first'", "asked"]


@pytest.mark.parametrize("question", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_ends_is_replaced(library: Library, question: str) -> None:
    assert library.ask(0, question, 5) is None
    assert library.ask(0, "len(asked)", 5) == 1


def test_an_endless_answer_ends_by_processor_time(library: Library) -> None:
    assert library.ask(0, "sum(1 for _ in iter(int, 1))", 1) is None
    assert library.ask(0, "1", 1) == 1


@pytest.mark.parametrize(
    "question",
    [
        "socket.create_connection(('127.0.0.1', 9))",
        "subprocess.run(['true'])",
        "os.system('true')",
        "open('written', 'w')",
        "os.open('written', os.O_CREAT | os.O_WRONLY)",
        "os.mkdir('made')",
    ],
)
def test_what_a_library_needs_not_is_refused(library: Library, question: str) -> None:
    with pytest.raises(LibraryError, match="PermissionError"):
        library.ask(0, question, 5)


def test_a_guest_that_does_not_load_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "guest.py"
    path.write_text("import no_such_module")
    with pytest.raises(EnvironmentFault, match="the process that runs json did not start"):
        Library("json", str(path)).names()


def test_threads_share_a_process_and_get_their_own_answers(library: Library) -> None:
    found = {}

    def work(number: int) -> None:
        found[number] = [library.ask(0, f"{number} * {n}", 5) for n in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [number * n for n in range(20)] for number in range(4)}


def test_a_line_process_is_asked_again_after_it_was_too_late(tmp_path: Path) -> None:
    path = tmp_path / "echo.py"
    path.write_text(
        "import json, sys, time\n"
        "for line in sys.stdin:\n"
        "    time.sleep(json.loads(line) == 'slow' and 60)\n"
        "    print(line, end='', flush=True)\n"
    )
    process = LineProcess([str(path)], "echoes", "hello")
    try:
        assert process.ask("slow", 0.05) is None
        assert process.ask(["fast", 1], 60.0) == ["fast", 1]
        assert process.greeting() == "hello"
    finally:
        process.close()


def test_a_library_that_is_not_installed_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^this needs no_such_module, which is not installed: pip install"):
        Library("no_such_module", os.devnull).require()


@pytest.mark.parametrize(
    ("id", "extra"),
    [
        ("ludus/ReasoningGym-v0", "reasoning-gym"),
        ("ludus/TextArena-v0", "textarena"),
        ("ludus/Gem-v0", "gem"),
    ],
)
def test_a_missing_extra_is_named(id: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludus.envs.foreign.library.find_spec", lambda module: None)
    with pytest.raises(UserError, match=f"pip install 'ludus\\[{extra}\\]'$") as refused:
        gymnasium.make(id)
    assert "\n" not in str(refused.value)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    names = ["countdown", "count_bits", "count_primes", "sudoku"]
    assert as_name("dataset", "sudoku", names) == "sudoku"
    with pytest.raises(ArgumentError, match="'cuontdown' is unknown; the nearest of 4 are countdown, "):
        as_name("dataset", "cuontdown", names)
    with pytest.raises(ArgumentError, match="dataset: 7 is unknown"):
        as_name("dataset", 7, names)


@pytest.mark.parametrize("id", foreign_ids())
def test_arguments_are_refused_before_a_library_is_needed(id: str) -> None:
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
        gymnasium.make(id, frameskip=4)
    with pytest.raises(ArgumentError, match="render_mode: 'hologram' is unknown"):
        gymnasium.make(id, render_mode="hologram")


def test_answers_are_json(library: Library) -> None:
    assert library.ask(0, "{'a': [1, None, 'é', 2.5]}", 5) == {"a": [1, None, "é", 2.5]}
