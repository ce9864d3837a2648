"""A scorer by model: what each step of a reply adds to the probability of success."""

from ludus.agents.episode import Episode
from ludus.agents.models import LoadedModel, load_tokenizer
from ludus.agents.reward_model import load_reward_model, step_gains
from ludus.agents.scorers.base import StepScore
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.errors import ConfigError, RunError


class ProcessModelScorer:
    """A process reward model as a `ProcessScorer`: an episode's steps earn, together, what the model expects
    after its last one. That is what they add to the return, however many they are.

    Args:
        path: The model's folder, such as a run's `models/reward`.
        device: Where its weights go.

    Raises:
        ModelLoadError: it cannot be loaded.
        ConfigError: it is an outcome model.
    """

    def __init__(self, path: str, device: str) -> None:
        self._path, self._model = path, load_reward_model(path, device)
        if self._model.separator is None:
            raise ConfigError(
                f'grpo.process = "{path}" is an outcome model, which has no values for steps; take one '
                'trained with reward_model.kind = "process", or add this one by [[scorers]]'
            )
        self._scored: tuple[Episode, list[StepScore]] | None = None

    def __call__(self, text: str, episode: Episode, turn: int) -> list[tuple[int, float]]:
        if self._scored is None or self._scored[0] is not episode:  # it is asked about each turn in its order
            if (longest := max(len(row.ids) for row in episode.training_sequences())) > self._model.context:
                raise RunError(
                    f"{longest:,} tokens are more than {self._path} reads, {self._model.context:,}"
                )
            self._scored = episode, step_gains(*self._model.step_values([episode]))
        return [(step.end, step.value) for step in self._scored[1] if step.turn == turn]


def refuse_other_tokens(config: GrpoSection, policy: LoadedModel) -> None:
    """
    Raises:
        ConfigError: the process model of `grpo.process` has another vocabulary than the policy.
    """
    if "/" in config.process:
        own, others = load_tokenizer(config.process), policy.tokenizer
        if own.get_vocab() != others.get_vocab():
            raise ConfigError(
                f"grpo.process = {config.process}: its vocabulary ({len(own)} ids) is not the policy's "
                f"({len(others)} ids), so it would read other tokens than were sampled; train one on the "
                "policy"
            )
