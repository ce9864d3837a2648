"""`ludus/DataAnalysis-v0`: a question about dirty tables, answered by a program."""

import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ludus.envs import spaces
from ludus.envs.arguments import as_choices, as_integer
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Content, image_part, system, text_part, user
from ludus.envs.code.analysis.answers import written
from ludus.envs.code.analysis.guest import PLOT_BYTES, PLOTS, SQL_PROGRAM, sql_order
from ludus.envs.code.analysis.notebooks import NOTEBOOKS, History, Ran, pool
from ludus.envs.code.analysis.scripted import SCRIPTED
from ludus.envs.code.analysis.tasks import KINDS, WORLDS, Case, Task, draw_task, given_case, other_case
from ludus.envs.code.faults import sandbox_faults
from ludus.envs.rubric import Rubric
from ludus.envs.tool_env import MAX_CALLS, Answer, ToolEnv
from ludus.tools.content import content_key
from ludus.tools.sandbox import Result, Verdict
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {
    "answer": 0.1,
    "transfers": 0.1,
    "solved": 0.8,
    "calls": -0.01,
    "tool_errors": -0.05,
    "malformed": -0.1,
}
FEWEST_ROWS, MOST_ROWS = 80, 2000
SHOWN = 4000
"""The most characters of an output that the agent sees."""
ENDED_WELL = (Verdict.OK, Verdict.RUNTIME_ERROR)

INSTRUCTIONS = (
    "You answer a question about data. Look at the files with the tools `python` (a notebook with pandas and "
    "matplotlib, in the folder of the files) and `sql` (queries on the SQLite file), then call `submit` with "
    "a complete Python program that reads the files and prints the answer and nothing else. The program is "
    "run on the files you see and on files of the same form with other numbers, and must be right on both; "
    "your notebook's variables and files are not there."
)


@dataclass(frozen=True, slots=True)
class State:
    """The question, and the notebook's history: the cells run since it last started."""

    task: Task
    cells: tuple[str, ...] = ()

    @property
    def history(self) -> History:
        return History(self.task.key, self.cells)


class DataAnalysis(ToolEnv):
    """Answer a question about dirty tables by writing the program that answers it.

    ## Task
    Tables as people and devices leave them: missing values spelt in several ways, decimal commas, mixed units
    and time zones, corrected and repeated rows, stray whitespace. A data dictionary says how to read each of
    them, so that every question has one answer. There are four worlds (a shop's orders, weather stations, a
    running club, a library) with 21 kinds of questions; tables are drawn from the seed and never run out.
    The program is what counts: it runs on the tables that the agent sees and on freshly drawn ones with a
    different answer, so that a hard-coded number fails. `task_name` names the kind of question, its
    parameters and the draw.

    ## Observation
    `Chat`. After `reset`: a system message, and a user message with the files, their dictionary, the question
    and the type of the answer. After a reply: one `tool` message for each call. Figures that a cell leaves
    open come back as images: the content is then a list of a text part and at most two inline PNG files of at
    most 48 KiB.

    ## Actions
    `Reply`. An assistant message with `tool_calls`:

    - `python(code)` runs a cell in a notebook that lasts for the episode; the value of its last expression is
      printed. The notebook has no network; a cell has 10 seconds (5 of processor time) and 512 MiB. A cell
      that exceeds them, or ends the interpreter, restarts the notebook: variables and written files are lost.
    - `sql(query)` runs one read-only query on the SQLite file and returns at most 50 rows.
    - `submit(program)` runs a program in a folder with only the original files. It must
      print one answer of the right type: an integer, a decimal number, a text, a date (2024-01-31) or a list
      (its items on one line, separated by commas). If it fails or prints something else, it can be fixed and
      submitted again; nothing is revealed about an answer before the episode ends.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `answer` | 1 if the submitted program's answer on the given tables is right | 0.1 |
    | `transfers` | 1 if its answer on the freshly drawn tables is right | 0.1 |
    | `solved` | 1 if both are right | 0.8 |
    | `calls` | calls of `python` and `sql`, and of `submit` with a program that gives no answer | −0.01 |
    | `tool_errors` | invalid calls: no such tool, malformed arguments | −0.05 |
    | `malformed` | 1 for a reply that calls no tool | −0.1 |

    Integers, texts, dates and lists must be equal (ignoring the case of texts); decimals must be within the
    tolerance stated in the question.

    ## End of episode
    The first submitted program that prints an answer of the right type terminates the episode;
    `info["success"]` is whether `solved` is 1. After `max_turns` replies it is truncated.

    ## Arguments
    - `worlds` (`("shop", "weather", "club", "library")`): the worlds to ask about.
    - `rows` (200): roughly how many rows the largest table has, 80 to 2000.
    - `max_turns` (12): the most replies in an episode, at least 1.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted = SCRIPTED

    def __init__(
        self,
        worlds: Sequence[str] = tuple(WORLDS),
        rows: int = 200,
        max_turns: int = 12,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.worlds = as_choices("worlds", worlds, WORLDS)
        self.rows = as_integer("rows", rows, FEWEST_ROWS, MOST_ROWS)
        self.max_turns = as_integer("max_turns", max_turns, 1, 10_000)
        self.rubric = Rubric(WEIGHTS, form=("malformed", "tool_errors"))
        most_images = MAX_CALLS * PLOTS * (PLOT_BYTES * 4 // 3 + 100)
        self.observation_space = spaces.Chat(MAX_CALLS * 3 * SHOWN, max_image_length=most_images)
        self._owner = NOTEBOOKS.new_owner()
        # An environment that is never closed must not hold a sandbox forever.
        weakref.finalize(self, NOTEBOOKS.close, self._owner).atexit = False

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        task = draw_task(rng, self.worlds, self.rows)
        rules = f"{INSTRUCTIONS} You have {self.max_turns} replies."
        return Start([system(rules), user(_question(task))], task.key, State(task), task.kind)

    def respond(self, state: State, text: str) -> Outcome:
        message = user("Call a tool: `python` or `sql` to look at the data, `submit` to answer.")
        return Outcome(state, [message], {"malformed": 1.0})

    @tool
    def python(self, state: State, code: str) -> Answer:
        """Run a cell in a stateful notebook with pandas and matplotlib, in the folder of the files. The value
        of its last expression is printed; the first two figures are shown.

        Args:
            code: Python statements.
        """
        with sandbox_faults():
            ran = NOTEBOOKS.run(self._owner, state.history, given_case(state.task).files, code)
        return Answer(replace(state, cells=ran.history.cells), _shown(ran), {"calls": 1.0})

    @tool
    def sql(self, state: State, query: str) -> Answer:
        """Run one read-only query on the SQLite file.

        Args:
            query: a SELECT statement, in SQLite's dialect.
        """
        database = state.task.world.database
        with sandbox_faults():
            files = {database: given_case(state.task).files[database]}
            result = pool().run(SQL_PROGRAM, sql_order(database, query), files)
        if result.verdict is Verdict.OK:
            return Answer(state, _clipped(result.stdout.rstrip()), {"calls": 1.0})
        return Answer(state, f"Error: {_clipped(_complaint(result))}", {"calls": 1.0})

    @tool
    def submit(self, state: State, program: str) -> Answer:
        """Submit a complete Python program that reads the files and prints the answer, and nothing else. The
        first one that prints an answer of the right type ends the episode.

        Args:
            program: the program's source.
        """
        task, form = state.task, KINDS[state.task.kind].form
        given = given_case(task)
        with sandbox_faults():
            result = pool().run(program, "", given.files)
        if result.verdict is not Verdict.OK:
            return Answer(state, f"No answer: {_clipped(_complaint(result))}", {"calls": 1.0})
        try:
            form.read(result.stdout)
        except ValueError as error:
            return Answer(state, f"No answer: {error}.", {"calls": 1.0})
        # The result on the other tables must not reach the agent, who could hard-code it.
        other = other_case(task)
        with sandbox_faults():
            again = pool().run(program, "", other.files)
        answer, transfers = _right(task, result, given), _right(task, again, other)
        solved = answer and transfers
        terms = {"answer": float(answer), "transfers": float(transfers), "solved": float(solved)}
        said = _verdict(answer, transfers)
        failure = f"printed {_clipped(result.stdout.strip())}: {said}"
        return Answer(state, said, terms, True, solved, failure)

    def anchor(self, state: State) -> int:
        return content_key(state.cells)

    def expected(self, state: State) -> str:
        return written(given_case(state.task).expected)

    def close(self) -> None:
        """End the notebook."""
        NOTEBOOKS.close(self._owner)
        super().close()


def _question(task: Task) -> str:
    form = KINDS[task.kind].form
    return f"Files:\n{task.world.dictionary}\n\nQuestion: {task.question}\n\nThe answer is {form.described}."


def _right(task: Task, result: Result, case: Case) -> bool:
    form = KINDS[task.kind].form
    if result.verdict is not Verdict.OK:
        return False
    try:
        return form.same(form.read(result.stdout), case.expected)
    except ValueError:
        return False


def _shown(ran: Ran) -> Content:
    """The text and images that the agent gets after a cell."""
    texts = [_clipped(text.rstrip()) for text in (ran.result.stdout, ran.result.stderr) if text.strip()]
    if ran.complaint:
        texts.append(f"The figures cannot be drawn: {_clipped(ran.complaint)}")
    if ran.ended is not None:
        how = _how(ran.ended)
        texts.append(f"The notebook ended ({how}) and begins anew: variables and files are gone.")
    text = "\n".join(texts) or "(no output)"
    return [text_part(text), *map(image_part, ran.plots)] if ran.plots else text


_HOW = {
    Verdict.TIME_LIMIT: "it ran out of time",
    Verdict.MEMORY_LIMIT: "it ran out of memory",
    Verdict.OUTPUT_LIMIT: "it printed too much",
    Verdict.DISK_LIMIT: "it wrote too much",
    Verdict.REFUSED: "it asked for what no program here may have",
}


def _how(result: Result) -> str:
    if result.verdict in _HOW:
        return _HOW[result.verdict]
    return f"signal {result.signal}" if result.signal else f"exit code {result.exit_code}"


def _complaint(result: Result) -> str:
    """Why a program gave no answer."""
    if result.verdict in ENDED_WELL and result.stderr.strip():
        return result.stderr.strip()
    return f"the program was stopped: {_how(result)}"


def _verdict(answer: bool, transfers: bool) -> str:
    if answer and transfers:
        return "Right, on these tables and on others."
    if answer:
        return "Right on these tables, wrong on others of the same form."
    return "Wrong on these tables" + (", right on others of the same form." if transfers else ".")


_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


def _clipped(text: str) -> str:
    """The beginning and end of a text, without memory addresses, which differ from run to run."""
    text = _ADDRESS.sub("at 0x…", text)
    if len(text) <= SHOWN:
        return text
    head, tail = SHOWN * 3 // 4, SHOWN // 4 - 60
    return f"{text[:head]}\n… {len(text) - head - tail} characters left out …\n{text[-tail:]}"
