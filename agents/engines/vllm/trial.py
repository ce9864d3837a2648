"""Whether vLLM computes a model: tried with a few short rows, against the model's own forward."""

from typing import Any

import torch

from ludus.agents.attention import computing_with
from ludus.agents.engines.base import EngineError
from ludus.agents.engines.vllm.weights import INSTEAD
from ludus.agents.families import are_same

_LENGTHS = (13, 9, 12)
"""Of the prompts, which are computed together."""
_NEW = 4
"""Tokens that follow each, the likeliest: the first is computed from the prompt, the others one by one."""
_COMPARED = 20
"""Log-probabilities of each token, of the likeliest ids: no more are to be had."""


@torch.no_grad()
def refuse_other_model(vllm: Any, model: Any, adapter: Any) -> None:
    """
    Args:
        vllm: An `LLMEngine` with the weights of `model`, and nothing to do.
        adapter: The `LoRARequest` of the adapter that the model has; None without one.

    Raises:
        EngineError: their log-probabilities differ.
    """
    from vllm.sampling_params import SamplingParams

    parameters = SamplingParams(
        max_tokens=_NEW, temperature=0.0, logprobs=_COMPARED, ignore_eos=True, detokenize=False
    )
    ids = torch.randint(
        model.get_input_embeddings().num_embeddings,
        (sum(_LENGTHS),),
        generator=torch.Generator().manual_seed(0),
    )
    prompts = {str(number): row.tolist() for number, row in enumerate(ids.split(_LENGTHS))}
    for name, prompt in prompts.items():
        vllm.add_request(name, {"prompt_token_ids": prompt}, parameters, lora_request=adapter)
    got, own = [], []
    while vllm.has_unfinished_requests():
        for output in filter(lambda output: output.finished, vllm.step()):
            (completion,) = output.outputs
            prompt = prompts[output.request_id]
            row = torch.tensor([[*prompt, *completion.token_ids]], device=model.device)
            with computing_with(model, "eager"):
                logits_TV = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
            for logits_V, likeliest in zip(logits_TV, completion.logprobs, strict=True):
                names = sorted(likeliest)[:_COMPARED]  # the sampled one may be told twice
                got.append(torch.tensor([likeliest[id].logprob for id in names]))
                own.append(logits_V[names].float().cpu())
    if not are_same(model, torch.stack(got), torch.stack(own)):
        raise EngineError(f"{type(model).__name__} in vLLM is another model than in transformers: {INSTEAD}")
