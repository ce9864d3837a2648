"""What the token ids of a model mean, in a few characters."""

import hashlib
import json
from typing import Any


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Of the tokenizer and its chat template: with the same one, the same messages become the same ids. 16
    hex digits.

    Args:
        tokenizer: Of `transformers`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocab": tokenizer.get_vocab()}
    meaning = {
        # Padding and truncation are settings of the last call.
        "rules": {key: value for key, value in rules.items() if key not in ("padding", "truncation")},
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "template": tokenizer.chat_template,
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
