"""`SmallFormat`: the small model's own chat format, without a template engine."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ludus.agents.formats.base import FormatError, Prompt, ReplyForm
from ludus.agents.formats.byte_level import byte_of_character, completion_text_ids, display
from ludus.agents.formats.calls.literals import read_call, signature, write_call
from ludus.agents.formats.calls.reply import ParsedReply, calls_of, message
from ludus.envs.chat import Chat, Message, assistant, content_text

ROLES = ("system", "user", "assistant", "tool")
PAD, END = "<|pad|>", "<|end|>"
CONTROL_TOKENS = (PAD, END, *(f"<|{role}|>" for role in ROLES))
"""The first ids of a small model's vocabulary, in this order."""
TOOLS, CALL, END_CALL = TOOL_TOKENS = ("<|tools|>", "<|call|>", "<|/call|>")
"""The ids that follow in a model made for environments with tools."""

CHAT_TEMPLATE = (
    "{%- macro kind(schema) -%}"
    "{%- if 'const' in schema -%}{{ schema['const'] | tojson }}"
    "{%- elif 'enum' in schema -%}"
    "{%- for value in schema['enum'] -%}{{ '' if loop.first else '|' }}{{ value | tojson }}{%- endfor -%}"
    "{%- elif 'anyOf' in schema -%}"
    "{%- for one in schema['anyOf'] -%}{{ '' if loop.first else '|' }}{{ kind(one) }}{%- endfor -%}"
    "{%- elif 'type' not in schema -%}any"
    "{%- else -%}{{ schema['type'] if schema['type'] is string else schema['type'] | join('|') }}"
    "{%- endif -%}"
    "{%- endmacro -%}"
    "{%- macro listed() -%}"
    "{%- if tools -%}{{ '<|tools|>' }}"
    "{%- for tool in tools -%}"
    "{%- set parameters = tool['function']['parameters'] or {} -%}"
    "{{ ('' if loop.first else '\n') + tool['function']['name'] + '(' }}"
    "{%- for name, schema in (parameters['properties'] or {}).items() -%}"
    "{{ ('' if loop.first else ', ') + name }}"
    "{{ ('' if name in (parameters['required'] or []) else '?') + ': ' }}"
    "{{ kind(schema) }}"
    "{%- endfor -%}"
    "{{ ')' }}"
    "{%- endfor -%}{{ '<|end|>' }}"
    "{%- endif -%}"
    "{%- endmacro -%}"
    "{%- macro called(function) -%}"
    "{{ function['name'] }}"
    "{%- if function['arguments'] is string -%}{{ function['arguments'] }}"
    "{%- else -%}"
    "{%- set odd = namespace(keys={}, any=false, first=true) -%}{{ '(' }}"
    "{%- for key, value in function['arguments'].items() -%}"
    "{%- if key.isascii() and key.isidentifier() -%}"
    "{{ ('' if odd.first else ', ') + key + '=' + (value | tojson) }}{%- set odd.first = false -%}"
    "{%- else -%}{%- set odd.keys = dict(odd.keys, **{key: value}) -%}{%- set odd.any = true -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{{ (('' if odd.first else ', ') + '**' + (odd.keys | tojson) if odd.any else '') + ')' }}"
    "{%- endif -%}"
    "{%- endmacro -%}"
    "{%- if not messages or messages[0].role != 'system' -%}{{ listed() }}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.role not in ['system', 'user', 'assistant', 'tool'] -%}"
    "{{ raise_exception('unknown role ' + message.role) }}"
    "{%- endif -%}"
    "{%- set content = message.content or '' -%}"
    "{{ '<|' + message.role + '|>' + content }}"
    "{%- for call in message.tool_calls or [] -%}"
    "{{ ('\n' if content or not loop.first else '') + '<|call|>' + called(call['function']) + '<|/call|>' }}"
    "{%- endfor -%}"
    "{{ '<|end|>' }}"
    "{%- if loop.first and message.role == 'system' -%}{{ listed() }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
"""The same format as a chat template, stored in the tokenizer's folder for other programs. Arguments of tool
calls are objects there, as everywhere in `transformers`."""


class SmallFormat:
    """A message is its role's id, the ids of its text, and the id of `<|end|>`.

    Tools appear once, after the system message, one per line, as `forecast(place: string, day?: integer)`,
    between `<|tools|>` and `<|end|>`. A call is a line of its own, after the text:
    `<|call|>forecast(place="Lomar", day=2)<|/call|>`, values in JSON; Python's literals are understood too. A
    call's id is its position in the reply: `call_0`, `call_1`, …. The model sees no ids: results come in the
    order of the calls.

    Gives the ids that `CHAT_TEMPLATE` gives, with one difference: control tokens in a message's text are
    encoded as plain characters, so that no text can forge a turn, a tool or a call. A call is whatever lies
    between the sampled ids of `<|call|>` and `<|/call|>`, regardless of how the text looks. Nothing is ever
    rewritten, so nothing forks.

    Args:
        tokenizer: a `transformers` tokenizer that `build_small_model` made.
        ends: further ids that end a turn.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        from tokenizers import Tokenizer

        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.encode_special_tokens = True
        vocabulary = backend.get_vocab()
        self._role_ids = {role: vocabulary[f"<|{role}|>"] for role in ROLES}
        self._end_id = vocabulary[END]
        self._tool_ids = tuple(vocabulary[token] for token in TOOL_TOKENS if token in vocabulary)
        self._bytes = [_token_bytes(token) for token in sorted(vocabulary, key=vocabulary.__getitem__)]
        self._texts = [display(piece) for piece in self._bytes]
        self._newline_id = backend.encode("\n").ids[0]
        self._encode_line = lru_cache(maxsize=65536)(lambda line: tuple(backend.encode(line).ids))
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys((self._end_id, *ends)))
        self.pad_id: int = vocabulary[PAD]
        self.vocab_size: int = len(self._bytes)

    sees = False

    @staticmethod
    def fits(tokenizer: Any) -> bool:
        """Whether a tokenizer uses this format."""
        return tokenizer.chat_template == CHAT_TEMPLATE

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        lead = 1 if messages and messages[0]["role"] == "system" else 0
        ids = [*self._render(messages[:lead]), *self._listed(tools), *self._render(messages[lead:])]
        return Prompt((*ids, self._role_ids["assistant"]), fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        closing = [] if context[-1] in self.stop_ids else [self._end_id]
        return Prompt((*closing, *self._render(added), self._role_ids["assistant"]), fork=False)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        return (*self._said(reply), self._end_id)

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        ids = completion_text_ids(completion_ids, self.stop_ids)
        if not self._tool_ids or self._tool_ids[1] not in ids:
            return assistant(self.text(ids))
        return message(self._parse_calls(ids))

    def reply_form(self, tools: Sequence[Any] = ()) -> ReplyForm:
        return ReplyForm(marks=(CALL,) if self._tool_ids else ())

    def text(self, ids: Sequence[int]) -> str:
        return b"".join(self.pieces(ids)).decode("utf-8", errors="replace")

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [self._texts[id] if id < self.vocab_size else "\ufffd" for id in ids]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [self._bytes[id] if id < self.vocab_size else "\ufffd".encode() for id in ids]

    def _render(self, messages: Chat) -> list[int]:
        ids: list[int] = []
        for said in messages:
            if said["role"] not in self._role_ids:
                raise ValueError(f"unknown role {said['role']!r}: it is one of {', '.join(ROLES)}")
            ids.append(self._role_ids[said["role"]])
            ids.extend(self._said(said))
            ids.append(self._end_id)
        return ids

    def _listed(self, tools: Sequence[Any]) -> list[int]:
        if not tools:
            return []
        lines = "\n".join(map(signature, tools))
        return [self._tool_id(TOOLS), *self._text_ids(lines), self._end_id]

    def _said(self, said: Message) -> list[int]:
        text, calls = content_text(said), calls_of(said)
        if not calls:
            return self._text_ids(text)
        begin, end = self._tool_id(CALL), self._tool_id(END_CALL)
        ids = [*self._text_ids(text), self._newline_id] if text else []
        for position, call in enumerate(calls):
            line = [self._newline_id] if position else []
            ids += [*line, begin, *self._text_ids(write_call(call)), end]
        return ids

    def _tool_id(self, token: str) -> int:
        if not self._tool_ids:
            raise FormatError(
                "this small model was made for environments without tools, so it has no ids for tools and "
                "calls: build one for this environment"
            )
        return self._tool_ids[TOOL_TOKENS.index(token)]

    def _parse_calls(self, ids: Sequence[int]) -> ParsedReply:
        """A call ends where its end was sampled, at the next call, or where the reply was truncated."""
        _, begin, end = self._tool_ids
        texts, calls = [], []
        starts = [position for position, id in enumerate(ids) if id == begin]
        texts.append(self.text(ids[: starts[0]]).removesuffix("\n"))
        for start, next_start in zip(starts, [*starts[1:], len(ids)], strict=True):
            inside = ids[start + 1 : next_start]
            length = inside.index(end) if end in inside else len(inside)
            calls.append(read_call(self.text(inside[:length])))
            texts.append(self.text(inside[length + 1 :]).removeprefix("\n").removesuffix("\n"))
        return ParsedReply("\n".join(text for text in texts if text), tuple(calls))

    def _text_ids(self, text: str) -> list[int]:
        # No token crosses the end of a line, so lines are encoded separately: the rows of a board, most of
        # which stay the same from turn to turn, come from the cache.
        first, *rest = text.split("\n")
        ids = list(self._encode_line(first))
        for line in rest:
            ids.append(self._newline_id)
            ids.extend(self._encode_line(line))
        return ids


def _token_bytes(token: str) -> bytes:
    if token in CONTROL_TOKENS or token in TOOL_TOKENS:
        return token.encode()
    return bytes(byte_of_character()[char] for char in token)
