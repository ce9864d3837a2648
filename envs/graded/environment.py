"""`ludus/Graded-v0`: an environment from a file of items and a grader."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_choice
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, Reply, reply_text, reply_tool_calls, system, tool_result, user
from ludus.envs.code.faults import sandbox_faults
from ludus.envs.code.printed import printed
from ludus.envs.graded.bank import open_bank
from ludus.envs.graded.items import Item
from ludus.envs.graded.recipe import EXAMPLE, Rows, load_recipe
from ludus.envs.graded.scripted import AGENTS
from ludus.envs.graded.templates import Sample, fill
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.content import content_key
from ludus.tools.sandbox import Limits, shared_pool
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {"score": 1.0, "retry": -0.02, "tool_errors": -0.05, "malformed": -0.1}
HELD_OUT_SEEDS = 2**32
"""Seeds from here on start held-out items: training draws its seeds below, and evaluation from here."""
LIMITS = Limits(wall_s=5, cpu_s=5)
"""Of a program that the tool `python` runs."""
SPLITS = ("train", "held_out", "all")


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of an episode."""

    item: Item
    attempts: int = 0
    """Answers so far."""
    turns: int = 0
    """Replies with tool calls so far."""


class Graded(ToolEnv):
    """Answer the items of a file, judged by a grader that a recipe describes.

    ## Task
    One item of a set: a row of a JSON Lines or Parquet file, of a saved dataset or of one on the hub. A
    recipe, a TOML file of a dozen lines, says how it is asked and how an answer is graded. Items whose
    reference is not right by the grader, or where an empty answer, the question itself or other items'
    answers are, are left out, and so are those of the training side that nearly repeat a held-out one.
    `task_name` is the question and a hash of item and reference.

    ## Observation
    `Chat`. After `reset`: the recipe's system message, if there is one, and the prompt. After an answer: one
    user message, the recipe's `feedback` or whether the answer was right. After tool calls: a `tool` message
    for each.

    ## Actions
    `Reply`: the answer as a text, or as tool calls where the grader reads those. If the recipe has tools, a
    reply with calls is carried out, and one without is the answer.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `score` | what the grader says of the last answer, from 0 to 1 | 1 |
    | `retry` | 1 if an answer was wrong and another one may follow | −0.02 |
    | `tool_errors` | calls that were wrong in themselves: no such tool, malformed arguments | −0.05 |
    | `malformed` | 1 if there is no answer in the reply | −0.1 |

    A right first answer earns 1.

    ## End of episode
    A right answer terminates, and so does the last of `attempts`. `info["success"]` is whether the score is
    at least the recipe's `pass_score`. With tools, `attempts` + `tool_turns` replies truncate.

    ## Arguments
    - `recipe` (`"example"`): a TOML file, the name of a preset (`gsm8k`, `math`, `mbpp`, `humaneval`,
      `bfcl`), or the same keys as a table. See the page on graders.
    - `items` (None): the file of items, in place of the recipe's.
    - `split` (None): which side to play: `"train"`, `"held_out"` or `"all"`. By default the seed decides:
      below 2³² a training item, from there on a held-out one, as `ludus train` and `ludus eval` draw them.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric(WEIGHTS, form=("tool_errors", "malformed"))

    def __init__(
        self,
        recipe: str | Mapping[str, Any] = EXAMPLE,
        items: Rows | None = None,
        split: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.split = None if split is None else as_choice("split", split, SPLITS)
        self.recipe = load_recipe(recipe, items)
        self.bank = open_bank(self.recipe)
        self.use_tools(type(self).tools if self.recipe.tools else ())
        self.max_turns = self.recipe.attempts + (self.recipe.tool_turns if self.recipe.tools else 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Chat, dict[str, Any]]:
        if seed is None and self._np_random is None:
            seed = secrets.randbelow(HELD_OUT_SEEDS)  # without a seed, a training item
        return super().reset(seed=seed, options=options)

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        items = self._side()
        item = items[int(rng.integers(len(items)))]
        prompt = fill(self.recipe.prompt, item.values)
        said = fill(self.recipe.system, item.values)
        content = json.dumps([said, prompt, self._reference(item)]).encode()
        name = f"{' '.join(prompt.split())[:60]} [{blake2b(content, digest_size=8).hexdigest()}]"
        return Start([*([system(said)] if said else []), user(prompt)], name, Progress(item))

    def answer(self, state: Progress, action: Reply) -> Outcome:
        if self.recipe.tools:
            outcome = super().answer(state, action)
            carried_out = bool(reply_tool_calls(action))
            return replace(outcome, state=replace(state, turns=state.turns + 1)) if carried_out else outcome
        calls = reply_tool_calls(action)
        if not (self.recipe.reads_calls and calls):
            return ChatEnv.answer(self, state, action)
        outcome = self._answered(state, self.recipe.sample(reply_text(action), calls))
        noted = [tool_result(call, "Noted.") for call in calls]
        return replace(outcome, messages=[*noted, *outcome.messages])

    def respond(self, state: Progress, text: str) -> Outcome:
        return self._answered(state, self.recipe.sample(text))

    def anchor(self, state: Progress) -> int:
        # The item is the task's. Tools keep nothing, and how many replies are left is told to nobody.
        return content_key((state.attempts, state.turns))

    def expected(self, state: Progress) -> str:
        return self._reference(state.item)

    def unfinished(self, state: Progress) -> str:
        return "no answer, only tool calls"

    @tool
    def python(self, state: Progress, code: str) -> Answer:
        """Run a Python program in a fresh process and show what it prints.

        Args:
            code: the program; print what you want to see
        """
        with sandbox_faults():
            return Answer(state, printed(shared_pool(LIMITS).run(code), LIMITS))

    def _answered(self, state: Progress, sample: Sample) -> Outcome:
        after = replace(state, attempts=state.attempts + 1)
        terms: dict[str, float] = {}
        if not sample.output_text.strip() and not sample.output_tools:
            terms["malformed"] = 1.0
            score, passes, why = 0.0, False, "no answer"
        else:
            grade = self.recipe.judge(state.item.values, sample)
            score, passes, why = grade.score, self.recipe.passes(grade), grade.said
        if passes or after.attempts == self.recipe.attempts:
            terms["score"] = score
            missing = "There is no answer in the reply." if terms.get("malformed") else "Wrong."
            said = "Right." if passes else missing
            return Outcome(after, [user(said)], terms, True, passes, "" if passes else why)
        terms["retry"] = 1.0
        return Outcome(after, [user(fill(self.recipe.feedback, state.item.values, sample))], terms)

    def _side(self) -> tuple[Item, ...]:
        bank = self.bank
        held_out = (self._np_random_seed or 0) >= HELD_OUT_SEEDS
        match self.split or ("held_out" if held_out else "train"):
            case "held_out" if bank.held_out:
                return bank.held_out
            case "all":
                return bank.training + bank.held_out
        return bank.training

    def _reference(self, item: Item) -> str:
        right = self.recipe.right(item.values)
        return json.dumps(right.output_tools) if right.output_tools else right.output_text
