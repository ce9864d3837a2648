"""Readings of what must stay, or become, the same: weights, caches, vocabularies, the tokenizer."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.episode import Episode
from ludus.agents.models import LoadedModel, count_words, tokenizer_key
from ludus.trainers.checks.trust import Reading, Readings
from ludus.trainers.critic import Critic
from ludus.trainers.parallel.play import EngineState
from ludus.trainers.tasks import TaskStream


def engine_readings(engines: Sequence[EngineState], trainer: int) -> Readings:
    """What engines sampled from.

    Args:
        trainer: The fingerprint of the trainer's weights when they did.
    """
    others = [number for number, engine in enumerate(engines, 1) if engine.weights not in (None, trainer)]
    return {
        "engine_weights": Reading(len(others), ", ".join(f"engine {number}" for number in others)),
        "stale_cache": Reading(sum(engine.cached_tokens for engine in engines)),
        "stale_episodes": Reading(sum(engine.stale_episodes for engine in engines)),
    }


class Unchanging:
    """What must not change while a policy is trained: its frozen parameters and buffers, its tokenizer and
    chat template, the reference.

    Args:
        policy: As it was loaded.
        tokenizer: The key of the tokenizer that the run began with.
    """

    def __init__(self, policy: LoadedModel, tokenizer: str) -> None:
        self._policy = policy
        self._is_other_tokenizer = tokenizer_key(policy.tokenizer) != tokenizer
        self._words, self._frozen = self._count_words(), self._fingerprint()
        self._reference: PreTrainedModel | None = None
        self._reference_before = 0

    def readings(self) -> Readings:
        """Of a step, before anything is done in it."""
        another = self._is_other_tokenizer or self._count_words() != self._words
        changed = self._fingerprint() != self._frozen
        return {
            "tokenizer": Reading(another),
            "frozen_weights": Reading(changed, "the policy's frozen parameters or buffers" * changed),
        }

    def reference_reading(self, reference: PreTrainedModel | None) -> Readings:
        """
        Args:
            reference: What divergence is measured from in this step; None where it is not.
        """
        if reference is None:
            return {}
        now = weights_fingerprint(reference.named_parameters())
        if reference is not self._reference:
            self._reference, self._reference_before = reference, now
        changed = now != self._reference_before
        return {"frozen_weights": Reading(changed, "the reference" * changed)}

    def _fingerprint(self) -> int:
        model = self._policy.model
        frozen = [(name, p) for name, p in model.named_parameters() if not p.requires_grad]
        return weights_fingerprint([*frozen, *model.named_buffers()])

    def _count_words(self) -> tuple[int, object]:
        """What is cheap enough to look at in every step."""
        tokenizer = self._policy.tokenizer
        return len(tokenizer), tokenizer.chat_template


def cursor_reading(history: Sequence[Mapping[str, float | str]], step: int, tasks: TaskStream) -> Readings:
    """By how many tasks, or steps, a step does not go on where the last one ended.

    Args:
        history: The metrics of the steps before.
        step: Counted from 0.
    """
    if not history:
        return {"cursor_gap": Reading(step)}
    last = history[-1]
    tasks_apart = abs(int(float(last["position"])) - tasks.position) if "position" in last else 0
    steps_apart = abs(int(float(last["step"])) - step) + abs(len(history) - step)
    told = f"task {tasks.position} after task {last.get('position')}, step {step + 1} after {last['step']}"
    return {"cursor_gap": Reading(tasks_apart + steps_apart, told if tasks_apart + steps_apart else "")}


def update_reading(before: int, after: int, norm: float, rate: float) -> Readings:
    """Whether an update changed nothing.

    Args:
        before: The fingerprint of the weights.
        norm: Of the gradient.
        rate: The learning rate.
    """
    return {"unchanged_weights": Reading(before == after and norm > 0 and rate > 0)}


def vocabulary_reading(
    policy: LoadedModel,
    reference: PreTrainedModel | None,
    critic: Critic | None,
    episodes: Sequence[Episode],
) -> Readings:
    """By how many ids the vocabularies differ. A model may have more ids than its tokenizer, where its matrix
    was padded, but none of these may be sampled."""
    own, words = _size(policy.model), count_words(policy.tokenizer)
    valuer = None if critic is None else critic.model.model
    turns = [turn.completion_ids for episode in episodes for turn in episode.turns if turn.completion_ids]
    differences = {
        "the tokenizer has ids that the policy lacks": max(0, words - own),
        "ids were sampled that the tokenizer lacks": max(map(max, turns), default=-1) + 1 - words,
        "the reference has another vocabulary": 0 if reference is None else abs(_size(reference) - own),
        "the value model has another vocabulary": 0 if valuer is None else abs(_size(valuer) - own),
    }
    told = [difference for difference, ids in differences.items() if ids > 0]
    return {"vocabulary": Reading(sum(max(0, ids) for ids in differences.values()), ", ".join(told))}


def _size(model: PreTrainedModel) -> int:
    """Ids that a model knows."""
    size: int = model.get_input_embeddings().num_embeddings
    return size
