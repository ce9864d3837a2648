"""`ServedModel`: a model that answers chat requests, with the engine, template and parsers of rollouts."""

import asyncio
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ludus.agents.conversation import Conversation
from ludus.agents.engines.base import Completion, EngineFault, Sampling, Session, Tokens
from ludus.agents.formats.base import ReplyForm
from ludus.agents.formats.byte_level import completion_text_ids
from ludus.agents.formats.calls.reply import with_thinking, write_json
from ludus.agents.policy import EnginePolicy, derive_seed
from ludus.agents.serving.errors import ApiError
from ludus.agents.serving.memory import REASONING, Memory, Remembered, chat_keys
from ludus.agents.serving.reading import Reading, Words, words_of, words_so_far
from ludus.agents.serving.request import ChatRequest
from ludus.agents.written_calls import WrittenCalls
from ludus.envs.chat import Message, assistant, content_text, reply_tool_calls
from ludus.tools.errors import UserError


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    words: Words
    calls: tuple[Mapping[str, Any], ...]
    """In OpenAI's form: arguments as text, an id that no other reply has."""
    finish: str
    """`stop`, `length` or `tool_calls`."""
    ids: tuple[int, ...]
    """As they were sampled, those with which a demanded call begins included."""
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What is new of a reply that is being sampled."""

    words: Words
    tokens: tuple[Tokens, ...]


@dataclass(frozen=True)
class ServedModel:
    """A model, and what it remembers of its chats.

    Args:
        name: by which clients call it.
        policy: how it is used in rollouts; its `written_calls` are for all requests with tools.
        slots: how many replies are sampled together.
        max_tokens: the most tokens in a reply, where a request does not say; None: as many as the context has
            room for.
    """

    name: str
    policy: EnginePolicy
    slots: int
    max_tokens: int | None = None
    memory: Memory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", Memory(self.slots))

    @property
    def max_context(self) -> int:
        return self.policy.engine.max_context

    def hear(self, request: ChatRequest) -> "Asked":
        """Everything that can be refused before a token is sampled.

        Raises:
            ApiError: the model is another one, its format cannot express the chat, or the context is too
                long.
        """
        if request.model != self.name:
            raise ApiError(
                404,
                f"there is no model {request.model!r} here: it is {self.name!r}",
                "model",
                "model_not_found",
            )
        chat_format, tools = self.policy.format, request.offered
        messages = request.chat(chat_format.sees)
        written = (
            WrittenCalls(self.policy.written_calls, tools) if self.policy.written_calls and tools else None
        )
        keys = chat_keys(tools, messages)
        begun, said = self.memory.recall(keys, messages)
        said = said or Remembered(Conversation(chat_format, () if written else tools))
        heard = self._heard(said.conversation, _added(messages[begun:], said.call_ids, written, not begun))
        form = chat_format.reply_form(heard.tools)
        room = self.max_context - len(heard.context)
        return Asked(
            model=self,
            request=request,
            chat=(tools, messages),
            key=keys[begun - 1] if begun else None,
            said=replace(said, conversation=heard),
            sampling=Sampling(
                max_tokens=request.limit or self.max_tokens or room,
                stop_ids=tuple(chat_format.stop_ids),
                temperature=request.temperature,
                top_p=request.top_p,
                top_k=request.top_k,
                min_p=request.min_p,
                likeliest=request.top_logprobs,
            ),
            # Calls that are written by instruction may stand anywhere, even in thinking.
            form=replace(form, marks=None) if written else form,
            opening=_opening(request, heard, written),
            written=written,
            seed=secrets.randbits(63) if request.seed is None else request.seed,
        )

    def _heard(self, conversation: Conversation, added: Sequence[Message]) -> Conversation:
        try:
            heard, _ = conversation.hear(added)
        except UserError as error:
            raise ApiError(400, str(error), "messages") from None
        if len(heard.context) >= self.max_context:
            raise ApiError(
                400,
                f"the messages have {len(heard.context)} tokens, and prompt and reply together may have "
                f"{self.max_context}: shorten the messages",
                "messages",
                "context_length_exceeded",
            )
        return heard

    def close(self) -> None:
        """End: replies that are being sampled are refused."""
        self.policy.engine.close()


@dataclass(frozen=True)
class Asked:
    """A chat request that can be answered."""

    model: ServedModel
    request: ChatRequest
    chat: tuple[Sequence[Any], Sequence[Message]]
    """Tools and messages, as the client knows them."""
    key: int | None
    """Of the remembered reply with which the conversation goes on."""
    said: Remembered
    """The conversation up to where the model begins to speak."""
    sampling: Sampling
    form: ReplyForm
    opening: tuple[int, ...]
    """Ids with which the reply begins that are not sampled."""
    written: WrittenCalls | None
    seed: int

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        return self.said.conversation.context

    async def reply(
        self, number: int, heard: Callable[[Heard], object] | None = None
    ) -> tuple[Reply, Reading]:
        """One of the replies that the request asks for.

        Args:
            number: which. Its seed follows from it; the first has the session of the conversation.
            heard: is told of the reply while it is sampled. What it was told and the rest, which it is told
                last, are the reply.

        Raises:
            ApiError: the engine cannot sample like this, or broke.
        """
        session = self.model.memory.take(self.key) if number == 0 else None
        session = session or self.model.policy.engine.session()
        try:
            reply, reading, after = await self._sampled(session, number, heard)
        except BaseException:
            session.close()
            raise
        if after is None:
            session.close()
        else:
            tools, messages = self.chat
            message = _as_sent(reply)
            self.model.memory.keep(
                chat_keys(tools, [*messages, message])[-1], replace(after, session=session)
            )
        return reply, reading

    async def _sampled(
        self, session: Session, number: int, heard: Callable[[Heard], object] | None
    ) -> tuple[Reply, Reading, Remembered | None]:
        """The reply, and what can be remembered of it."""
        conversation, request = self.said.conversation, self.request
        reading = Reading(conversation.format, self.opening, request.stops)
        told = Words()
        generating: asyncio.Task[Completion]

        def listen(tokens: Tokens) -> None:
            nonlocal told
            known = len(reading.tokens)
            reading.add(tokens)
            if heard is not None:
                now = words_so_far(self.form.opened + reading.text, self.form, request.stops)
                heard(Heard(now.after(told), tuple(reading.tokens[known:])))
                told = now
            if reading.end is not None:
                generating.cancel()

        listens = heard is not None or bool(request.stops)
        limit = self.sampling.max_tokens - len(self.opening)
        completion: Completion | None = None
        if limit > 0:
            generating = asyncio.ensure_future(
                session.generate(
                    (*conversation.context, *self.opening),
                    replace(self.sampling, max_tokens=limit),
                    derive_seed(self.seed, number),
                    conversation.pictures,
                    listen if listens else None,
                )
            )
            completion = await _outcome(generating, lambda: reading.end is not None)
        if completion is not None and not listens:
            reading.add(completion.tokens)
        reply, after = self._read(reading, completion)
        if heard is not None:
            heard(Heard(reply.words.after(told), ()))
        return reply, reading, after

    def _read(self, reading: Reading, completion: Completion | None) -> tuple[Reply, Remembered | None]:
        conversation = self.said.conversation
        ids, rest = (reading.ids, "") if reading.end is None else reading.cut()
        raw = conversation.format.parse(ids, conversation.tools)
        whole = raw if self.written is None else self.written.read(raw)
        if not self.request.offered and whole.get("tool_calls"):
            said = completion_text_ids(ids, conversation.format.stop_ids)
            whole = assistant(conversation.format.text(said))
        calls = reply_tool_calls(whole)
        shown = calls if self.request.parallel_tool_calls else calls[:1]
        own = [f"call_{uuid.uuid4().hex[:24]}" for _ in shown]
        ended = reading.end is not None or (completion is not None and completion.finish == "stop")
        reply = Reply(
            words_of(content_text(whole) + ("" if calls else rest), self.form),
            tuple(_wire_call(id, call) for id, call in zip(own, shown, strict=True)),
            ("tool_calls" if calls else "stop") if ended else "length",
            tuple(reading.ids),
            0 if completion is None else completion.cached_tokens,
        )
        if reading.end is not None or len(shown) < len(calls):
            return reply, None  # the client knows less than the ids say
        known = {id: str(call["id"]) for id, call in zip(own, shown, strict=True)}
        return reply, Remembered(conversation.say(raw, ids), {**self.said.call_ids, **known})


async def _outcome(generating: "asyncio.Task[Completion]", is_cut: Callable[[], bool]) -> Completion | None:
    """The completion; None if it was cut short here.

    Raises:
        ApiError: the engine cannot sample like this, broke, or was closed.
    """
    try:
        await asyncio.wait([generating])
    finally:
        generating.cancel()
    if is_cut():
        return None
    try:
        return generating.result()
    except UserError as error:
        raise ApiError(400, str(error)) from None
    except EngineFault as error:
        raise ApiError(500, str(error)) from None
    except asyncio.CancelledError:
        raise ApiError(503, "the server is shutting down") from None


def _added(
    messages: Sequence[Message], call_ids: Mapping[str, str], written: WrittenCalls | None, is_first: bool
) -> list[Message]:
    """Messages of a client as a conversation hears them."""
    added = [_with_own_ids(_with_reasoning(message), call_ids) for message in messages]
    if written is None:
        return added
    return written.observe(written.introduce(added) if is_first else added)


def _with_reasoning(message: Message) -> Message:
    said = dict(message)
    thought = said.pop(REASONING, "")
    if not thought:
        return message
    return cast(Message, {**said, "content": with_thinking(str(thought), content_text(message))})


def _with_own_ids(message: Message, call_ids: Mapping[str, str]) -> Message:
    own = call_ids.get(message.get("tool_call_id", ""))
    return message if own is None else {**message, "tool_call_id": own}


def _opening(request: ChatRequest, heard: Conversation, written: WrittenCalls | None) -> tuple[int, ...]:
    """The ids that the calls which are demanded have in common at their beginning.

    Raises:
        ApiError: its format cannot write a call, or its calls do not begin alike.
    """
    names = request.demanded
    if not names:
        return ()
    arguments: list[dict[str, Any]] = [{}, {"a": 1}, {"zz": "b"}]
    try:
        spelled = [
            heard.format.demonstrate(_calling(name, given, written)) for name in names for given in arguments
        ]
    except UserError as error:
        raise ApiError(400, str(error), "tool_choice") from None
    columns = enumerate(zip(*spelled, strict=False))
    common = next((place for place, column in columns if len({*column}) > 1), 0)
    if not common:
        raise ApiError(
            400,
            f"tool_choice {request.tool_choice!r} is not supported: this model's calls do not begin alike, "
            'so nothing holds it to one; take "auto"',
            "tool_choice",
            "unsupported_parameter",
        )
    return spelled[0][:common]


def _calling(name: str, arguments: Mapping[str, Any], written: WrittenCalls | None) -> Message:
    function = {"name": name, "arguments": arguments}
    reply: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }
    return reply if written is None else written.say(reply)


def _wire_call(id: str, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else write_json(arguments)
    return {"id": id, "type": "function", "function": {"name": function["name"], "arguments": text}}


def _as_sent(reply: Reply) -> Message:
    """The reply as a client sends it back."""
    message: Message = {"role": "assistant", "content": reply.words.content}
    if reply.calls:
        message["tool_calls"] = [dict(call) for call in reply.calls]
    return message
