"""Episodes that were not sampled from this model, with the ids that it would have seen and sampled."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ludus.agents.conversation import Conversation
from ludus.agents.episode import Episode
from ludus.agents.formats.base import ChatFormat


def render(episode: Episode, chat_format: ChatFormat, tools: Sequence[Any] = ()) -> Episode:
    """Another agent's episode with the ids that a policy playing it would have seen and sampled.

    Args:
        tools: The tools of the episode's environment, as `tool_schemas` gives them.
    """
    turns, conversation = [], Conversation(chat_format, tools)
    for turn in episode.turns:
        conversation, prompt = conversation.hear(turn.observation)
        completion = chat_format.demonstrate(turn.reply)
        conversation = conversation.say(turn.reply, completion)
        turns.append(
            replace(
                turn,
                prompt_ids=prompt.ids,
                completion_ids=completion,
                logprobs=(0.0,) * len(completion),
                kept=None,
                finish="stop",
                fork=prompt.fork,
            )
        )
    return replace(episode, turns=tuple(turns))
