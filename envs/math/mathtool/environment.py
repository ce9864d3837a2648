"""`ludus/MathTool-v0`: mathematics that needs a computer, with Python at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer, as_weights
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.code.faults import sandbox_faults
from ludus.envs.code.printed import printed
from ludus.envs.math.answers import Tags
from ludus.envs.math.mathtool.algebraic import NotExact
from ludus.envs.math.mathtool.kinds import FORMS
from ludus.envs.math.mathtool.scripted import AGENTS
from ludus.envs.math.mathtool.topics import KINDS, TOPICS, checked_topics
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.content import content_key
from ludus.tools.sandbox import Limits, shared_pool
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {
    "correct": 0.9,
    "format": 0.1,
    "calls": -0.02,
    "tool_errors": -0.02,
    "malformed": -0.1,
}
LIMITS = Limits(wall_s=5, cpu_s=5)
PRELOAD = (
    "sympy",
    "sympy.assumptions.wrapper",
    "sympy.combinatorics.perm_groups",
    "sympy.integrals.heurisch",
    "sympy.integrals.manualintegrate",
    "sympy.integrals.prde",
    "sympy.polys.domains.old_fractionfield",
    "sympy.polys.polymatrix",
    "sympy.sets.handlers.issubset",
    "sympy.sets.setexpr",
    "sympy.tensor.tensor",
)
"""Modules that sympy imports lazily, to integrate or solve; preloaded so that no guest has to."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The state of an episode."""

    kind: str
    answer: str
    used: int = 0
    """Calls of `python` made so far."""


class MathTool(ToolEnv):
    """Solve a problem too hard for mental arithmetic, with a `python` tool and a budget of calls.

    ## Task
    One problem, drawn from the seed: whole numbers of many digits, modular arithmetic and factors; counting;
    integrals, derivatives, limits and power series; determinants, ranks, systems, eigenvalues, roots. Every
    problem has one exact answer: an integer, a fraction, or an expression of integers, roots, pi and e.
    `task_name` is the kind and its numbers (`totient:n=48400`).

    ## Observation
    `Chat`. After `reset`: a system message that names the tags, the tool and its budget, and a user message
    with the problem and the form of its answer. Then a `tool` message for each call, or a user message.

    ## Actions
    `Reply`: either calls of the tool `python(code)`, each of which runs a program in a fresh process with
    sympy installed and returns what it prints; or the answer, as in `<think>totient(48400) printed
    17600</think> <answer>17600</answer>`. Integers and fractions are written as numbers (`-7/2`, `1,234`,
    `0.5`), never as formulas. An exact expression, where one is asked for, consists of numbers, `sqrt(n)`,
    `exp(n)`, `pi`, `e`, `+ - * / ^` and brackets, in plain text, LaTeX or Unicode (`\\frac{3\\pi}{4}`, `√2`,
    `2π`). Any way of writing the right number is accepted, up to 300 characters and with roots up to the 8th.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `correct` | 1 if there is exactly one pair of answer tags and the answer in it is exactly right | 0.9 |
    | `format` | 1 if the last reply is nothing but tagged reasoning followed by a tagged answer | 0.1 |
    | `calls` | programs run on this turn beyond the first `free_calls` of the episode | −0.02 |
    | `tool_errors` | invalid calls, and calls beyond the budget | −0.02 |
    | `malformed` | 1 if the reply contains neither a call nor an answer | −0.1 |

    A program that fails is not a tool error: the agent gets its message to work with. A right answer in the
    exact format, after at most `free_calls` calls, earns 1.

    ## End of episode
    The first answer terminates the episode, right or wrong. Truncated after `max_turns` = `calls` + 3
    replies. `info["success"]` is whether `correct` is 1.

    ## Arguments
    - `topics` (`("integers", "counting", "calculus", "algebra")`): what to draw from: topics, or names of
      single kinds.
    - `calls` (4): programs that may be run in an episode, from 0 to 16.
    - `free_calls` (2): how many of these cost nothing.
    - `think_tag` (`"think"`), `answer_tag` (`"answer"`): names of the tags.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    Programs run in the sandbox that `LUDUS_SANDBOX` names, for at most 5 seconds; a program that only just
    finishes in time may time out on another machine.

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS

    def __init__(
        self,
        topics: Sequence[str] = tuple(TOPICS),
        calls: int = 4,
        free_calls: int = 2,
        think_tag: str = "think",
        answer_tag: str = "answer",
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.kinds = checked_topics(topics)
        self.calls = as_integer("calls", calls, 0, 16)
        self.free_calls = as_integer("free_calls", free_calls, 0, 16)
        self.max_turns = self.calls + 3
        self.tags = Tags(think_tag, answer_tag)
        self.rubric = Rubric(as_weights(weights, WEIGHTS), form=("format", "malformed", "tool_errors"))

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        problem = kind.draw(rng)
        instructions = (
            f"Solve the problem. The tool python runs a program, in which sympy can be imported, and shows "
            f"what it prints; you have {self.calls} calls. Then reason in {self.tags.open_think}"
            f"{self.tags.close_think} and answer, once, in {self.tags.open_answer}{self.tags.close_answer}."
        )
        question = f"{kind.question(problem)}\nAnswer with {FORMS[kind.form]}."
        state = Sheet(kind.name, str(problem.answer))
        return Start([system(instructions), user(question)], kind.key(problem), state, kind.name)

    def respond(self, state: Sheet, text: str) -> Outcome:
        kind, found = KINDS[state.kind], self.tags.find(text)
        if found.content is None:
            message = (
                f"No answer found: call python, or write {FORMS[kind.form]}, once, in "
                f"{self.tags.open_answer}{self.tags.close_answer}."
            )
            return Outcome(state, [user(message)], {"malformed": 1.0})
        try:
            correct = kind.same(state.answer, kind.read(found.content))
        except NotExact as error:
            message = f"This is no answer: {error}. Write {FORMS[kind.form]}."
            return Outcome(state, [user(message)], {"malformed": 1.0})
        terms = {"correct": float(correct), "format": float(found.tidy)}
        said = "Correct." if correct else f"Wrong: the answer is {kind.write(state.answer)}."
        failure = f"answered {found.content.strip()[:300]}"
        return Outcome(state, [user(said)], terms, True, correct, failure)

    def anchor(self, state: Sheet) -> int:
        return content_key(state.used)

    def expected(self, state: Sheet) -> str:
        return KINDS[state.kind].write(state.answer)

    @tool
    def python(self, state: Sheet, code: str) -> Answer:
        """Run a Python program in a fresh process and show what it prints. sympy can be imported.

        Args:
            code: the program; print what you want to see
        """
        if state.used >= self.calls:
            refusal = f"Error: all {self.calls} calls are used up. Answer in {self.tags.open_answer} now."
            return Answer(state, refusal, {"tool_errors": 1.0})
        with sandbox_faults():
            result = shared_pool(LIMITS, packages=("sympy",), preload=PRELOAD).run(code)
        used = state.used + 1
        return Answer(
            replace(state, used=used), printed(result, LIMITS), {"calls": float(used > self.free_calls)}
        )
