"""Chat templates in the documented shape of the families of models that call tools, and a tokenizer for
them."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_CHATML = (
    "{%- if tools -%}{{ '<|im_start|>system\n<tools>' }}"
    "{%- for tool in tools -%}{{ '\n' + (tool | tojson) }}{%- endfor -%}"
    "{{ '\n</tools><|im_end|>\n' }}{%- endif -%}"
    "{%- for m in messages -%}"
    "{%- if m.role == 'tool' -%}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{ '<|im_start|>user' }}{%- endif -%}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{ '<|im_end|>\n' }}{%- endif -%}"
    "{%- elif m.role == 'assistant' and m.tool_calls -%}"
    "{{ '<|im_start|>assistant\n' + m.content }}"
    "{%- for call in m.tool_calls -%}"
    "{%- if not loop.first or m.content -%}{{ '\n' }}{%- endif -%}"
    "CALL"
    "{%- endfor -%}{{ '<|im_end|>\n' }}"
    "{%- else -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
HERMES = _CHATML.replace(
    "CALL",
    '{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}"
    "{{ '}\n</tool_call>' }}",
)
# Like templates that accept arguments only as text.
HERMES_TEXT = _CHATML.replace(
    "CALL",
    '{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' + call.function.arguments }}'
    "{{ '}\n</tool_call>' }}",
)
HERMES_THINKING = HERMES.replace(
    "{{ '<|im_start|>assistant\n' }}{%- endif", "{{ '<|im_start|>assistant\n<think>\n' }}{%- endif"
)
QWEN_CODER = _CHATML.replace(
    "CALL",
    "{{ '<tool_call>\n<function=' + call.function.name + '>\n' }}"
    "{%- for key, value in call.function.arguments | items -%}"
    "{{ '<parameter=' + key + '>\n' + (value if value is string else value | tojson) + '\n</parameter>\n' }}"
    "{%- endfor -%}{{ '</function>\n</tool_call>' }}",
)
LLAMA = (
    "{%- for m in messages -%}"
    "{%- if loop.first and tools -%}{{ '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{%- for tool in tools -%}{{ (tool | tojson) + '\n' }}{%- endfor -%}{{ '<|eot_id|>' }}{%- endif -%}"
    "{%- if m.tool_calls -%}"
    "{%- if m.tool_calls | length != 1 -%}{{ raise_exception('only one call at once') }}{%- endif -%}"
    "{%- set function = m.tool_calls[0].function -%}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    '{{ \'{"name": "\' + function.name + \'", "parameters": \' }}'
    "{{ (function.arguments | tojson) + '}<|eot_id|>' }}"
    "{%- else -%}"
    "{{ '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) + '<|end_header_id|>\n\n' }}"
    "{{ m.content + '<|eot_id|>' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)
MISTRAL = (
    "{{ '<s>' }}"
    "{%- set last = namespace(user=-1) -%}"
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}"
    "{%- if tools and loop.index0 == last.user -%}"
    "{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{%- endif -%}"
    "{{ '[INST]' + m.content + '[/INST]' }}"
    "{%- elif m.role == 'tool' -%}"
    "{%- if m.tool_call_id | length != 9 -%}{{ raise_exception('an id has nine characters') }}{%- endif -%}"
    "{{ '[TOOL_RESULTS]{\"content\": ' + (m.content | tojson) }}"
    "{{ ', \"call_id\": \"' + m.tool_call_id + '\"}' }}"
    "{{ '[/TOOL_RESULTS]' }}"
    "{%- elif m.tool_calls -%}"
    "{{ m.content + '[TOOL_CALLS][' }}"
    "{%- for call in m.tool_calls -%}"
    "{%- if call.id | length != 9 -%}{{ raise_exception('an id has nine characters') }}{%- endif -%}"
    '{{ \'{"name": "\' + call.function.name + \'", "arguments": \' + (call.function.arguments | tojson) }}'
    "{{ ', \"id\": \"' + call.id + '\"}' + ('' if loop.last else ', ') }}"
    "{%- endfor -%}{{ ']</s>' }}"
    "{%- elif m.role == 'assistant' -%}{{ m.content + '</s>' }}"
    "{%- else -%}{{ '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}{%- endif -%}{%- endfor -%}"
)
MISTRAL_ARGS = (
    (
        MISTRAL[: MISTRAL.index("{{ m.content + '[TOOL_CALLS][' }}")]
        + "{{ m.content }}{%- for call in m.tool_calls -%}"
        "{{ '[TOOL_CALLS]' + call.function.name + '[ARGS]' + (call.function.arguments | tojson) }}"
        "{%- endfor -%}{{ '</s>' }}" + MISTRAL[MISTRAL.index("{%- elif m.role == 'assistant' -%}") :]
    )
    .replace("loop.index0 == last.user", "false")
    .replace(
        "{{ '<s>' }}",
        "{{ '<s>' + ('[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' if tools else '') }}",
    )
)
PYTHONIC = (
    "{%- if tools -%}{{ '<|start|>system\n' + (tools | tojson) + '<|end|>' }}{%- endif -%}"
    "{%- for m in messages -%}{{ '<|start|>' + m.role + '\n' + m.content }}"
    "{%- if m.tool_calls -%}{{ ('\n' if m.content else '') + '[' }}"
    "{%- for call in m.tool_calls -%}{{ call.function.name + '(' }}"
    "{%- for key, value in call.function.arguments | items -%}"
    "{{ key + '=' + (value | tojson) + ('' if loop.last else ', ') }}{%- endfor -%}"
    "{{ ')' + ('' if loop.last else ', ') }}{%- endfor -%}{{ ']' }}{%- endif -%}{{ '<|end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant\n' }}{%- endif -%}"
)
NO_CALLS = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)

FAMILIES = {
    "hermes": (HERMES, "hermes"),
    "hermes-text": (HERMES_TEXT, "hermes"),
    "qwen-coder": (QWEN_CODER, "qwen_coder"),
    "llama": (LLAMA, "llama"),
    "mistral": (MISTRAL, "mistral"),
    "mistral-args": (MISTRAL_ARGS, "mistral"),
    "pythonic": (PYTHONIC, "pythonic"),
}
"""The template, and the format it writes."""

# As the families do: the marks of a turn and of a call are tokens, special ones or not.
_SPECIAL = [
    "<|endoftext|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>", "<|eot_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]",
    "<|python_tag|>",
]  # fmt: skip
_ENDS = {LLAMA: "<|eot_id|>", MISTRAL: "</s>", MISTRAL_ARGS: "</s>", PYTHONIC: "<|end|>"}


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: id for id, token in enumerate([*_SPECIAL, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(_SPECIAL)
    backend.add_tokens(["<tool_call>", "</tool_call>", "<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=_ENDS.get(template, "<|im_end|>"),
        pad_token="<|endoftext|>",
        chat_template=template,
    )
