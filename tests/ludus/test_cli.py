"""The command line, called in process: its output, its exit codes, its answers to bad input."""

import errno
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_origin

import gymnasium
import pytest
from PIL import Image

import ludus
from ludus.agents.store import read_episodes
from ludus.cli import person as person_module
from ludus.cli.errors import explain
from ludus.registration import foreign_ids
from ludus.tools.errors import UserError

OWN = "examples.own_environment:example/Guess-v0"
Run = Callable[..., Any]


# --- help


def test_version(run: Run) -> None:
    assert run("--version").out == f"ludus {ludus.__version__}\n"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_overview_names_every_command(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.code == 0
    for command in ("envs", "check", "play", "train", "eval", "view"):
        assert f"• {command}" in result.out


@pytest.mark.parametrize("command", ["envs", "check", "play", "train", "eval", "view"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert f"usage: ludus {command}" in result.out
    assert result.err == ""


def test_the_help_for_training_lists_every_key_of_the_configuration(run: Run) -> None:
    from ludus.trainers.config.reading import table_of
    from ludus.trainers.config.run import RunConfig

    printed = run("train", "--help").out
    for section, about in RunConfig.model_fields.items():
        number = "0." * (get_origin(about.annotation) is list)
        for key in table_of(about.annotation).model_fields:
            assert f"--{section}.{number}{key}" in printed


def test_the_module_is_the_command() -> None:
    told = subprocess.run([sys.executable, "-m", "ludus", "--version"], capture_output=True, text=True)
    assert told.stdout == f"ludus {ludus.__version__}\n"


def test_a_reader_who_has_seen_enough_ends_a_command_in_silence() -> None:
    command = f"{sys.executable} -m ludus envs"
    piped = f"set -o pipefail; {command} | (exec 0<&-; sleep 0.1)"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode != 0


@pytest.mark.parametrize("width", ["20", "40"])
def test_narrow_terminals_cut_no_id_and_no_name(
    run: Run, width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    listed = run("envs").out
    assert all(id in listed for id in ludus.environment_ids())
    measured = run("eval", "ludus/Arithmetic-v0", "--agent", "oracle", "--episodes", "2").out
    for name in ("ludus/Arithmetic-v0", "malformed", "environment:terminated", "0.342 to 1.000"):
        assert name in measured
    assert "…" not in listed + measured


# --- bad usage


@pytest.mark.parametrize("words", [("sandbox",), ("sandbox", "--help")])
def test_the_first_word_of_two_lists_its_commands(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.code == 0
    assert "ludus sandbox check" in result.out
    assert "ludus sandbox build" in result.out


def test_an_unknown_command_gets_a_suggestion(run: Run) -> None:
    run("chekc").assert_refused(2, "'chekc'", "check")


@pytest.mark.parametrize("words", [("envs", "--nothing"), ("eval",), ("eval", OWN, "--episodes", "many")])
def test_wrong_options_exit_with_2(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.parametrize("words", [("check",), ("play",), ("eval", "--agent", "null")])
@pytest.mark.parametrize(
    ("id", "suggested"),
    [
        ("ludus/Aritmetic-v0", "ludus/Arithmetic-v0"),
        ("PacManChat", "ludus/PacManChat-v0"),
        ("ludus/PacMan-v7", "ludus/PacMan-v0"),
        ("no/Such-v0", "`ludus envs`"),
    ],
)
def test_an_unknown_environment_gets_the_nearest_names(
    run: Run, words: tuple[str, ...], id: str, suggested: str
) -> None:
    command, *options = words
    run(command, id, *options).assert_refused(2, repr(id), suggested)


def test_a_module_that_is_not_there_is_named(run: Run) -> None:
    run("check", "no_such_module:x/Y-v0").assert_refused(2, "no_such_module")


def test_an_unknown_argument_of_the_environment(run: Run) -> None:
    result = run("eval", "ludus/Arithmetic-v0", "--agent", "null", "--arg", "digit=3")
    result.assert_refused(2, "ludus/Arithmetic-v0", "'digit'", "did you mean digits?")


def test_a_value_that_the_environment_refuses(run: Run) -> None:
    result = run("eval", "ludus/Arithmetic-v0", "--agent", "null", "--arg", "digits=-3")
    result.assert_refused(2, "ludus/Arithmetic-v0", "-3")


def test_an_unknown_agent(run: Run) -> None:
    run("play", OWN, "--agent", "oracel").assert_refused(2, "oracel", "oracle")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("eval", OWN), "--agent"),
        (("eval", OWN, "--agent", "null", "--model", "x"), "best-of"),
        (("eval", OWN, "--agent", "null", "--episodes", "0"), "--episodes"),
        (("eval", OWN, "--agent", "null", "--temperature", "-1"), "--temperature"),
        (("eval", OWN, "--agent", "null", "--temperature", "nan"), "--temperature"),
        (("eval", OWN, "--agent", "null", "--out", "no/such/folder/x.parquet"), "--out"),
        (("play", OWN, "--agent", "null", "--model", "x"), "--agent"),
        (("play", OWN, "--agent", "null", "--episodes", "-1"), "--episodes"),
        (("view", "no-such-run"), "no-such-run"),
    ],
)
def test_options_that_cannot_work(run: Run, words: tuple[str, ...], name: str) -> None:
    run(*words).assert_refused(2, name)


def test_a_model_path_at_which_there_is_nothing(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "models" / "final"
    run("eval", "ludus/Arithmetic-v0", "--model", missing).assert_refused(1, str(missing))


def test_a_run_that_has_no_model_yet(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    run("play", "ludus/Arithmetic-v0", "--model", tmp_path).assert_refused(2, str(tmp_path), "--resume")


def test_the_name_of_a_run_that_is_nearly_right(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "arithmetic-1").mkdir(parents=True)
    (tmp_path / "runs" / "arithmetic-1" / "config.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    result = run("eval", "ludus/Arithmetic-v0", "--model", "aritmetic-1")
    result.assert_refused(2, "aritmetic-1", "did you mean the run arithmetic-1?")


def test_a_model_cannot_press_keys(run: Run) -> None:
    result = run("play", "ludus/PacMan-v0", "--model", "x")
    result.assert_refused(2, "ludus/PacMan-v0", "ludus/PacManChat-v0")


# --- errors in general


def test_a_missing_package_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("ludus.cli.evaluate.rollout", missing)
    run("eval", OWN, "--agent", "null").assert_refused(1, "torch", "pip install 'ludus[train]'")


def test_a_bug_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ludus.cli.evaluate.rollout", broken)
    with pytest.raises(ZeroDivisionError):
        run("eval", OWN, "--agent", "null")


def test_a_missing_package_of_nobodys_extra_is_a_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'ludus.typo'", name="ludus.typo")

    monkeypatch.setattr("ludus.cli.evaluate.rollout", missing)
    with pytest.raises(ModuleNotFoundError):
        run("eval", OWN, "--agent", "null")


def test_subclasses_of_user_error_choose_their_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(UserError):
        exit_code = 2

    def raises(*_: object, **__: object) -> None:
        raise Wrong("the thing is wrong:\n  mend it")

    monkeypatch.setattr("ludus.cli.evaluate.rollout", raises)
    run("eval", OWN, "--agent", "null").assert_refused(2, "error: the thing is wrong: mend it")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), "/x/y"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            "no space left on the disk while writing /x/y",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"), "/x/y goes through a file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), "longer than a file's name may be"),
    ],
)
def test_a_disk_that_cannot_be_written_is_the_users_to_mend(error: OSError, words: str) -> None:
    problem = explain(error)
    assert problem is not None
    assert words in problem.line
    assert problem.exit_code == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "missing", "/x"), OSError(), ValueError("x")]
)
def test_other_errors_are_bugs(error: Exception) -> None:
    assert explain(error) is None


# --- envs


def test_envs_lists_every_environment(run: Run) -> None:
    result = run("envs")
    assert result.code == 0
    for id in (*ludus.environment_ids(), *foreign_ids()):
        assert id in result.out
    assert "native, vector" in result.out


def test_envs_lists_what_lacks_an_extra_with_the_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make = gymnasium.make

    def without_calendars(id: str) -> Any:
        if "Calendar" in id:
            raise UserError("calendars need a clock")
        return make(id)

    monkeypatch.setattr("ludus.cli.envs.gymnasium.make", without_calendars)
    result = run("envs")
    assert result.code == 0
    assert re.search(r"ludus/Calendar-v0.*\n +calendars need a clock", result.out)
    assert "ludus/Search-v0" in result.out


# --- eval


def test_eval_reports_and_stores(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "episodes.parquet"
    result = run("eval", OWN, "--agent", "oracle", "--episodes", "20", "--out", out)
    assert result.code == 0
    assert f"{OWN.rpartition(':')[2]} · oracle" in result.out
    assert re.search(r"success +1\.000 +0\.839 to 1\.000", result.out)
    assert re.search(r"environment:terminated +20 +100\.0%", result.out)
    episodes = read_episodes(out)
    assert [episode.seed for episode in episodes] == list(range(2**32, 2**32 + 20))
    assert all(episode.success for episode in episodes)


def test_eval_on_a_full_disk(run: Run, files_at_most: Run, tmp_path: Path) -> None:
    out = tmp_path / "episodes.parquet"
    out.write_bytes(b"earlier")
    with files_at_most(64):
        result = run("eval", OWN, "--agent", "oracle", "--episodes", "4", "--out", out)
    result.assert_refused(1, "ulimit")
    assert "success" in result.out
    assert out.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [out]


def test_ctrl_c_during_eval_keeps_what_was_played(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ludus.cli import evaluate

    played = 0
    rollout = evaluate.rollout

    def interrupted(*arguments: object, on_episode: Callable[..., None], **options: object) -> None:
        def count(episode: object) -> None:
            nonlocal played
            on_episode(episode)
            played += 1
            if played == 3:
                raise KeyboardInterrupt

        rollout(*arguments, on_episode=count, **options)

    monkeypatch.setattr(evaluate, "rollout", interrupted)
    out = tmp_path / "episodes.parquet"
    result = run("eval", OWN, "--agent", "oracle", "--out", out)
    result.assert_refused(130, "interrupted", str(out))
    assert len(read_episodes(out)) >= 3
    gc.collect()
    assert "never retrieved" not in caplog.text


# --- play


def test_play_shows_messages_replies_and_the_outcome(run: Run) -> None:
    result = run("play", OWN, "--agent", "oracle", "--seed", "3", "--episodes", "2")
    assert result.code == 0
    for text in ("Guess it.", "50", "reward +1.00", "found 1", "seed 3: return 1.00", "seed 4: return 1.00"):
        assert text in result.out


def test_a_person_plays_a_chat(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter(["what?", "50"])

    def type_next(prompt: str) -> str:
        try:
            return next(replies)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_next)
    result = run("play", OWN)
    assert result.code == 0
    assert "malformed 1" in result.out
    assert "lower" in result.out or "higher" in result.out
    assert "quit" in result.out


def test_a_person_sees_the_tools_and_calls_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(['geocode(name="Nowhere")', "geocode(", 'submit(value=1, unit="°C")'])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    result = run("play", "ludus/Weather-v0")
    assert result.code == 0
    assert "geocode(name: string)" in result.out
    assert "unit: string = …" in result.out
    assert "calls 1" in result.out
    assert "tool_errors 1" in result.out
    assert "seed 0: return" in result.out


def test_what_a_person_types_is_a_call_only_where_it_names_a_tool() -> None:
    tools = [{"type": "function", "function": {"name": "search", "parameters": {}}}]
    assert person_module.read_reply("search for it", tools) == "search for it"
    assert person_module.read_reply("find(x=1)", tools) == "find(x=1)"
    calls = person_module.read_reply('search(query="a, (b)"), search(page=2)', tools)["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == [{"query": "a, (b)"}, {"page": 2}]


def test_a_dumb_terminal_gets_no_control_characters(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    game = run("play", "ludus/PacMan-v0", "--agent", "null", "--arg", "max_steps=2").out
    assert "\x1b[H" not in game


def test_a_person_plays_a_grid(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(["left", "x", "up", "right", "quit"])
    monkeypatch.setattr(person_module, "read_key", lambda: next(keys))
    result = run("play", "ludus/PacMan-v0")
    assert result.code == 0
    assert next(keys, None) is None
    assert result.out.count("return ") == 4  # after reset and after each of three moves
    assert "quit" in result.out


@pytest.mark.parametrize(
    ("id", "agent", "limit"),
    [("ludus/PacMan-v0", "random", "max_steps"), ("ludus/PacManChat-v0", "oracle", "max_turns")],
)
def test_a_recording_has_a_picture_for_every_move(
    run: Run, id: str, agent: str, limit: str, tmp_path: Path
) -> None:
    path = tmp_path / "game.gif"
    small = ("--arg", "rows=7", "--arg", "columns=7", "--arg", f"{limit}=10")
    result = run("play", id, "--agent", agent, "--record", path, *small)
    assert result.code == 0
    turns = int(re.search(r"in (\d+) turns", result.out)[1])  # type: ignore[index]
    pictures = int(re.search(r"(\d+) pictures", result.out)[1])  # type: ignore[index]
    # A reply in words may contain several moves: each has its picture.
    assert pictures == turns + 1 if id == "ludus/PacMan-v0" else pictures > turns + 1
    with Image.open(path) as gif:
        assert gif.format == "GIF"
        assert gif.n_frames > 1
        assert min(gif.size) >= 32
        assert len(gif.convert("RGB").getcolors(2**16)) > 2


@pytest.mark.parametrize(("file", "name"), [("a.mp4", "a.gif"), ("no/such/a.gif", "no/such")])
def test_a_recording_that_cannot_be(run: Run, tmp_path: Path, file: str, name: str) -> None:
    words = ("play", "ludus/PacMan-v0", "--agent", "null", "--record", tmp_path / file)
    run(*words).assert_refused(2, "--record", name)


def test_what_draws_no_pictures_cannot_be_recorded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("play", OWN, "--agent", "null")  # imports it
    monkeypatch.setattr(sys.modules["examples.own_environment"].Guess, "metadata", {"render_modes": ["ansi"]})
    words = ("play", OWN, "--agent", "null", "--record", tmp_path / "a.gif")
    run(*words).assert_refused(2, "--record", "it renders ansi, not rgb_array")


def test_a_recording_on_a_full_disk_leaves_nothing_behind(
    run: Run, files_at_most: Run, tmp_path: Path
) -> None:
    with files_at_most(64):
        result = run("play", "ludus/PacMan-v0", "--agent", "null", "--record", tmp_path / "a.gif")
    result.assert_refused(1, "ulimit")
    assert list(tmp_path.iterdir()) == []


# --- check


def test_check_passes(run: Run) -> None:
    result = run("check", OWN)
    assert result.code == 0, result.out
    assert "oracle" in result.out


def test_tool_calls_are_shown_as_calls():
    from ludus.cli.screen import tool_call

    def call(arguments):
        return {"id": "c", "type": "function", "function": {"name": "submit", "arguments": arguments}}

    assert tool_call(call({"path": "a.py", "count": 2})) == 'submit(path="a.py", count=2)'
    assert tool_call(call('{"program": "x = 1\\nprint(x)\\n"}')) == "submit(program=…)\nx = 1\nprint(x)"
    assert tool_call(call("{")) == json.dumps(call("{"))
    assert tool_call(None) == "null"


def test_an_environment_that_draws_nothing_is_checked_and_named_by_play(run: Run) -> None:
    class Plain(gymnasium.Env[int, int]):
        observation_space = action_space = gymnasium.spaces.Discrete(2)

        def __init__(self, size: int = 3) -> None:
            self.size = size

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            return 0, {}

        def step(self, action: int) -> Any:
            return 0, 1.0, True, False, {}

    gymnasium.register("mine/Plain-v0", Plain)
    assert "mine/Plain-v0" in run("check", "mine/Plain-v0").out
    run("play", "mine/Plain-v0").assert_refused(2, "mine/Plain-v0 cannot be shown", "render_mode")
