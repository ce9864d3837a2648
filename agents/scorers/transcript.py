"""What a judge reads of an episode."""

import json
from collections.abc import Mapping
from typing import Any

from ludus.agents.episode import Episode
from ludus.envs.chat import content_text, reply_text, reply_tool_calls
from ludus.tools.judging.prompt import Said


def task_of(episode: Episode) -> list[Said]:
    """What the agent was told before its first reply."""
    return [(message["role"], content_text(message)) for message in episode.turns[0].observation]


def played(episode: Episode) -> list[Said]:
    """What the agent said and did, and what came back in between, in order. What came after its last reply is
    left out: it often says whether the episode succeeded."""
    said: list[Said] = []
    for index, turn in enumerate(episode.turns):
        if index:
            said += [(f"answer ({message['role']})", content_text(message)) for message in turn.observation]
        said.append(("reply", _reply(turn.reply)))
    return said


def _reply(reply: Mapping[str, Any]) -> str:
    calls = [call.get("function") for call in reply_tool_calls(reply)]
    written = [json.dumps(call, ensure_ascii=False, default=str) for call in calls]
    return "\n".join([reply_text(reply), *(f"calls {call}" for call in written)])
