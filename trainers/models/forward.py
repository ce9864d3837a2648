"""Log-probabilities of the scored tokens of a packed micro-batch, from a transformers causal LM.

All rows lie in one of length T. Each token has its position within its own row, and attention lets it see
that row alone (`attention`), so models with absolute positions see the same as without packing. A model that
is not computed right so goes over each row by itself (`apart`). Hidden states
are taken only where a token is predicted; `linear_logprob` applies the output embedding to them, and what the
model makes of its logits (`head`), or `support_logprob`, over the ids that each token was drawn among.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.attention import computing_with
from ludus.agents.families import PLACES, Computed, OncePerModel, Reach, reach_of
from ludus.agents.sight import Features, features_of, in_grids, lie_in_grids, rotary_positions, seeing
from ludus.kernels import linear_logprob, support_logprob
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.batches.prefixes import Branch, Forest
from ludus.trainers.models.activations import keeping
from ludus.trainers.models.apart import hidden_states_apart
from ludus.trainers.models.attention import ATTENTION, AttentionPlan, UnsupportedModel
from ludus.trainers.models.head import decoder, linear_head, output_head


@dataclass(frozen=True, slots=True)
class Scored:
    """Of a micro-batch's N scored tokens and P predictions; float32."""

    logprobs: Tensor
    """[N], differentiable. Under the policy at the given temperature, restricted to the ids that each token
    was drawn among."""
    entropy: Tensor
    """[N], of the same distribution; in nats. Detached, unless its gradient was asked for."""
    hidden: Tensor
    """[P, H], differentiable: what they were computed from, in the model's own precision."""


def score(
    model: PreTrainedModel, micro_batch: MicroBatch, temperature: float, entropy_gradient: bool = False
) -> Scored:
    """Scores a micro-batch with the model in evaluation mode (no dropout): the same weights, micro-batch and
    thread count give the same bits, with gradients or without. The model's mode and attention are restored
    afterwards.

    Raises UnsupportedModel as `hidden_states`.
    """
    hidden_PH, head = hidden_states(model, micro_batch), output_head(model)
    # c tanh(s x / c) / T = c' tanh(x / c') / T', where c' = c / s and T' = T / s
    arguments: dict[str, Any] = {
        "hidden": hidden_PH,
        "weight": head.linear.weight,
        "targets": micro_batch.targets_P.to(hidden_PH.device),
        "temperature": temperature / head.scale,
        "bias": head.linear.bias,
        "softcap": None if head.softcap is None else head.softcap / head.scale,
    }
    support_P = micro_batch.support_P
    if support_P is None:
        scored = linear_logprob(**arguments)
    else:
        scored = support_logprob(**arguments, support=support_P.to(hidden_PH.device))
    logprobs_N, entropy_N = (
        of_P[micro_batch.prediction_N.to(of_P.device)] for of_P in (scored.logprobs, scored.entropy)
    )
    return Scored(logprobs_N, entropy_N if entropy_gradient else entropy_N.detach(), hidden_PH)


def hidden_states(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
    """The hidden states that predict, [P, H]; as they are before the output embedding.

    Raises UnsupportedModel for a model that is not computed right (`reach`), or a row that is longer.
    """
    limit, longest = reach(model), int(micro_batch.positions_T.max()) + 1
    if longest not in limit:
        raise UnsupportedModel(
            f"a row has {longest:,} tokens, but {limit.why}: make rows shorter (engine.max_context, "
            "rollout.max_episode_tokens), or use another model"
        )
    micro_batch = micro_batch.to(output_head(model).linear.weight.device)
    is_packed, features = packs(model), features_of(model, micro_batch.pictures)
    with seeing(model, features):
        hidden_TH, _ = _hidden_states(
            model,
            is_packed,
            micro_batch.ids_T,
            micro_batch.positions_T,
            micro_batch.branches,
            _rotary(micro_batch, features),
        )
    return hidden_TH[micro_batch.places_P]


def reach(model: PreTrainedModel) -> Reach:
    """How long the rows of a model may be.

    Raises UnsupportedModel for a model whose logits are not its own when they are computed from hidden
    states, of packed rows or of rows apart; found by trying, at the first call on a model.
    """
    return way_of(model).reach


def packs(model: PreTrainedModel) -> bool:
    """Whether rows are packed, so that what they share is computed once.

    Raises UnsupportedModel as `reach`.
    """
    return way_of(model).packs


@dataclass(frozen=True, slots=True)
class Way:
    """How a model's rows are computed."""

    packs: bool
    """In one, by packed attention; else each by the model's own forward."""
    reach: Reach


@OncePerModel
def way_of(model: PreTrainedModel) -> Way:
    """Raises UnsupportedModel as `reach`."""
    linear_head(model)
    try:
        return Way(True, reach_of(model, "training", partial(_computed, model, True), UnsupportedModel))
    except UnsupportedModel:
        if lie_in_grids(model):  # whose positions rows apart are not given
            raise
        return Way(False, reach_of(model, "training", partial(_computed, model, False), UnsupportedModel))


def _rotary(micro_batch: MicroBatch, features: Features) -> Tensor | None:
    """By which its tokens are rotated, [3, 1, T]; None: their positions."""
    if not in_grids(features):
        return None
    ids_T, parts = micro_batch.ids_T.numpy(force=True), []
    for branch in micro_batch.branches:
        row = [ids_T[begin:end] for begin, end in (*branch.prefix, (branch.begin, branch.end))]
        parts.append(rotary_positions(np.concatenate(row), features)[:, branch.depth :])
    return torch.from_numpy(np.concatenate(parts, axis=1)[:, None]).to(micro_batch.ids_T.device)


def _hidden_states(
    model: PreTrainedModel,
    packs: bool,
    ids_T: Tensor,
    positions_T: Tensor,
    branches: tuple[Branch, ...],
    rotary: Tensor | None = None,
) -> tuple[Tensor, frozenset[int | None] | None]:
    """Of a forest's tokens, [T, H], and the windows that the model handed to packed attention."""
    if not packs:
        with computing_with(model, model.config._attn_implementation), keeping(model):
            return hidden_states_apart(model, ids_T, branches), None
    plan = AttentionPlan(branches, positions_T)
    rotary = positions_T[None] if rotary is None else rotary
    with computing_with(model, ATTENTION), keeping(model):
        output = decoder(model)(
            input_ids=ids_T[None], position_ids=rotary, use_cache=False, attention_plan=plan
        )
    return output.last_hidden_state[0], plan.windows


def _computed(model: PreTrainedModel, packs: bool, rows: Sequence[Sequence[int]]) -> Computed:
    """Rows as they are laid out in a forest, sharing what they have in common."""
    forest, head = Forest(), output_head(model)
    order = sorted(range(len(rows)), key=lambda row: list(rows[row]))
    where = {row: forest.add(np.array(rows[row])) for row in order}
    ids_T, positions_T = (
        torch.from_numpy(np.concatenate(parts)).to(head.linear.weight.device)
        for parts in (forest.ids, forest.positions)
    )
    hidden_TH, windows = _hidden_states(model, packs, ids_T, positions_T, tuple(forest.branches))
    logits = [head(hidden_TH[torch.from_numpy(where[row][list(PLACES)])]) for row in range(len(rows))]
    return Computed(logits, windows)
