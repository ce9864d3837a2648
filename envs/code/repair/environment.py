"""`ludus/CodeRepair-v0`: find and repair the fault in a small package."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar

import numpy as np

from ludus.envs import spaces
from ludus.envs.arguments import as_choices, as_integer
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Message, Reply, content_text, system, user
from ludus.envs.code.repair.domains import DOMAINS
from ludus.envs.code.repair.faults import FAULTS
from ludus.envs.code.repair.judge import Verdict, judge, run_tests
from ludus.envs.code.repair.patch import apply_patch
from ludus.envs.code.repair.problem import Problem, draw_problem
from ludus.envs.code.repair.scripted import SCRIPTED
from ludus.envs.errors import ArgumentError
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import MAX_CALLS, Answer, ToolEnv
from ludus.tools import sandbox
from ludus.tools.content import content_key
from ludus.tools.errors import ToolError
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {
    "visible": 0.0,
    "hidden": 0.3,
    "solved": 0.7,
    "malformed": -0.05,
    "tool_errors": -0.02,
}
MOST_SHOWN = 8_000
"""The most characters of a tool result."""
MOST_FILES, MOST_CHARACTERS, MOST_LINES = 32, 20_000, 1_000
_PATH = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
# Memory addresses differ from run to run.
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


@dataclass(frozen=True, slots=True)
class RepairState:
    """The state of an episode between two replies."""

    problem: Problem
    files: Mapping[str, str]
    """Path → text; never modified in place."""
    turns: int = 0


class CodeRepair(ToolEnv):
    """Repair a Python package that has one fault.

    ## Task
    A package of four modules and a README that specifies it, drawn from the seed: one of nine domains (bank,
    calculator, league, loans, planner, rover, textindex, timetable, warehouse), with different names, numbers
    and rules each time, and one fault of one of nineteen kinds, introduced into its syntax tree: an integer
    off by one, swapped arguments, a wrong operator, a missing branch, a mutable default, a wrong sort key, a
    stale cache and so on. Every fault breaks at least one of the ten visible tests and at least one of thirty
    hidden calls. `task_name` is the domain and a hash of the files.

    ## Observation
    `Chat`. First a system message and the task. Then a tool message for each call, or a user message after a
    reply without calls.

    ## Actions
    `Reply` with calls of these tools:

    - `list_files()`, `read_file(path)`, `write_file(path, content)`.
    - `apply_patch(patch)`: unified diffs. Line numbers are hints; a patch is applied as a whole or not at
      all.
    - `run_tests()`: runs `tests/` in a sandbox and shows what fails. The agent may add tests there.
    - `submit()`: hands the package in.

    ## Rewards
    Calls to the package, those of the visible tests and hidden ones with other arguments, run in a sandbox on
    the package as submitted; outside, their results are compared with those of the correct package. Test
    files play no part in this. A gain is the number of calls that the fault broke and that are now right,
    less those that are newly wrong, as a share of the broken ones, and at least 0.

    | term | value | weight |
    |---|---|---|
    | `visible` | gain on the calls of the visible tests, at the end | 0 (for the record) |
    | `hidden` | gain on the hidden calls, at the end | 0.3 |
    | `solved` | 1 if every visible and every hidden call is right | 0.7 |
    | `malformed` | 1 for a reply without tool calls | −0.05 |
    | `tool_errors` | calls of unknown tools, or with malformed arguments | −0.02 |

    ## End of episode
    `submit` terminates the episode; after `max_turns` turns it is truncated, and the package is judged as it
    stands. `info["success"]` is whether `solved` is 1.

    ## Arguments
    - `domains` (None): the domains to draw from; by default all.
    - `faults` (None): the kinds of faults to draw from, as named in `ludus.envs.code.repair.faults.FAULTS`;
      by default all.
    - `max_turns` (20): the most replies in an episode.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    rubric = Rubric(WEIGHTS, form=("malformed", "tool_errors"))
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = SCRIPTED

    def __init__(
        self,
        domains: Sequence[str] | None = None,
        faults: Sequence[str] | None = None,
        max_turns: int = 20,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        # Every call in a reply may show a whole file.
        self.observation_space = spaces.Chat(max_length=MAX_CALLS * (MOST_SHOWN + 500))
        self.action_space = spaces.Reply(max_length=2 * MOST_CHARACTERS)
        self.domains = [DOMAINS[name] for name in as_choices("domains", domains, DOMAINS)]
        self.faults = as_choices("faults", faults, FAULTS)
        self.max_turns = as_integer("max_turns", max_turns, 1, 1000)
        if domains is not None or faults is not None:
            try:
                draw_problem(Random(0), self.domains, self.faults)
            except LookupError as error:
                raise ArgumentError(f"{error} makes a test fail; choose more domains or faults") from None

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        problem = draw_problem(Random(int(rng.integers(2**63))), self.domains, self.faults)
        digest = hashlib.blake2b(repr(sorted(problem.files.items())).encode(), digest_size=8).hexdigest()
        messages = [
            system(
                "You mend Python packages by calling tools: list_files, read_file, write_file, apply_patch, "
                f"run_tests, submit. Call submit when you are done; you have {self.max_turns} replies."
            ),
            user(
                f"The package {problem.package}/ has one fault, and tests in tests/ fail. README.md says "
                "what it should do. Find the fault and mend it. Your repair is judged by other calls than "
                f"those in the tests; only the files of {problem.package}/ count."
            ),
        ]
        state = RepairState(problem, problem.files)
        return Start(messages, f"{problem.domain}-{digest}", state, problem.fault)

    def answer(self, state: RepairState, action: Reply) -> Outcome:
        outcome = super().answer(state, action)
        messages = [_cut(message) for message in outcome.messages]
        after: RepairState = replace(outcome.state, turns=state.turns + 1)
        outcome = replace(outcome, state=after, messages=messages)
        if outcome.terminated or after.turns < self.max_turns:
            return outcome
        verdict = judge(after.problem, after.files)
        closing = user(f"No turns are left. {_said(verdict, after.problem)}")
        terms = {**outcome.terms, **_terms(verdict)}
        return replace(
            outcome,
            messages=[*messages, closing],
            terms=terms,
            success=verdict.solved,
            failure=verdict.failure,
        )

    def anchor(self, state: RepairState) -> int:
        return content_key(state.files)

    def expected(self, state: RepairState) -> str:
        calls = len(state.problem.visible) + len(state.problem.hidden)
        return f"a package without its fault ({state.problem.fault}): all {calls} calls right"

    def respond(self, state: RepairState, text: str) -> Outcome:
        names = ", ".join(tool.name for tool in self.tools)
        explanation = user(f"Nothing was done: call a tool ({names}). submit ends the task.")
        return Outcome(state, [explanation], {"malformed": 1.0})

    @tool
    def list_files(self, state: RepairState) -> Answer:
        """List all files with their numbers of lines."""
        lines = [f"{path} ({_lines(text)})" for path, text in sorted(state.files.items())]
        return Answer(state, "\n".join(lines))

    @tool
    def read_file(self, state: RepairState, path: str) -> Answer:
        """Read a file.

        Args:
            path: such as README.md.
        """
        text = state.files[_existing(state, path)]
        if len(text) > MOST_SHOWN:
            text = f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN} more characters"
        return Answer(state, text or "(the file is empty)")

    @tool
    def write_file(self, state: RepairState, path: str, content: str) -> Answer:
        """Write a whole file, new or in place of the old one.

        Args:
            path: where, such as tests/test_more.py.
            content: the text of the file.
        """
        path = _clean(path)
        files = _checked({**state.files, path: content})
        return Answer(replace(state, files=files), f"{path} is written: {_lines(content)}.")

    @tool
    def apply_patch(self, state: RepairState, patch: str) -> Answer:
        """Apply a unified diff to one or several files. It is applied as a whole or not at all.

        Args:
            patch: lines --- a/PATH, +++ b/PATH, @@ -1,3 +1,3 @@, then lines that begin with a blank, - or +.
        """
        if len(patch) > MOST_CHARACTERS:
            raise ToolError(f"a patch has at most {MOST_CHARACTERS} characters")
        files = _checked(apply_patch(state.files, patch))
        changed = sorted(path for path in {*files, *state.files} if files.get(path) != state.files.get(path))
        return Answer(replace(state, files=files), f"Patched: {', '.join(changed) or 'nothing changed'}.")

    @tool
    def run_tests(self, state: RepairState) -> Answer:
        """Run the tests in tests/ and show those that fail."""
        result = run_tests(state.files)
        shown = _ADDRESS.sub("0x…", result.stdout)
        if len(shown) > MOST_SHOWN // 2:
            shown = f"… cut off\n{shown[-MOST_SHOWN // 2 :]}"
        if result.verdict is not sandbox.Verdict.OK:
            said = _ADDRESS.sub("0x…", result.stderr[-1000:])
            shown += f"\nThe tests were stopped: {result.verdict.replace('_', ' ')}.\n{said}"
        return Answer(state, shown.strip() or "The tests printed nothing.")

    @tool
    def submit(self, state: RepairState) -> Answer:
        """Hand the package in. This ends the task."""
        verdict = judge(state.problem, state.files)
        said = _said(verdict, state.problem)
        return Answer(state, said, _terms(verdict), True, verdict.solved, verdict.failure)


def _cut(message: Message) -> Message:
    content = content_text(message)
    if len(content) <= MOST_SHOWN + 400:
        return message
    return {**message, "content": f"{content[:MOST_SHOWN]}\n… cut off"}


def _lines(text: str) -> str:
    """How many lines there are; the last one need not end in a newline."""
    count = text.count("\n") + (not text.endswith("\n") and text != "")
    return f"{count} line{'s' * (count != 1)}"


def _clean(path: str) -> str:
    """A path in canonical form.

    Raises:
        ToolError: it leads out of the folder, or contains characters that are not allowed.
    """
    cleaned = path.strip().removeprefix("./")
    if len(cleaned) > 100 or not _PATH.fullmatch(cleaned):
        raise ToolError(
            f"{path[:100]!r} is no path here: names of letters, digits, '_', '-' and '.', separated by '/', "
            "as in tests/test_more.py"
        )
    return cleaned


def _existing(state: RepairState, path: str) -> str:
    cleaned = _clean(path)
    if cleaned not in state.files:
        raise ToolError(f"there is no file {cleaned!r}; there are {', '.join(sorted(state.files))}")
    return cleaned


def _checked(files: dict[str, str]) -> dict[str, str]:
    """The files, if they are allowed.

    Raises:
        ToolError: there are too many files, one is too long or not text, or a file is also a folder.
    """
    if len(files) > MOST_FILES:
        raise ToolError(f"there may be {MOST_FILES} files at most")
    for path, text in files.items():
        if _clean(path) != path:
            raise ToolError(f"write {path!r} as {_clean(path)!r}")
        if len(text) > MOST_CHARACTERS or text.count("\n") > MOST_LINES:
            raise ToolError(
                f"{path} is too long: a file has at most {MOST_CHARACTERS} characters and {MOST_LINES} lines"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ToolError(f"{path}: the text is not Unicode (character {error.start})") from None
        parents = path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            if (folder := "/".join(parents[:depth])) in files:
                raise ToolError(f"{folder!r} is a file: {path!r} cannot stand in it")
    return files


def _terms(verdict: Verdict) -> dict[str, float]:
    return {
        "visible": verdict.visible_gain,
        "hidden": verdict.hidden_gain,
        "solved": float(verdict.solved),
    }


def _said(verdict: Verdict, problem: Problem) -> str:
    return (
        f"Right: {verdict.visible_right} of {len(problem.visible)} visible calls, "
        f"{verdict.hidden_right} of {len(problem.hidden)} hidden ones."
    )
