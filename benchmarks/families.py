"""Which architectures of transformers are computed right: all that it calls causal, as tiny random models.

    python benchmarks/families.py            # all
    python benchmarks/families.py qwen3 lfm2

Each is built with small sizes, set by the names that its configuration has, with weights far from zero, and
given to the embedded engine and to training, which check it (`ludus.agents.families`). Where they accept it,
what they compute is measured: log-probabilities of sampled episodes of several turns, and of packed rows,
against the model's own forward. Windows and chunks are of 24 tokens, rows of up to 40. Prints
a table and brings `benchmarks/results/families.json` and `docs/models.md` up to date.
"""

import asyncio
import json
import re
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ludus.agents.attention import computing_with
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.cores import core_of
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.own_cache import OwnCacheBatch
from ludus.agents.episode import TrainingSequence
from ludus.agents.models import quiet_transformers
from ludus.agents.picture_ids import FAMILIES
from ludus.tools.errors import UserError
from ludus.trainers.batches.packing import flat_logprobs, pack
from ludus.trainers.models import forward
from ludus.trainers.models.forward import packs, score

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/families.json"
WORDS = 96
SIZES: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), WORDS),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embed_dim", "dim_model"), 32),
    **dict.fromkeys(("word_embed_proj_dim", "embedding_size", "lru_width", "dim"), 32),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "dim_ff"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "moe_intermediate_size", "mlp_dim"), 48),
    **dict.fromkeys(
        ("shared_expert_intermediate_size", "intermediate_size_mlp", "expert_ffn_hidden_size"), 48
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("decoder_layers", "encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "linear_num_value_heads"), 4),
    "linear_num_heads": 4,
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(("head_dim", "qk_nope_head_dim", "v_head_dim", "qk_rope_head_dim", "global_head_dim"), 8),
    **dict.fromkeys(("qk_head_dim", "mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(
        ("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim", "dim_head", "rotary_dim"), 8
    ),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "hidden_size_per_layer_input", "laurel_rank"), 16),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "n_group"), 2),
    **dict.fromkeys(("topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 128),
    **dict.fromkeys(("sliding_window", "attention_window", "attention_chunk_size"), 24),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 4),
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size", "mamba_d_ssm"), 16),
    **dict.fromkeys(("chunk_size", "mamba_chunk_size"), 16),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "is_decoder": True,
}
MORE: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_group": 1},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 24},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "nemotron_h": {"n_groups": 1},
    "roc_bert": {"shape_vocab_size": 16, "pronunciation_vocab_size": 16},
    "rwkv": {"rescale_every": 2},
    "zamba2": {"layer_types": ["mamba", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}
"""What else a configuration needs: sizes that depend on each other, layers of every kind."""
LARGEST = 15_000_000
"""Weights of a model that is still tiny; more mean that a size has a name that this script does not know."""
HEAD = """# Models

The embedded engine and the trainer put an attention of their own into a model of `transformers`, over packed
rows and kept keys and values. Where that is not what a model computes, since it keeps something else of a row
(a recurrent, convolutional or linear state) or attends in a way of its own, it computes by itself: in the
engine with its *own cache* for each row, single tokens of many rows together, prompts by themselves; in
training with *rows apart*, so that what rows share is computed with each of them. That is slower, and a state
cannot be shortened: a context that does not begin with all of what came before is computed anew.

Either way, what is computed is compared with the model's own forward when the model is first met
(`agents/families.py`): three short rows, alone, together and token by token, and a row beyond a window that
is short enough. What differs is refused in one line, and rows are no longer than what is computed right: up
to a change of rotary factors (`longrope`), up to a chunk of packed attention. A model that is refused can be
evaluated behind a server ([serving](serving.md)).

## How exact

Engine and trainer compute the same probabilities by different sums, in every mode: packed or by the model
itself, with an adapter, on a base in four bits (`tests/trainers/test_agreement.py`, tiny models).

| weights | log-probabilities of sampled tokens, engine against trainer |
|---|---|
| `float32` | equal to 10⁻⁵ nats |
| `bfloat16` | on average within √n·u·σ, at worst within 8 times that |

n is the number of roundings on a number's way, 16 in each layer; u = 2⁻⁸ the largest relative error of one;
σ the standard deviation of a token's logits. Lengths do not count: sums are in float32, only their results
are rounded. Seen was about a tenth of the bound, 0.002 to 0.003 nats on average with two to four layers. The
limits of [`[trust]`](configuration.md#trust) are 20 times as high as in `float32` where none are given; a
deep model may need higher ones.

## Families

These are the {all} causal architectures of transformers {version}, each as a tiny random model with every
kind of layer that its configuration has by default; of {built} that were tried, {both} are right in both.
Written by `python benchmarks/families.py`, which also measures what is accepted.

Of models for pictures and words, those of the types {seeing}
[see](vision.md); any other in the table reads words alone.
"""
ROUNDINGS = 16
"""On a number's way through a layer; each may move a log-probability as far as that of a weight does."""


@dataclass(frozen=True)
class Verdict:
    """Of engine or trainer on one architecture."""

    accepted: bool
    tokens: int | None = None
    """The longest row, if accepted."""
    words: str = ""
    """Why it was refused, or why rows are no longer."""
    way: str = ""
    """How it is computed, if not packed."""
    nats: float | None = None
    """The largest difference from the model's own log-probabilities that was measured."""
    rounding: float | None = None
    """How far those move by themselves when weights are rounded, in nats."""

    @property
    def right(self) -> bool:
        if not self.accepted:
            return True
        measured = self.nats is not None and self.rounding is not None
        return measured and self.nats < ROUNDINGS * self.rounding


@dataclass(frozen=True)
class Family:
    """One architecture."""

    model_type: str
    architecture: str
    skipped: str = ""
    """Why no tiny model could be built."""
    engine: Verdict = Verdict(False)
    training: Verdict = Verdict(False)


def main(names: list[str]) -> int:
    known = read() if names else {}
    with quiet_transformers():
        for model_type, architecture in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()):
            if not names or model_type in names:
                known[model_type] = examine(model_type, architecture)
                print(line(known[model_type]), flush=True)
    families = [family for _, family in sorted(known.items())]
    results = {"transformers": version("transformers"), "families": [asdict(one) for one in families]}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (ROOT / "docs/models.md").write_text(page(families), encoding="utf-8")
    wrong = [one.model_type for one in families if not (one.engine.right and one.training.right)]
    print(f"wrong without a word: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


def read() -> dict[str, Family]:
    """What was measured before, with this version of transformers."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if results.get("transformers") != version("transformers"):
        return {}
    return {
        one["model_type"]: Family(
            **{**one, "engine": Verdict(**one["engine"]), "training": Verdict(**one["training"])}
        )
        for one in results["families"]
    }


def examine(model_type: str, architecture: str) -> Family:
    try:
        model = build(model_type)
    except Exception as problem:  # a configuration's own checks raise anything
        return Family(model_type, architecture, skipped=first_line(problem))
    return Family(model_type, architecture, "", judge(model, True), judge(model, False))


def judge(model: Any, engine: bool) -> Verdict:
    try:
        reach = core_of(model).reach if engine else forward.reach(model)
    except UserError as refusal:
        return Verdict(False, words=str(refusal))
    if engine:
        way = "own cache" if core_of(model).batch is OwnCacheBatch else ""
    else:
        way = "" if packs(model) else "rows apart"
    tokens = min(reach.tokens or 128, 128)
    words = reach.why if reach.tokens and reach.tokens < 128 else ""
    nats = (sampled if engine else packed)(model, tokens)
    return Verdict(True, tokens, words, way, nats, rounding(model))


def build(model_type: str) -> Any:
    """A tiny model with weights far from zero."""
    torch.manual_seed(0)
    config = small(CONFIG_MAPPING[model_type])
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} weights: a size has a name that is not known here")
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    if not own(deepcopy(model), ids(model, 40, 0)).isfinite().all():  # a forward may change its model
        raise ValueError("its own forward gives NaN with random weights")
    return model


def small(kind: Any) -> Any:
    """A configuration with all sizes that it has made small, in its parts, too."""
    default = kind()
    known = default.to_dict()
    changes = {
        name: value
        for name, value in SIZES.items()
        if name in known and (known[name] is not None or name in ("head_dim", "num_key_value_heads"))
    }
    if "use_sliding_window" in known:
        changes |= {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}
    changes |= MORE.get(kind.model_type, {})
    if "kv_lora_rank" in changes:
        changes["num_key_value_heads"] = changes["num_attention_heads"]
    for name in getattr(kind, "sub_configs", {}):
        if isinstance(part := getattr(default, name, None), PretrainedConfig):
            changes[name] = small(type(part))
    return kind(**changes)


def ids(model: Any, length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, WORDS, (length,), generator=generator).tolist()


@torch.no_grad()
def own(model: Any, row: list[int]) -> torch.Tensor:
    """The log-probability of each token but the first, by the model's own forward."""
    with computing_with(model, "eager"):
        logits = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, :-1]
    return logits.double().log_softmax(-1)[range(len(row) - 1), row[1:]]


@torch.no_grad()
def rounding(model: Any) -> float:
    """How far a model's own log-probabilities move, in nats, when each weight does by 2⁻²³ of itself, up or
    down, and they are rounded themselves: a state that feeds on itself may carry that far."""
    unit = torch.finfo(torch.float32).eps
    generator = torch.Generator().manual_seed(0)
    rows = [ids(model, 40, seed) for seed in range(3)]
    exact = [own(model, row) for row in rows]
    worst = 0.0
    for _ in range(4):
        rounded = deepcopy(model)
        for parameter in rounded.parameters():
            signs = 2 * torch.randint(0, 2, parameter.shape, generator=generator) - 1
            parameter.mul_(1 + unit * signs)
        moved = [(own(rounded, row) - its).abs().max() for row, its in zip(rows, exact, strict=True)]
        worst = max(worst, *map(float, moved))
    return worst + unit * max(float(its.abs().max()) for its in exact)


def sampled(model: Any, tokens: int) -> float:
    """Four episodes of three turns, at most `tokens` long."""
    engine = EmbeddedEngine(model, slots=3, max_context=tokens)

    async def play(number: int) -> float:
        context, worst = ids(model, min(5 + 7 * (number // 2), tokens - 6), number // 2), 0.0
        with engine.session() as session:
            for turn in range(3):
                given = len(context)
                done = await session.generate(context, Sampling(max_tokens=6), number * 10 + turn)
                if not done.ids:
                    break
                context = [*context, *done.ids]
                expected = own(model, context)[given - 1 :]
                worst = max(worst, float((torch.tensor(done.logprobs).double() - expected).abs().max()))
                context += ids(model, 3 + turn, turn)
        return worst

    async def together() -> list[float]:
        return await asyncio.gather(*(play(number) for number in range(4)))

    try:
        return max(asyncio.run(together()))
    finally:
        engine.close()


@torch.no_grad()
def packed(model: Any, tokens: int) -> float:
    """Six rows, of which some share what they begin with."""
    shared = ids(model, 30, 1)
    lengths = (40, 12, 35, 40, 7, 22)
    rows = [
        ((shared if number % 2 else []) + ids(model, 40, number))[: min(length, tokens)]
        for number, length in enumerate(lengths)
    ]
    sequences = [
        TrainingSequence(tuple(row), (False, *[True] * (len(row) - 1)), (0.0,) * len(row)) for row in rows
    ]
    scored = torch.zeros(len(flat_logprobs(sequences)))
    for part in pack(sequences, 70, packs(model)):
        scored[part.token_N] = score(model, part, 1.0).logprobs
    expected = torch.cat([own(model, row) for row in rows])
    return float((scored.double() - expected).abs().max())


def first_line(problem: BaseException) -> str:
    return " ".join((str(problem).strip() or type(problem).__name__).split())[:200]


def line(family: Family) -> str:
    if family.skipped:
        return f"{family.model_type:28} skipped: {family.skipped[:150]}"
    return f"{family.model_type:28} engine {cell(family.engine):40} training {cell(family.training)}"


def cell(verdict: Verdict) -> str:
    if not verdict.accepted:
        return f"refused: {verdict.words}"
    limit = f", up to {verdict.tokens}: {verdict.words}" if verdict.words else ""
    way = f", {verdict.way}" if verdict.way else ""
    return f"{'right' if verdict.right else 'WRONG'} ({verdict.nats:.0e} nats){way}{limit}"


def page(families: list[Family]) -> str:
    built = [family for family in families if not family.skipped]
    both = sum(family.engine.accepted and family.training.accepted for family in built)
    notes: dict[str, str] = {}
    rows = [
        f"| `{family.model_type}` | {family.architecture} | {mark(family.engine, family, notes)} | "
        f"{mark(family.training, family, notes)} |"
        for family in built
    ]
    skipped = ", ".join(f"`{family.model_type}`" for family in families if family.skipped)
    return "\n".join(
        [
            HEAD.format(
                version=version("transformers"),
                all=len(families),
                both=both,
                built=len(built),
                seeing=", ".join(f"`{model_type}`" for model_type in FAMILIES),
            ),
            "| model type | architecture | embedded engine | training |",
            "|---|---|---|---|",
            *rows,
            "",
            *(f"- **{letter}**: {words}." for words, letter in notes.items()),
            "",
            f"Not tried, since no tiny model of them is built by the script: {skipped}.",
            "",
        ]
    )


def mark(verdict: Verdict, family: Family, notes: dict[str, str]) -> str:
    """A verdict in a cell; its reason becomes a note that others share."""
    way = f", {verdict.way}" if verdict.way else ""
    if not verdict.words:
        return f"{'right' if verdict.right else 'wrong'}{way}"
    words = verdict.words.replace(family.architecture, "the model")
    words = re.sub(r"^the model cannot be computed by [\w ]+: |; use another model.*| of 24 only$", "", words)
    words = re.sub(r"^.* computes the model right", "it is computed right", words)
    words = re.sub(r"(?<=plain rows) \(.*\)|, so (its rows|the embedded|that log).*", "", words)
    words = re.sub(r"^\w+Attention", "its attention", words)
    letter = notes.setdefault(words, chr(ord("a") + len(notes)))
    return f"limited ({letter}){way}" if verdict.accepted else f"refused ({letter})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
