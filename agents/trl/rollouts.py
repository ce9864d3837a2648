"""`rollout_func`: GRPOTrainer plays whole episodes, of which every reply reaches the environment.

TRL's own sampling is called with ids and gives ids; all between is what every rollout here does. An episode
is one row of TRL's: the first prompt, and as its completion all that was sampled and heard since, where
`env_mask` says which tokens were sampled.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gymnasium

from ludus.agents.conversation import Conversation
from ludus.agents.engines.base import EngineFault
from ludus.agents.episode import Episode
from ludus.agents.formats.base import ChatFormat
from ludus.agents.models import format_of
from ludus.agents.policy import Action, tool_schemas
from ludus.agents.rollout import Environments, EnvironmentSpec, EpisodeStart, rollout_mixed
from ludus.agents.trl.installed import require_trl
from ludus.agents.trl.starts import seed_of
from ludus.envs.chat import Chat
from ludus.envs.conformance.surfaces.surface import make_chat
from ludus.tools.errors import UserError

Ids = list[int]
Sample = Callable[[list[Ids]], tuple[list[Ids], list[list[float | None]] | None]]
"""Continues contexts; log-probabilities only where TRL keeps them."""

_FORKED = (
    "the chat template rewrote what the model had seen, and TRL trains an episode as one row: give the "
    "tokenizer a template that keeps it (trl.chat_template_utils.get_training_chat_template)"
)


def rollout_func(id: str, /, **arguments: Any) -> "Rollouts":
    """What GRPOTrainer takes as `rollout_func`, for one environment.

    Args:
        id: the environment's id.
        arguments: its keyword arguments.

    Raises:
        UserError: TRL is not installed, or of another version; the environment is not a chat.
    """
    require_trl()
    make_chat(id, arguments).close()
    return Rollouts(EnvironmentSpec(id, arguments))


class Rollouts:
    """Plays the episode of every prompt, which its first message's `seed` names. Environments stay open from
    one batch to the next, until `close`."""

    def __init__(self, spec: EnvironmentSpec) -> None:
        self._spec = spec
        self._environments = Environments()

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """
        Returns:
            For each prompt `prompt_ids`, `completion_ids`, `env_mask` (1 for what was sampled, 0 for what was
            heard) and `logprobs` (None for the batch where TRL keeps none); and for reward functions
            `episode`, the `Episode`, or None where it is left out: the environment broke, the template
            rewrote the history, or the first prompt left no room. Nothing of its row is trained.

        Raises:
            UserError: a prompt does not say which start it is, or all episodes are left out.
        """
        table, episodes = self.play(prompts, trainer)
        if not any(map(_is_trained, episodes)):
            why = episodes[0].fault or "the first prompt left no room to answer"
            raise UserError(f"{self._spec.id}: none of {len(episodes)} episodes can be trained on: {why}")
        rows = [_row(episode, table.format.pad_id) for episode in episodes]
        return {
            "prompt_ids": [row.prompt for row in rows],
            "completion_ids": [row.completion for row in rows],
            "logprobs": [row.logprobs for row in rows] if table.has_logprobs else None,
            "env_mask": [row.sampled for row in rows],
            "episode": [episode if _is_trained(episode) else None for episode in episodes],
        }

    def play(self, prompts: Sequence[Any], trainer: Any) -> "tuple[Table, list[Episode]]":
        """The episodes, in the order of their prompts, and how they were sampled."""
        seeds = [seed_of(prompt) for prompt in prompts]
        groups = {seed: number for number, seed in enumerate(dict.fromkeys(seeds))}
        members: Counter[int] = Counter()
        jobs = []
        for seed in seeds:
            jobs.append((self._spec, EpisodeStart(seed, groups[seed], members[seed])))
            members[seed] += 1
        table = Table.of(trainer)
        return table, rollout_mixed(table, jobs, concurrency=len(jobs), environments=self._environments)

    def close(self) -> None:
        self._environments.close()


@dataclass
class Table:
    """A policy whose players sample together, as soon as each of them that still plays waits for it."""

    sample: Sample
    format: ChatFormat
    most: int
    """Tokens of an episode after its first prompt."""
    max_context: int | None
    has_logprobs: bool = False
    seats: Iterator[int] = field(default_factory=count)
    seated: int = 0
    waiting: dict[int, tuple[Ids, "asyncio.Future[tuple[Ids, list[float]]]"]] = field(default_factory=dict)
    """By seat, in whose order all are sampled: the same numbers are drawn for the same episode, however fast
    its environment was."""

    @classmethod
    def of(cls, trainer: Any) -> "Table":
        """TRL's own way of sampling: its limits, its distribution, vLLM or not."""

        def sample(contexts: list[Ids]) -> tuple[list[Ids], list[list[float | None]] | None]:
            # One for each context, for they have different histories. Text only: no images, no such fields.
            sampled: tuple[list[Ids], list[list[float | None]] | None]
            sampled = trainer._generate_single_turn(contexts, None, {}, 1)
            return sampled

        processing, model = trainer.processing_class, trainer.model
        tokenizer = getattr(processing, "tokenizer", processing)
        chat_format = format_of(tokenizer, model.generation_config)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        return cls(sample, chat_format, trainer.max_completion_length, longest)

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "_Player":
        self.seated += 1
        return _Player(self, next(self.seats), Conversation(self.format, tool_schemas(env)))

    async def continued(self, seat: int, context: Ids) -> tuple[Ids, list[float]]:
        answer: asyncio.Future[tuple[Ids, list[float]]] = asyncio.get_running_loop().create_future()
        self.waiting[seat] = context, answer
        self._sample_if_all_wait()
        return await answer

    def leave(self) -> None:
        self.seated -= 1
        self._sample_if_all_wait()

    def _sample_if_all_wait(self) -> None:
        if not self.waiting or len(self.waiting) < self.seated:
            return
        waiting = [self.waiting[seat] for seat in sorted(self.waiting)]
        self.waiting = {}
        ids, logprobs = self.sample([context for context, _ in waiting])
        self.has_logprobs = logprobs is not None
        for place, (_, answer) in enumerate(waiting):
            told = logprobs[place] if logprobs is not None else [None] * len(ids[place])
            if not answer.done():
                answer.set_result((ids[place], [float("nan") if one is None else one for one in told]))


class _Player:
    def __init__(self, table: Table, seat: int, conversation: Conversation) -> None:
        self._table, self._seat, self._conversation = table, seat, conversation
        self._longest = 0
        """How long the context may get."""

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        """
        Raises:
            EngineFault: the chat template forks, which no row can hold.
        """
        table = self._table
        heard, prompt = self._conversation.hear(observation)
        if prompt.fork:
            raise EngineFault(_FORKED)
        read = len(heard.context)
        if not self._longest:
            self._longest = min(read + table.most, table.max_context or read + table.most)
        room = self._longest - read
        if room <= 0:
            return Action(reply="", finish="length")
        ids, logprobs = await table.continued(self._seat, list(heard.context))
        said = _turn(ids, table.format.stop_ids)[:room]
        reply = heard.format.parse(said, heard.tools)
        self._conversation = heard.say(reply, said)
        return Action(
            reply=reply,
            prompt_ids=prompt.ids,
            completion_ids=tuple(said),
            logprobs=tuple(logprobs[: len(said)]),
            finish="stop" if said and said[-1] in table.format.stop_ids else "length",
        )

    def close(self) -> None:
        self._table.leave()


@dataclass(frozen=True, slots=True)
class _Row:
    prompt: Ids
    completion: Ids
    sampled: list[int]
    logprobs: list[float]


def _row(episode: Episode, filler: int) -> _Row:
    """An episode as TRL's row; one token that is not trained, where there is nothing to train."""
    if not _is_trained(episode):
        return _Row([filler], [filler], [0], [0.0])
    (whole,) = episode.training_sequences()
    first = len(episode.turns[0].prompt_ids)
    return _Row(
        list(whole.ids[:first]),
        list(whole.ids[first:]),
        list(map(int, whole.sampled[first:])),
        list(whole.logprobs[first:]),
    )


def _is_trained(episode: Episode) -> bool:
    return episode.is_scored and bool(episode.turns)


def _turn(ids: Ids, stop_ids: Sequence[int]) -> Ids:
    """What was sampled up to the end of the turn: TRL may know fewer ids that end it."""
    return ids[: next((place for place, id in enumerate(ids, 1) if id in stop_ids), len(ids))]
