"""`ControlTokens`: a tokenizer's control tokens, told apart from text that spells them."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ludus.agents.formats.calls.reply import END_THINK, THINK

_BREAK = "\ufffc\ufffd"
"""Between the characters of a control token that a message spells, and after its own first character, so that
a text which has it keeps it. Printable, so that no template escapes it."""
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Around a control token that the template wrote. Unicode keeps both out of any text, for such uses."""
_NO_TEXT = str.maketrans({_OPEN: "\ufffd", _CLOSE: "\ufffd"})


class ControlTokens:
    """A template joins its own control tokens and the messages' text into one text. What a message spells is
    therefore broken (`broken`) before it is rendered, and whole again when it is encoded (`encode`), by a
    tokenizer that knows control tokens only as the template writes them. So a message is encoded as its
    characters are, and can neither end a turn nor begin one.

    Control tokens are the special tokens, and any other added token in the template's text; but not the marks
    of thinking, which mark no turn, and which environments name in their instructions.

    Args:
        tokenizer: a `transformers` tokenizer with a chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        templates = tokenizer.chat_template
        source = self.source = templates if isinstance(templates, str) else "".join(templates.values())
        control = {
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if (token.special or token.content in source)
            and token.content.strip()
            and token.content not in (THINK, END_THINK)
        }
        longest_first = sorted(control, key=lambda content: (-len(content), content))
        self._control = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._spelled = re.compile(f"{self._control.pattern}|{_BREAK[0]}")
        self._names = control

    def broken(self, value: Any) -> Any:
        """Plain data with every control token in its texts broken."""
        if isinstance(value, str):
            return self._spelled.sub(lambda found: _BREAK.join((*found[0], "")), value)
        if isinstance(value, Mapping):
            return {self.broken(key): self.broken(item) for key, item in value.items()}
        return [self.broken(item) for item in value] if isinstance(value, list | tuple) else value

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a rendered text. The beginning-of-text token is there only if the template wrote it."""
        if _BREAK not in text:
            return tuple(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))
        marked = self._control.sub(rf"{_OPEN}\g<0>{_CLOSE}", text.translate(_NO_TEXT))
        backend, ids = self._told_apart
        encoded = backend.encode(whole(marked), add_special_tokens=False).ids
        return tuple(ids.get(id, id) for id in encoded)

    @cached_property
    def _told_apart(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer with its control tokens spelled as `encode` marks them, and the ids that differ."""
        from tokenizers import AddedToken, Tokenizer

        bare = json.loads(self._tokenizer.backend_tokenizer.to_str()) | {"added_tokens": []}
        backend = Tokenizer.from_str(json.dumps(bare))
        spelled = {
            id: f"{_OPEN}{token.content}{_CLOSE}" if token.content in self._names else token.content
            for id, token in self._tokenizer.added_tokens_decoder.items()
        }
        flags = ("single_word", "lstrip", "rstrip", "normalized")
        backend.add_tokens(
            [
                AddedToken(spelled[id], **{name: getattr(token, name) for name in flags})
                for id, token in sorted(self._tokenizer.added_tokens_decoder.items())
            ]
        )
        ids = [(backend.token_to_id(content), id) for id, content in spelled.items()]
        return backend, {here: there for here, there in ids if here is not None}


def whole(text: str) -> str:
    """The text with nothing broken in it."""
    return text.replace(_BREAK, "")
