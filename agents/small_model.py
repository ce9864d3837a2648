"""`build_small_model`: a language model that can learn on a laptop, its tokenizer made for its environments.

The arguments determine everything: the same files, byte for byte, whatever the hash seed or thread count.
"""

import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ludus.agents.formats import small
from ludus.agents.formats.byte_level import byte_of_character
from ludus.agents.formats.calls import literals
from ludus.agents.formats.calls.literals import signature, write_call
from ludus.agents.formats.calls.reply import calls_of
from ludus.agents.formats.small import CHAT_TEMPLATE, CONTROL_TOKENS, END, PAD, TOOL_TOKENS
from ludus.agents.models import import_train_extra, quiet_transformers
from ludus.agents.rollout import EnvironmentSpec
from ludus.envs.chat import content_text, reply_text
from ludus.envs.scripted import ScriptedAgent
from ludus.tools import files
from ludus.tools.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

EPISODES = {"null": 256, "random": 256, "oracle": 8}
"""Scripted agents whose episodes the tokenizer is trained on, and how many of each: an oracle may be slow."""
TURNS = 8
"""Turns read from each episode; later ones use the same words."""
MINIMUM_COUNT = 4
"""Occurrences that a word needs to get an id of its own."""

PATTERN = r" ?</?\p{L}+>|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]|\s"
"""What can be one token: a tag, a digit, a word or one sign (with the space before it), one white space.

Digits and the cells of a grid never merge with their neighbours: place value and position stay visible. A
line feed is always a token of its own (`SmallFormat` relies on that)."""


@dataclass(frozen=True, slots=True)
class SmallModelShape:
    """The shape of a Qwen3 model; the default has 1.1 million parameters."""

    hidden: int = 128
    """Width of the residual stream."""
    layers: int = 5
    heads: int = 4
    """Query heads."""
    kv_heads: int = 2
    """Key and value heads; a divisor of `heads`."""
    head_dim: int = 32
    """Width of one head."""
    intermediate: int = 384
    """Width of the gated feed-forward layer."""
    vocabulary: int = 512
    """The most ids that the tokenizer may have. The 256 bytes and 6 control tokens are always among them, and
    3 more control tokens where an environment has tools."""
    max_positions: int = 4096
    """The longest context, in tokens."""


class SmallModelError(UserError):
    """The small model cannot be built: an impossible shape, an environment without text, a full disk."""


def build_small_model(
    specs: Sequence[EnvironmentSpec],
    shape: SmallModelShape = SmallModelShape(),
    seed: int = 0,
    cache_directory: str | Path | None = None,
) -> Path:
    """Make a Qwen3 causal LM with random weights and a tokenizer trained on the environments' own text.

    Args:
        specs: the environments whose messages and scripted agents' replies the tokenizer is trained on.
        seed: of the weights.
        cache_directory: where models are kept; by default in `ludus.tools.files.cache_directory`.

    Returns:
        A folder in `transformers`' form (weights, configuration, tokenizer, chat template). It is built once
        for the same specs, shape, seed and code, then reused.

    Raises:
        SmallModelError: if the shape is impossible, an environment is not a chat environment, or the cache
            cannot be written to (nothing incomplete stays behind).
        ModelLoadError: if `ludus[train]` is not installed.
    """
    _check_shape(shape)
    import_train_extra()
    with _disk_errors("the cache"):
        cache = Path(cache_directory) if cache_directory is not None else files.cache_directory("models")
    target = cache / f"small-{_content_key(specs, shape, seed)}"
    if target.is_dir():
        return target
    control = CONTROL_TOKENS + (TOOL_TOKENS if any(map(_has_tools, specs)) else ())
    tokens = vocabulary(specs, control, shape.vocabulary)
    with _disk_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="unfinished-") as scratch:
            made = Path(scratch) / "model"
            _save(made, control, tokens, shape, seed)
            try:
                made.rename(target)
            except OSError:
                # Another process finished the same model in the meantime; it has the same bytes.
                if not target.is_dir():
                    raise
    return target


def play_texts(spec: EnvironmentSpec) -> Iterator[str]:
    """Every text by an environment and its scripted agents in a fixed set of episodes, including each tool's
    signature, once per episode, and each tool call, as the small model's format writes them."""
    with closing(spec.make()) as env:
        unwrapped: Any = env.unwrapped
        if not isinstance(unwrapped.reset(seed=0)[0], list):
            raise SmallModelError(f"{spec.id} is not a chat environment: take its chat form")
        scripted = getattr(unwrapped, "scripted", {})
        for name in EPISODES:
            if name not in scripted:
                raise SmallModelError(
                    f"{spec.id} has no scripted agent {name!r}, from whose episodes the tokenizer learns: "
                    f"add it to the environment's `scripted` (it has: {', '.join(scripted) or 'none'})"
                )
        seeds = iter(range(sum(EPISODES.values())))
        for name, episodes in EPISODES.items():
            for seed in islice(seeds, episodes):
                yield from _episode_texts(unwrapped, scripted[name](unwrapped, seed), seed)


def _episode_texts(env: Any, agent: ScriptedAgent, seed: int) -> Iterator[str]:
    observation, info = env.reset(seed=seed)
    agent.begin()
    yield from (signature(tool.openai) for tool in getattr(env, "tools", ()))
    for _ in range(TURNS):
        yield from (content_text(message) for message in observation)
        action = agent.act(observation, info)
        yield reply_text(action)
        yield from map(write_call, calls_of(action))
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            yield from (content_text(message) for message in observation)
            return


def _count_words(specs: Sequence[EnvironmentSpec]) -> Counter[str]:
    """The number of occurrences of each word, written in the byte-level alphabet."""
    pre_tokenizer = _bare_tokenizer({}).pre_tokenizer
    texts = Counter(text for spec in specs for text in play_texts(spec))
    words: Counter[str] = Counter()
    for text, count in texts.items():
        for word, _ in pre_tokenizer.pre_tokenize_str(text):
            words[word] += count
    return words


def _has_tools(spec: EnvironmentSpec) -> bool:
    with closing(spec.make()) as env:
        return bool(getattr(env.unwrapped, "tools", ()))


def _choose_words(counts: Counter[str], most: int) -> list[str]:
    """The words that save the most tokens over spelling them in bytes, best first; ties in alphabetical
    order."""
    worthy = [word for word, count in counts.items() if len(word) > 1 and count >= MINIMUM_COUNT]
    worthy.sort(key=lambda word: (-counts[word] * (len(word) - 1), word))
    return worthy[:most]


def _bare_tokenizer(vocabulary: dict[str, int]) -> "Tokenizer":
    """Byte-level BPE whose merges are whole words: a word of the vocabulary is one id, any other its bytes.

    A chain of merges would spend most of such a small vocabulary on parts of words.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def vocabulary(specs: Sequence[EnvironmentSpec], control: Sequence[str], most: int) -> list[str]:
    """At most so many tokens: the control tokens, the 256 bytes, and words of the environments."""
    words = _choose_words(_count_words(specs), most - 256 - len(control))
    return [*control, *sorted(byte_of_character(), key=byte_of_character().__getitem__), *words]


def small_tokenizer(
    control: Sequence[str], tokens: Sequence[str], template: str, longest: int
) -> "PreTrainedTokenizerFast":
    """A tokenizer with this vocabulary, whose turns end with `END`."""
    from transformers import PreTrainedTokenizerFast

    backend = _bare_tokenizer({token: id for id, token in enumerate(tokens)})
    backend.add_special_tokens(list(control))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[token for token in control if token not in (END, PAD)],
        chat_template=template,
        clean_up_tokenization_spaces=False,
        model_max_length=longest,
    )


def _save(
    folder: Path, control: Sequence[str], tokens: Sequence[str], shape: SmallModelShape, seed: int
) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = small_tokenizer(control, tokens, CHAT_TEMPLATE, shape.max_positions)
    config = Qwen3Config(
        vocab_size=len(tokens),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=True,
        # Keeps the variance at this width. The usual 0.02 suits widths in the thousands and learns more
        # slowly here.
        initializer_range=shape.hidden**-0.5,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    # The caller's generator is not changed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).to(torch.float32)
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _check_shape(shape: SmallModelShape) -> None:
    for name, value in asdict(shape).items():
        if value < 1:
            raise SmallModelError(f"{name} = {value} in the small model's shape: it must be at least 1")
    if shape.heads % shape.kv_heads:
        raise SmallModelError(
            f"kv_heads = {shape.kv_heads} in the small model's shape: it must divide heads = {shape.heads}"
        )
    if shape.head_dim % 2:
        raise SmallModelError(f"head_dim = {shape.head_dim} in the small model's shape: it must be even")
    if shape.vocabulary < 300:
        raise SmallModelError(
            f"vocabulary = {shape.vocabulary} in the small model's shape: 265 ids go to bytes and control "
            "tokens, so ask for at least 300"
        )


@contextmanager
def _disk_errors(cache: Path | str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise SmallModelError(
            f"the small model cannot be written to {cache} ({error}): free some space, correct the folder's "
            "permissions, or set XDG_CACHE_HOME to another folder"
        ) from error


def _content_key(specs: Sequence[EnvironmentSpec], shape: SmallModelShape, seed: int) -> str:
    """Names a model by everything that determines its bytes, without playing: arguments, versions and
    code."""
    arguments = [[spec.id, spec.arguments] for spec in specs]
    versions = [version(package) for package in ("numpy", "tokenizers", "torch", "transformers")]
    described = json.dumps(
        [arguments, asdict(shape), seed, versions, CHAT_TEMPLATE], sort_keys=True, default=repr
    )
    digest = hashlib.sha256(described.encode())
    modules = [Path(__file__), Path(small.__file__), Path(literals.__file__)]
    for file in [*modules, *_environment_files(specs)]:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _environment_files(specs: Sequence[EnvironmentSpec]) -> list[Path]:
    """The source files in the folders of the environments' classes and their bases, in a fixed order."""
    found: dict[Path, None] = {}
    for spec in specs:
        with closing(spec.make()) as env:
            modules = [sys.modules[base.__module__] for base in type(env.unwrapped).__mro__]
        for module in modules:
            # A class typed into a terminal has no file; a stale vocabulary at worst makes texts longer in
            # tokens.
            source = getattr(module, "__file__", None)
            if source and module.__name__.partition(".")[0] not in {"gymnasium", *sys.stdlib_module_names}:
                found.update(dict.fromkeys(sorted(Path(source).parent.glob("*.py"))))
    return list(found)
