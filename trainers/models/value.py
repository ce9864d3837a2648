"""Value models: what an agent can still expect to earn, as a number for each state.

The value of a token is that of the state *before* it, in which it was chosen: it is read from the hidden
state at the position that predicts the token (`MicroBatch.places_P`).
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.models.forward import hidden_states


class ValueModel(nn.Module):
    """A linear head, in float32, on hidden states: those of a model of its own, or the policy's.

    The head begins at 0, so every value is 0 before the first update.

    Args:
        width: Of the hidden states.
        model: The model of its own; None: the policy's hidden states are read.
        share: How much of a gradient goes on from the head into the policy's hidden states.
    """

    def __init__(
        self,
        width: int,
        device: torch.device,
        model: PreTrainedModel | None = None,
        share: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.share = model, share
        self.head = nn.Linear(width, 1, device=device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if (
            model is not None
            and model.get_output_embeddings().weight is not model.get_input_embeddings().weight
        ):
            model.get_output_embeddings().weight.requires_grad_(False)  # nothing is computed with it

    def values(self, micro: MicroBatch, policy_hidden_PH: Tensor) -> Tensor:
        """The value before each scored token of a micro-batch, [N] float32; differentiable.

        Args:
            policy_hidden_PH: The policy's hidden states that predict these tokens. A model of its own does
                not read them.
        """
        if self.model is not None:
            hidden_PH = hidden_states(self.model, micro)
        else:
            hidden_PH = policy_hidden_PH.detach()
            if self.share:  # adds 0, and lets that much of the gradient through
                hidden_PH = hidden_PH + self.share * (policy_hidden_PH - hidden_PH)
        values_P: Tensor = self.head(hidden_PH.float())[:, 0]
        return values_P[micro.prediction_N.to(values_P.device)]
