"""`ServedChat`: a chat environment in OpenEnv's form, one instance for each session."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import gymnasium
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import EnvironmentMetadata

from ludus.envs.base import ChatEnv
from ludus.envs.chat import Chat
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.openenv.models import ChatObservation, EpisodeState, ReplyAction, StartObservation
from ludus.envs.openenv.words import FAULT, NO_EPISODE

Make = Callable[[], gymnasium.Env[Any, Any]]

_WHY_NOT: Mapping[str, str] = {
    "none": "this session has none yet. A client that was in the middle of one has lost its connection, and "
    "with it the episode: call reset. (POST /step belongs to no session: use the WebSocket at /ws)",
    "terminated": "it is over: call reset",
    "truncated": "it was cut off at its limit: call reset",
    "fault": "it broke, by no fault of the agent's: leave it out of every figure, and call reset",
}


class NoEpisode(Exception):
    """There is no episode that a reply could belong to."""


class Broken(Exception):
    """The environment's own side broke. OpenEnv tells clients the message only."""


class ServedChat(Environment[ReplyAction, ChatObservation, EpisodeState]):
    """The environment is made by the first `reset`, so that an instance which only tells about itself is
    cheap, and lives in the thread that OpenEnv gives each session.

    Args:
        id: the environment's id.
        make: makes it.
        about: the page on it, in Markdown.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, id: str, make: Make, about: str = "") -> None:
        super().__init__()
        self._id, self._make, self._about = id, make, about
        self._env: gymnasium.Env[Any, Any] | None = None
        self._constant: dict[str, Any] = {}
        self._state = EpisodeState(environment=id)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        options: dict[str, Any] | None = None,
        **others: Any,
    ) -> StartObservation:
        """Begin an episode, as `reset` of the environment itself does.

        Raises:
            ArgumentError: for a seed, an option or an argument that the environment does not take.
            Broken: the environment's own side broke.
        """
        if others:
            raise ArgumentError(
                f"reset: {next(iter(others))!r} is unknown; it takes seed, episode_id and options"
            )
        self._state = EpisodeState(environment=self._id)
        try:
            if self._env is None:
                self._env = self._made()
            messages, info = self._env.reset(seed=seed, options=options)
        except EnvironmentFault as fault:
            raise self._broken(fault) from fault
        self._state = EpisodeState(environment=self._id, seed=seed, episode_id=episode_id, episode="open")
        # Not validated again: all of it is ours.
        return StartObservation.model_construct(messages=_sendable(messages), **self._constant, **_keys(info))

    def step(self, action: ReplyAction, timeout_s: float | None = None, **_: Any) -> ChatObservation:
        """
        Raises:
            NoEpisode: none is open in this session.
            Broken: the environment's own side broke; so is the episode.
        """
        if self._env is None or self._state.episode != "open":
            raise NoEpisode(NO_EPISODE + _WHY_NOT[self._state.episode])
        try:
            messages, reward, terminated, truncated, info = self._env.step(action.reply)
        except EnvironmentFault as fault:
            raise self._broken(fault) from fault
        self._state.step_count += 1
        if terminated or truncated:
            self._state.episode = "terminated" if terminated else "truncated"
        return ChatObservation.model_construct(
            messages=_sendable(messages),
            reward=float(reward),
            reward_terms=info["reward_terms"],
            done=terminated or truncated,
            terminated=terminated,
            truncated=truncated,
            success=info.get("success"),
            **_keys(info),
        )

    @property
    def state(self) -> EpisodeState:
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(
            name=self._id,
            description=" ".join(self._about.partition("\n\n")[0].split()),
            readme_content=self._about,
            version=version("ludus"),
        )

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _made(self) -> gymnasium.Env[Any, Any]:
        env = self._make()
        chat = env.unwrapped
        assert isinstance(chat, ChatEnv), f"{self._id} is no chat environment"
        self._constant = {
            "tools": [tool.openai for tool in chat.tools],
            "weights": dict(chat.rubric.weights),
            "form": [*chat.rubric.form],
            "max_turns": chat.max_turns,
            "options": sorted(chat.option_names),
        }
        return env

    def _broken(self, fault: EnvironmentFault) -> Broken:
        self._state.episode = "fault"
        return Broken(f"{FAULT}{fault}")


def _keys(info: Mapping[str, Any]) -> dict[str, str]:
    """The keys of the task and of the state, as texts: they have more digits than many languages' numbers
    hold."""
    return {name: str(info[name]) for name in ("task", "anchor") if name in info}


def _sendable(messages: Chat) -> Any:
    """The messages as UTF-8 carries them: an agent's half of a character, said again, becomes `\\ufffd`."""
    text = json.dumps(messages, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return messages
