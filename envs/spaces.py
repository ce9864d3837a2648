"""Spaces of text: `Chat` (messages), `Reply` (what an agent may say) and `UnicodeText` (a string).

They vectorise: `SyncVectorEnv` and `AsyncVectorEnv` return a tuple with one observation per environment.
With shared memory, `AsyncVectorEnv` decodes observations once, when it is constructed; what it keeps is
therefore a `SharedTexts`, a tuple that reads the memory again whenever it is read.
"""

import pickle
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces.utils import flatten, flatten_space, unflatten
from gymnasium.vector.utils import (
    batch_differing_spaces,
    create_empty_array,
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)
from gymnasium.wrappers.utils import create_zero_array

from ludus.envs import chat

_ROLES = ("user", "assistant", "tool", "system")
_LENGTH_BYTES = 8

# What models send by accident or on purpose: unclosed tags, markup, escapes, other alphabets, nothing.
_FRAGMENTS = (
    *(
        "",
        " ",
        "\n",
        "\t",
        "\x00",
        "0",
        "42",
        "-7",
        "1,234.0",
        "3/4",
        "nan",
        "inf",
        "1e309",
        "left",
        "up",
        "yes",
    ),
    *(
        "The answer is",
        "I think",
        "Let me check.",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<action>",
    ),
    *(
        "</action>",
        "<|im_end|>",
        "</s>",
        "{",
        "}",
        '{"answer": 1}',
        "```python\n",
        "\\boxed{5}",
        "{{ 7 * 7 }}",
    ),
    *("%s", "né", "Σ", "日本語", "مرحبا", "🦊", "\u202e", "\ud83d"),
)


class _TextSpace(gymnasium.Space[Any]):
    """What the three spaces share: a limit on length, equality, and how they vectorise."""

    def __init__(self, max_length: int = 16_384, seed: int | np.random.Generator | None = None) -> None:
        if max_length < 1:
            raise ValueError(f"max_length={max_length}: a space of text holds at least 1 character")
        self.max_length = max_length
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash((type(self), self.max_length))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_length={self.max_length})"

    def _text(self) -> str:
        """A few fragments in a row: words, numbers, broken markup."""
        rng = self.np_random
        picks = rng.integers(len(_FRAGMENTS), size=rng.integers(0, 9))
        return "".join(_FRAGMENTS[pick] for pick in picks)[: self.max_length]

    def _memory_size(self) -> int:
        """Bytes that a pickled value takes at most."""
        # A character takes at most four bytes; the rest is for what surrounds the contents: keys, roles, tool
        # calls.
        return 4 * self.max_length + 4096

    @staticmethod
    def _refuse_masks(mask: Any, probability: Any) -> None:
        if mask is not None or probability is not None:
            raise ValueError("spaces of text are sampled without mask and probability; leave both None")


class UnicodeText(_TextSpace):
    """Every string of at most `max_length` characters, of any alphabet."""

    empty: ClassVar[Any] = ""

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        self._refuse_masks(mask, probability)
        return self._text()


class Chat(_TextSpace):
    """A list of messages in the OpenAI chat form whose contents have at most `max_length` characters
    together, and besides them inline images whose data URLs have at most `max_image_length` together."""

    empty: ClassVar[Any] = ()

    def __init__(
        self,
        max_length: int = 16_384,
        seed: int | np.random.Generator | None = None,
        max_image_length: int = 0,
    ) -> None:
        super().__init__(max_length, seed)
        self.max_image_length = max_image_length

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Chat)
            and super().__eq__(other)
            and other.max_image_length == self.max_image_length
        )

    __hash__ = _TextSpace.__hash__

    def __repr__(self) -> str:
        images = f", max_image_length={self.max_image_length}" if self.max_image_length else ""
        return f"Chat(max_length={self.max_length}{images})"

    def contains(self, x: Any) -> bool:
        if not isinstance(x, list):
            return False
        length = image_length = 0
        for message in x:
            if not isinstance(message, dict) or message.get("role") not in _ROLES:
                return False
            content = message.get("content")
            if isinstance(content, str):
                length += len(content)
                continue
            if not isinstance(content, list):
                return False
            for part in content:
                if (text := chat.part_text(part)) is not None:
                    length += len(text)
                elif (url := chat.part_image(part)) is not None:
                    image_length += len(url)
                else:
                    return False
        return length <= self.max_length and image_length <= self.max_image_length

    def _memory_size(self) -> int:
        return super()._memory_size() + self.max_image_length

    def sample(self, mask: Any = None, probability: Any = None) -> chat.Chat:
        self._refuse_masks(mask, probability)
        messages = [chat.user(self._text()) for _ in range(self.np_random.integers(1, 4))]
        share = self.max_length // len(messages)
        return [chat.user(chat.content_text(message)[:share]) for message in messages]


class Reply(_TextSpace):
    """What an agent may say: a string, or an assistant message with a text, tool calls or both, as a dict or
    as an OpenAI client's object.

    `sample` yields mostly malformed replies: cut-off tags, tool calls that nobody offered with arguments that
    do not parse, nothing at all. An environment must answer each of them.
    """

    empty: ClassVar[Any] = ""

    def contains(self, x: Any) -> bool:
        x = chat.as_reply(x)
        if isinstance(x, str):
            return len(x) <= self.max_length
        if not isinstance(x, dict) or x.get("role") != "assistant":
            return False
        content = x.get("content")
        if content is None:
            return bool(x.get("tool_calls")) and isinstance(x["tool_calls"], list)
        return (
            isinstance(content, str)
            and len(content) <= self.max_length
            and isinstance(x.get("tool_calls", []), list)
        )

    def sample(self, mask: Any = None, probability: Any = None) -> chat.Reply:
        self._refuse_masks(mask, probability)
        text = self._text()
        match self.np_random.integers(8):
            case 0:
                return chat.assistant(text)
            case 1:
                arguments = ("", "{", "[]", '{"x": NaN}', "null")[self.np_random.integers(5)]
                call = {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "none_such", "arguments": arguments},
                }
                return {"role": "assistant", "content": text, "tool_calls": [call]}
            case _:
                return text


class SharedTexts(tuple[Any, ...]):
    """Observations of `AsyncVectorEnv` in shared memory: a tuple whose items are read anew on every access.

    With `copy=False` the vector environment returns this view itself, and what it shows changes with the next
    step; `copy.deepcopy`, which `copy=True` applies, and pickle turn it into a plain tuple.
    """

    _slots: tuple[Any, ...]
    _empty: Any

    def __new__(cls, slots: Sequence[Any], empty: Any) -> "SharedTexts":
        view = super().__new__(cls, (None,) * len(slots))
        view._slots, view._empty = tuple(slots), empty
        return view

    def _read(self, slot: Any) -> Any:
        buffer = memoryview(slot).cast("B")
        length = int.from_bytes(buffer[:_LENGTH_BYTES], "little")
        return pickle.loads(buffer[_LENGTH_BYTES : _LENGTH_BYTES + length]) if length else self._empty

    def __iter__(self) -> Iterator[Any]:
        return (self._read(slot) for slot in self._slots)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        return self._read(self._slots[index])

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, SharedTexts) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[Any, ...]:
        return tuple(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)


@create_shared_memory.register(_TextSpace)
def _create_shared_memory(space: _TextSpace, n: int = 1, ctx: Any = None) -> tuple[Any, ...]:
    """One slot per environment: the length of what is pickled there, then its bytes."""
    size = _LENGTH_BYTES + space._memory_size()
    return tuple(ctx.RawArray("B", size) for _ in range(n))


@read_from_shared_memory.register(_TextSpace)
def _read_from_shared_memory(space: Any, shared_memory: tuple[Any, ...], n: int = 1) -> SharedTexts:
    return SharedTexts(shared_memory, space.empty)


@write_to_shared_memory.register(_TextSpace)
def _write_to_shared_memory(
    space: _TextSpace, index: int, value: Any, shared_memory: tuple[Any, ...]
) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    buffer = memoryview(shared_memory[index]).cast("B")
    if len(data) > len(buffer) - _LENGTH_BYTES:
        raise ValueError(
            f"an observation of {len(data)} bytes does not fit the shared memory of {space}: give the "
            "environment's space a larger max_length or max_image_length, or the vector environment "
            "shared_memory=False"
        )
    buffer[:_LENGTH_BYTES] = len(data).to_bytes(_LENGTH_BYTES, "little")
    buffer[_LENGTH_BYTES : _LENGTH_BYTES + len(data)] = data


@create_empty_array.register(_TextSpace)
def _create_empty_array(space: Any, n: int = 1, fn: Any = None) -> tuple[Any, ...]:
    return (space.empty,) * n


@create_zero_array.register(_TextSpace)
def _create_zero_array(space: Any) -> Any:
    """What frames before the first one hold in `FrameStackObservation`: nothing."""
    return [] if isinstance(space, Chat) else space.empty


def _batch_differing_spaces(spaces: Sequence[_TextSpace]) -> gymnasium.spaces.Tuple:
    return gymnasium.spaces.Tuple(deepcopy(tuple(spaces)), seed=deepcopy(spaces[0].np_random))


@flatten_space.register(_TextSpace)
def _flatten_space(space: _TextSpace) -> Any:
    """A text has no numbers to lay flat: it stays as it is, beside those of a `Dict` or `Tuple`."""
    return space


@flatten.register(_TextSpace)
@unflatten.register(_TextSpace)
def _flatten(space: _TextSpace, x: Any) -> Any:
    return x


# This one looks its argument's very type up, so a registration of the base class would not be found.
# `batch_space` and `concatenate` do the right thing for any space; `iterate` must not know these: it iterates
# over the batch, a Tuple.
for _space in (UnicodeText, Chat, Reply):
    batch_differing_spaces.register(_space, _batch_differing_spaces)
