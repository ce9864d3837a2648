"""`ludus/ReasoningGym-v0`: a dataset of reasoning-gym."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_weights, unknown
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.foreign.library import Library, LibraryError, as_name
from ludus.envs.foreign.reasoning_gym.scripted import AGENTS
from ludus.envs.math.answers import Tags
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

LIBRARY = Library("reasoning_gym", str(Path(__file__).with_name("guest.py")))
TAGS = Tags("think", "answer")
INSTRUCTIONS = (
    f"Think as long as you like. Then give your answer, once, in {TAGS.open_answer}{TAGS.close_answer}: only "
    "the answer, in the form for which the question asks."
)
MAKE_S = 60
"""Seconds of processor time in which an item must be made."""
SCORE_S = 5
"""Seconds of processor time in which an answer must be judged."""
MOST_CHARACTERS = 20_000
"""Of an answer that is judged."""
TRIES = 20
"""Seeds that are tried for a start: some generators give up on some."""


@dataclass(frozen=True, slots=True)
class Item:
    """The state of an episode: an item of the dataset."""

    seed: int
    question: str
    reference: str
    """A right answer; empty, if the dataset names none."""


class ReasoningGym(ChatEnv):
    """Answer the questions of a dataset of reasoning-gym, judged by its own scorer.

    ## Task
    One item of one of 105 datasets of procedural tasks (algebra, algorithms, arithmetic, code, games,
    geometry, graphs, induction, logic, probability). An item follows from the seed alone: its own seed is a
    hash of the episode's, so that neighbouring seeds share nothing. `task_name` begins with the dataset and
    the question.

    ## Observation
    `Chat`. After `reset`: a system message that says how to answer, and the question. After the answer: a
    user message with whether it was right.

    ## Actions
    `Reply`: any text with exactly one `<answer>…</answer>`.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `correct` | 1 if the dataset's scorer gives the answer its full mark, 1 | 1 |
    | `score` | that mark, from 0 to 1; many scorers give a part of it for wrong answers | 0 |
    | `malformed` | 1 if there is no answer in the reply | −0.1 |

    An answer that the scorer refuses by an exception, one that it cannot judge within 5 s of processor time,
    and one of more than 20,000 characters have the mark 0.

    ## End of episode
    The first reply terminates. `info["success"]` is `correct`.

    ## Arguments
    - `dataset` (`"countdown"`): the dataset's name.
    - `config` (None): its settings by name, such as `{"min_numbers": 3}`; `seed` and `size` are not among
      them.
    - `weights` (None): other weights of terms, such as `{"correct": 0, "score": 1}` for the library's own
      reward.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric({"correct": 1.0, "score": 0.0, "malformed": -0.1}, form=("malformed",))
    max_turns = 1

    def __init__(
        self,
        dataset: str = "countdown",
        config: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))
        LIBRARY.require()
        self.dataset = as_name("dataset", dataset, LIBRARY.names())
        self._settings = _as_settings(self.dataset, config)

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        refused = ""
        for seed in map(int, rng.integers(2**31, size=TRIES)):
            try:
                made = LIBRARY.ask(seed, ["item", self.dataset, self._settings, seed], MAKE_S)
            except LibraryError as error:
                refused = str(error)
                continue
            if made is None:
                raise EnvironmentFault(
                    f"{self.dataset}: reasoning-gym made no item of the seed {seed} within {MAKE_S} s"
                )
            item = Item(seed, **made)
            return Start([system(INSTRUCTIONS), user(item.question)], self._name(item), item)
        raise EnvironmentFault(f"{self.dataset}: reasoning-gym made no item of {TRIES} seeds: {refused}")

    def respond(self, state: Item, text: str) -> Outcome:
        answer = TAGS.find(text).content
        if not answer:
            said = f"There is no answer: write one, once, in {TAGS.open_answer}{TAGS.close_answer}."
            return Outcome(state, [user(said)], {"malformed": 1.0}, terminated=True, failure="no answer")
        score, why = self._judge(state, answer)
        correct = score >= 1.0
        terms = {"correct": float(correct), "score": score}
        return Outcome(
            state, [user("Right." if correct else "Wrong.")], terms, True, correct, "" if correct else why
        )

    def expected(self, state: Item) -> str:
        return state.reference

    def _judge(self, item: Item, answer: str) -> tuple[float, str]:
        """The mark, from 0 to 1, and what is to be said of it."""
        if len(answer) > MOST_CHARACTERS:
            return 0.0, f"an answer of {len(answer)} characters"
        question = ["score", self.dataset, self._settings, item.seed, answer]
        try:
            score = LIBRARY.ask(item.seed, question, SCORE_S)
        except LibraryError as error:
            return 0.0, f"the scorer raised {error}"
        if score is None:
            return 0.0, f"not judged within {SCORE_S} s"
        # A scorer may give what is no number, or more than the full mark.
        return (min(max(score, 0.0), 1.0) if score == score else 0.0), f"the mark {score:g}"

    def _name(self, item: Item) -> str:
        content = json.dumps([self.dataset, item.question, item.reference]).encode()
        key = blake2b(content, digest_size=8).hexdigest()
        return f"{self.dataset}: {' '.join(item.question.split())[:60]} [{key}]"


def _as_settings(dataset: str, config: Any) -> str:
    """A dataset's settings as JSON.

    Raises:
        ArgumentError: they are no mapping, the dataset has no such setting, or refuses a value.
    """
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise ArgumentError(f"config={config!r}: give settings by name, as in config={{'min_numbers': 3}}")
    try:
        settings = json.dumps(dict(config), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"config={config!r}: give numbers, texts and lists of them: {error}") from None
    problem = LIBRARY.ask(0, ["settings", dataset, settings], MAKE_S) if config else ""
    if isinstance(problem, list):
        wrong = next(name for name in json.loads(settings) if name not in problem)
        raise ArgumentError(unknown("config", wrong, problem))
    if problem is None:
        problem = f"it makes nothing of it within {MAKE_S} s and 4 GiB"
    if problem:
        raise ArgumentError(f"config={dict(config)!r}: {dataset} refuses it: {problem}")
    return settings
