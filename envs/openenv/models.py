"""What goes over OpenEnv's wire: a reply one way, an observation the other, and the state on request."""

from typing import Any

from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class ReplyAction(Action):
    """What the agent says."""

    reply: Any = Field(
        description="A text, or an assistant message in OpenAI's chat form, with `tool_calls` where it calls "
        "tools. Whatever else it is, the environment answers it as a malformed reply."
    )


class ChatObservation(Observation):
    """What a reply led to. `reward` is the sum of the weighted terms; `done` is `terminated or truncated`."""

    messages: list[dict[str, Any]] = Field(
        default_factory=list,
        description="The messages added since the agent's last reply, in OpenAI's chat form.",
    )
    task: str = Field(default="", description="The key of the task's content; it says nothing about it.")
    anchor: str | None = Field(default=None, description="The key of the state; equal states have the same.")
    reward_terms: dict[str, Any] = Field(
        default_factory=dict, description="Every named term of the reward, unweighted."
    )
    terminated: bool = Field(default=False, description="Whether the task has ended.")
    truncated: bool = Field(default=False, description="Whether a limit cut the episode off.")
    success: bool | None = Field(default=None, description="Told when the episode is done.")


class StartObservation(ChatObservation):
    """What an episode begins with."""

    tools: list[dict[str, Any]] = Field(
        default_factory=list, description="The tools that the agent may call, in OpenAI's form."
    )
    weights: dict[str, float] = Field(
        default_factory=dict, description="The weight of every term in the reward."
    )
    form: list[str] = Field(
        default_factory=list, description="The terms that judge the form of a reply, not what it achieved."
    )
    max_turns: int = Field(default=0, description="The replies after which an episode is truncated.")
    options: list[str] = Field(default_factory=list, description="The options that `reset` takes.")


class EpisodeState(State):
    """Where the session's episode stands."""

    environment: str = Field(default="", description="The environment's id.")
    seed: int | None = Field(default=None, description="The seed that `reset` was given.")
    episode: str = Field(
        default="none", description="none, open, terminated, truncated, or fault: the environment broke."
    )
