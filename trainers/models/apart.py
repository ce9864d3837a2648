"""Hidden states of rows that are not packed: the model's own forward over each, with its own attention.

For models of which packed rows would not be computed right, since a layer carries a state from token to
token, or attends in a way of its own. Rows of similar lengths go together, padded on the right, which no
token of a causal model sees. What rows share is computed with each of them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.trainers.batches.prefixes import Branch
from ludus.trainers.models.head import decoder


def hidden_states_apart(model: PreTrainedModel, ids_T: Tensor, branches: tuple[Branch, ...]) -> Tensor:
    """The last hidden states of the tokens of a forest, [T, H].

    Rows of a length between two powers of two are padded to the longest of them: less than twice the tokens.
    """
    buckets: dict[int, list[Tensor]] = {}
    for place_L in _rows(branches):
        buckets.setdefault((len(place_L) - 1).bit_length(), []).append(place_L)
    hidden: list[Tensor] = []
    source_T, computed = torch.empty(len(ids_T), dtype=torch.int64), 0
    for rows in buckets.values():
        longest = max(map(len, rows))
        place_RL = torch.stack([torch.cat([row, row[-1:].expand(longest - len(row))]) for row in rows])
        output = decoder(model)(input_ids=ids_T[place_RL.to(ids_T.device)], use_cache=False)
        hidden.append(output.last_hidden_state.flatten(0, 1))
        for row in rows:
            source_T[row] = torch.arange(computed, computed + len(row))
            computed += longest
    return torch.cat(hidden)[source_T.to(ids_T.device)]


def _rows(branches: tuple[Branch, ...]) -> Iterator[Tensor]:
    """Where the tokens of each whole row lie in T; rows that others begin with are in these."""
    begun = {end for branch in branches for _, end in branch.prefix}
    for branch in branches:
        if branch.end not in begun:
            ranges = (*branch.prefix, (branch.begin, branch.end))
            yield torch.cat([torch.arange(*places) for places in ranges])
