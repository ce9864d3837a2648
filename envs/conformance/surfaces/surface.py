"""`Surface`: somewhere an environment can be met, such as a server of one protocol; and `Direct`, where it is
met without any."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium

from ludus.envs.base import ChatEnv
from ludus.envs.chat import Chat
from ludus.tools.errors import UserError


class Lost(Exception):
    """The session or its episode is gone, and the client was told so, in the words of the message."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client is shown by `reset` or `step`; after `reset` there is no reward."""

    messages: Chat
    task: str
    anchor: str | None
    reward: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    terminated: bool = False
    truncated: bool = False
    success: bool | None = None
    """None while the episode goes on."""

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated


class Session(ABC):
    """A client of a surface. It plays one episode after the other."""

    @property
    @abstractmethod
    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer, in OpenAI's form. There may be none before the first `reset`."""

    @abstractmethod
    def reset(self, seed: int) -> Seen:
        """Begin the episode of a seed, whether the last one is over or not."""

    @abstractmethod
    def step(self, reply: Any) -> Seen:
        """
        Raises:
            EnvironmentFault: the environment broke, and the client was told so.
            Lost: the session is gone.
        """

    def cut(self) -> None:
        """Lose the connection as if a cable were pulled: nobody is told. `reset` connects anew."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None: ...


class Surface(ABC):
    """How environments are met somewhere. An adapter is one module with a subclass and its session."""

    name: ClassVar[str]
    lacks: ClassVar[Mapping[str, str]] = {}
    """The facts (see `FACTS`) that it does not carry, each with the reason."""
    connects: ClassVar[bool] = True
    """Whether there is a connection that can be lost."""

    @abstractmethod
    def open(self, id: str, arguments: Mapping[str, Any]) -> Session:
        """A new session. Those with the same id and arguments are sessions of one server."""

    def refuses(self, reply: Any) -> str:
        """Why a reply cannot be said here; empty if it can."""
        return ""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """End what was started for the sessions, which are closed."""


class Direct(Surface):
    """`gymnasium.make`: what every other surface is held against."""

    name = "direct"
    connects = False

    def open(self, id: str, arguments: Mapping[str, Any]) -> "DirectSession":
        return DirectSession(make_chat(id, arguments))


class DirectSession(Session):
    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env = env

    @property
    def tools(self) -> list[dict[str, Any]]:
        env = self.env.unwrapped
        assert isinstance(env, ChatEnv)
        return [tool.openai for tool in env.tools]

    def reset(self, seed: int) -> Seen:
        messages, info = self.env.reset(seed=seed)
        return Seen(messages, str(info["task"]), anchor_of(info))

    def step(self, reply: Any) -> Seen:
        messages, reward, terminated, truncated, info = self.env.step(reply)
        return Seen(
            messages, str(info["task"]), anchor_of(info), float(reward), info["reward_terms"],
            terminated, truncated, info.get("success"),
        )  # fmt: skip

    def close(self) -> None:
        self.env.close()


def make_chat(id: str, arguments: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """
    Raises:
        UserError: the environment is not a chat.
    """
    env = gymnasium.make(id, **arguments)
    if not isinstance(env.unwrapped, ChatEnv):
        env.close()
        raise UserError(
            f"{id} takes numbered actions, and what surfaces carry is a chat: use a chat form, such as "
            "ludus/PacManChat-v0"
        )
    return env


def anchor_of(info: Mapping[str, Any]) -> str | None:
    """`info["anchor"]` as text: it has more digits than other languages' numbers hold."""
    return str(info["anchor"]) if "anchor" in info else None
