"""Episodes to learn from: those of an episode file or of a benchmark's folder, whoever played them."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium

from ludus.agents.bench.directory import SETTINGS, open_folder
from ludus.agents.episode import Episode, Turn
from ludus.agents.policy import tool_schemas
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.store import read_episodes
from ludus.tools.errors import DataError
from ludus.trainers.data.chat import with_reasoning
from ludus.trainers.data.dialogue import Dialogue

_REASONING = ("reasoning_content", "reasoning")
"""Fields in which servers give a model's reasoning."""


def is_bench_folder(path: Path) -> bool:
    return (path / SETTINGS).is_file()


def bench_dialogues(folder: Path) -> Iterator[Dialogue]:
    """
    Raises:
        BenchError: the folder is damaged.
        DataError: an environment cannot be made, so its tools are unknown.
    """
    yield from dialogues_of(folder, open_folder(folder).episodes())


def file_dialogues(path: Path) -> Iterator[Dialogue]:
    """
    Raises:
        EpisodeFileError: the file is damaged.
        DataError: as `bench_dialogues`.
    """
    yield from dialogues_of(path, read_episodes(path))


def dialogues_of(source: Path, episodes: list[Episode]) -> Iterator[Dialogue]:
    """One for each episode, in order.

    Args:
        source: Where they were read.

    Raises:
        DataError: as `bench_dialogues`.
    """
    tools: dict[str, list[dict[str, Any]]] = {}
    for number, episode in enumerate(episodes, 1):
        place = f"{source}, episode {number} ({episode.environment}, seed {episode.seed})"
        spec = json.dumps([episode.environment, episode.arguments], sort_keys=True)
        if spec not in tools:
            tools[spec] = _tools(episode, place)
        yield Dialogue(
            place=place,
            turns=tuple(map(_with_reasoning, episode.turns)),
            tools=tools[spec],
            success=episode.success,
            reward=episode.episode_return,
            unusable=_unusable(episode),
            task=(episode.environment, episode.task),
        )


def _tools(episode: Episode, place: str) -> list[dict[str, Any]]:
    try:
        with closing(EnvironmentSpec(episode.environment, episode.arguments).make()) as env:
            return tool_schemas(env)
    except (TypeError, ValueError, ModuleNotFoundError, gymnasium.error.Error) as error:
        raise DataError(
            f"{place}: its environment cannot be made here, so the tools that its agent had are unknown "
            f"({str(error).splitlines()[0][:200]}); install what it needs"
        ) from None


def _with_reasoning(turn: Turn) -> Turn:
    """What a server gave apart from the content belongs to what the model said."""
    said, content = next((turn.vendor[name] for name in _REASONING if turn.vendor.get(name)), ""), turn.reply
    if not isinstance(said, str) or not isinstance(content["content"], str):
        return turn
    return replace(turn, reply={**content, "content": with_reasoning(content["content"], said)})


def _unusable(episode: Episode) -> str:
    if episode.is_fault:
        return "broke off by a fault"
    if episode.is_refusal:
        return "refused by the server"
    if not episode.turns:
        return "without a reply"
    if len({turn.actor for turn in episode.turns}) > 1:
        return "played by several agents"
    # With an end-of-turn token after it, a reply that was cut off would teach to stop in mid-sentence.
    if any(turn.finish in ("length", "malformed") for turn in episode.turns):
        return "with a reply that was cut off or unreadable"
    return ""
