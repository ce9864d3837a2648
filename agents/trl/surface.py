"""`Trl`: an environment through `rollout_func`, by a model that says what the judge's policy says."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from ludus.agents.episode import Episode, StopReason
from ludus.agents.formats.byte_level import byte_of_character
from ludus.agents.formats.calls.literals import signature
from ludus.agents.formats.calls.reply import calls_of
from ludus.agents.formats.small import (
    CHAT_TEMPLATE,
    CONTROL_TOKENS,
    ROLES,
    TOOL_TOKENS,
    TOOLS,
    SmallFormat,
)
from ludus.agents.models import import_train_extra
from ludus.agents.policy import tool_schemas
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import small_tokenizer
from ludus.agents.trl.installed import require_trl
from ludus.agents.trl.rollouts import Ids, Rollouts
from ludus.agents.trl.starts import KEY
from ludus.envs.chat import Chat, as_reply, assistant, content_text, reply_text, reply_tool_calls, user
from ludus.envs.conformance.surfaces.surface import Seen, Session, Surface, make_chat
from ludus.envs.faults import EnvironmentFault

_CONTROL = CONTROL_TOKENS + TOOL_TOKENS
_ROOM = 10**9
"""Tokens of an episode: no limit of the model's ends one."""


class Trl(Surface):
    """TRL's trainer is stood in for by its sampling alone, which gives the ids of what is to be said. A step
    plays the episode once more up to there, for a function that plays whole episodes cannot wait."""

    name = "TRL"
    lacks: ClassVar[Mapping[str, str]] = {
        "roles": "ids of calls are those of the model's format",
        "anchor": "the key of a state is told of states in which the model acted",
    }
    connects = False

    def __init__(self) -> None:
        require_trl()
        import_train_extra()
        alphabet = sorted(byte_of_character())
        self._tokenizer = small_tokenizer(_CONTROL, [*_CONTROL, *alphabet], CHAT_TEMPLATE, _ROOM)
        self._format = SmallFormat(self._tokenizer)

    def open(self, id: str, arguments: Mapping[str, Any]) -> "_TrlSession":
        return _TrlSession(id, arguments, self._tokenizer, self._format)

    def refuses(self, reply: Any) -> str:
        reply = as_reply(reply)
        if not isinstance(reply, str) and not (
            isinstance(reply, Mapping) and reply.get("role") == "assistant"
        ):
            return "what is no reply: a model's tokens always are one"
        try:
            read = self._format.parse(_ids(self._format, reply))
        except UnicodeEncodeError:
            return "halves of characters: no tokens spell them"
        except (ValueError, TypeError, AttributeError):
            return "a call whose form no model's format can write"
        calls = [(call.name, call.arguments) for call in calls_of(_message(reply))]
        if calls != [(call.name, call.arguments) for call in calls_of(read)] or len(calls) != len(
            reply_tool_calls(reply)
        ):
            return "a call whose form no model's format can write"
        return "" if reply_text(reply) == reply_text(read) else "white space between text and calls"


class _TrlSession(Session):
    def __init__(self, id: str, arguments: Mapping[str, Any], tokenizer: Any, format: SmallFormat) -> None:
        self._id, self._arguments = id, dict(arguments)
        self._rollouts = Rollouts(EnvironmentSpec(id, self._arguments))
        self._tokenizer, self._format = tokenizer, format
        self._seed = 0
        self._replies: list[Any] = []
        self._shown: Ids = []

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The environment's, where the model was shown just these."""
        env = make_chat(self._id, self._arguments)
        tools = tool_schemas(env)
        env.close()
        written = "\n".join(map(signature, tools))
        shown = [text for token, text in self._segments() if token == TOOLS]
        return tools if shown == ([written] if tools else []) else []

    def reset(self, seed: int) -> Seen:
        self._seed, self._replies = seed, []
        return self._seen()

    def step(self, reply: Any) -> Seen:
        self._replies.append(reply)
        return self._seen()

    def close(self) -> None:
        self._rollouts.close()

    def _seen(self) -> Seen:
        said = iter([_ids(self._format, reply) for reply in self._replies])

        def sample(contexts: list[Ids], *_: Any) -> tuple[list[Ids], None]:
            (self._shown,) = contexts
            return [list(next(said, ()))], None

        model = SimpleNamespace(
            generation_config=None, config=SimpleNamespace(get_text_config=lambda: SimpleNamespace())
        )
        trainer = SimpleNamespace(
            processing_class=self._tokenizer,
            model=model,
            max_completion_length=_ROOM,
            _generate_single_turn=sample,
        )
        prompt = [{**user(""), KEY: self._seed}]
        _, (episode,) = self._rollouts.play([prompt], trainer)
        if episode.is_fault:
            raise EnvironmentFault(episode.fault)
        return self._of(episode)

    def _of(self, episode: Episode) -> Seen:
        ended = episode.stop in (StopReason.TERMINATED, StopReason.TRUNCATED)
        messages: Chat = list(episode.final_observation)
        if not ended:
            messages = self._as_shown(messages)
        if not episode.turns:
            return Seen(messages, episode.task, None)
        last = episode.turns[-1]
        return Seen(
            messages, episode.task, None, last.reward, last.reward_terms,
            episode.stop == StopReason.TERMINATED, episode.stop == StopReason.TRUNCATED,
            episode.success if ended else None,
        )  # fmt: skip

    def _as_shown(self, messages: Chat) -> Chat:
        """The messages, if the ids that the model was shown end with them; else what these ids say."""
        heard = [f"<|{role}|>" for role in ROLES if role != "assistant"]
        shown = [(token, text) for token, text in self._segments() if token in heard]
        told = [(f"<|{message['role']}|>", content_text(message)) for message in messages]
        if not told or shown[-len(told) :] == told:
            return messages
        return [user(f"{token}{text}") for token, text in shown]

    def _segments(self) -> list[tuple[str, str]]:
        """The ids that the model was last shown, cut at every control token: the token, and the text after
        it."""
        control = {self._tokenizer.convert_tokens_to_ids(token): token for token in _CONTROL}
        starts = [place for place, id in enumerate(self._shown) if id in control]
        ends = [*starts[1:], len(self._shown)]
        return [
            (control[self._shown[start]], self._format.text(self._shown[start + 1 : end]))
            for start, end in zip(starts, ends, strict=True)
        ]


def _message(reply: Any) -> Any:
    return assistant(reply) if isinstance(reply, str) else reply


def _ids(format: SmallFormat, reply: Any) -> Sequence[int]:
    return format.demonstrate(_message(as_reply(reply)))
