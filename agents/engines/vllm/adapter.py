"""The trainer's adapter in vLLM: one at a time, each under a name and a number that no other had."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ludus.agents.adapters.lora import LowRank
from ludus.agents.engines.vllm.weights import Copies


class Adapter:
    """
    Args:
        worker: vLLM's, which has the model.
        terms: The trainer's, by the name of the layer.
    """

    def __init__(self, worker: Any, terms: Mapping[str, LowRank]) -> None:
        self._manager = worker.model_runner.lora_manager
        self._device = worker.device
        self._terms = terms
        self._number = 0
        self._places: dict[str, Tensor] = {}

    def replace(self) -> Any:
        """Load the terms as they are now, and unload those from before.

        Returns:
            What a request says to be computed with them.

        Raises:
            EngineError: vLLM keeps them in another form.
        """
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper
        from vllm.lora.request import LoRARequest

        if self._number:
            self._manager.remove_adapter(self._number)
        self._number += 1
        sent, slots = self._sent(), self._manager._adapter_manager
        names = getattr(slots.model, "hf_to_vllm_mapper", None)
        rank = max(len(tensor) for name, tensor in sent.items() if name.endswith("A"))
        # The scale is in B, since vLLM has one for all layers; its own, alpha / r, is 1.
        terms = PEFTHelper.from_dict({"r": rank, "lora_alpha": rank, "target_modules": []})
        adapter = LoRAModel.from_lora_tensors(
            lora_model_id=self._number,
            tensors={_key(name): tensor for name, tensor in sent.items()},
            peft_helper=terms,
            device=str(self._device),
            dtype=self._manager.lora_config.lora_dtype,
            weights_mapper=None if names is None else names.get_rename_mapper(),
        )
        with torch.no_grad(), (copies := Copies(sent)):
            slots.add_adapter(adapter)
            slots.activate_adapter(self._number)
        self._places = copies.places()
        return LoRARequest(f"ludus-{self._number}", self._number, "in memory")

    def weights(self) -> dict[str, Tensor]:
        """By the trainer's names of the adapter's parameters: the parameter, where vLLM has what follows from
        it, or else what vLLM has."""
        sent, found = self._sent(), {}
        for name, term in self._terms.items():
            for letter, key, parameter in (("A", "a_RI", term.a_RI), ("B", "b_OR", term.b_OR)):
                place = self._places[f"{name}.{letter}"]
                is_same = torch.equal(place, sent[f"{name}.{letter}"].to(place.device))
                found[f"{name}.lora.{key}"] = parameter if is_same else place
        return found

    def _sent(self) -> dict[str, Tensor]:
        """What vLLM gets of each term, in memory of its own: vLLM may change it."""
        sent = {}
        for name, term in self._terms.items():
            a_RI, b_OR = term.matrices()
            dtype = self._manager.lora_config.lora_dtype
            sent[f"{name}.A"] = a_RI.to(dtype, copy=True)
            sent[f"{name}.B"] = (b_OR * term.scaling).to(dtype)
        return sent


def _key(name: str) -> str:
    """PEFT's name of a matrix."""
    layer, _, letter = name.rpartition(".")
    return f"base_model.model.{layer}.lora_{letter}.weight"
