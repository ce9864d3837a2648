"""One contestant of `benchmarks/engine.py`, which starts this with the interpreter of its environment.

    python benchmarks/peers/engine.py CONTESTANT FOLDER THREADS REPEATS

FOLDER holds `model`, in transformers' form, and `job.json`: for each turn, the contexts of all episodes, and
how many tokens to sample after each, greedily. A context continues that of the turn before and what was
sampled after it. Prints a line of JSON: seconds of each repeat after a short warm-up, the tokens of the last
one, and versions.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Contexts = list[list[int]]
"""Of each episode."""
Answers = list[list[list[int]]]
"""The sampled ids, by turn and episode."""
Play = Callable[[list[Contexts], int], Answers]
ENOUGH_S = 60
"""After which nothing is repeated."""


def ludus(folder: Path, job: dict[str, Any], threads: int) -> Play:
    """A session for each episode, kept across its turns; episodes do not wait for each other."""
    import asyncio

    from ludus.agents.engines.base import Sampling
    from ludus.agents.engines.embedded import EmbeddedEngine

    engine = EmbeddedEngine(transformers_model(folder, threads), len(job["turns"][0]))

    async def episode(contexts: Contexts, sampling: Sampling) -> list[list[int]]:
        with engine.session() as session:
            return [list((await session.generate(ids, sampling, 0)).ids) for ids in contexts]

    async def episodes(turns: list[Contexts], tokens: int) -> Answers:
        sampling = Sampling(tokens, temperature=0)
        played = await asyncio.gather(*(episode(list(own), sampling) for own in zip(*turns, strict=True)))
        return [list(turn) for turn in zip(*played, strict=True)]

    return lambda turns, tokens: asyncio.run(episodes(turns, tokens))


def generate(folder: Path, job: dict[str, Any], threads: int) -> Play:
    """One call a turn for all episodes, left-padded; it keeps nothing between turns."""
    import torch

    model = transformers_model(folder, threads)

    def turn(contexts: Contexts, tokens: int) -> list[list[int]]:
        longest = max(map(len, contexts))
        ids = torch.tensor([[0] * (longest - len(own)) + own for own in contexts])
        mask = torch.tensor([[0] * (longest - len(own)) + [1] * len(own) for own in contexts])
        output = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
        rows: list[list[int]] = output[:, longest:].tolist()
        return rows

    return lambda turns, tokens: [turn(contexts, tokens) for contexts in turns]


def generate_batch(folder: Path, job: dict[str, Any], threads: int) -> Play:
    """Continuous batching by transformers: one manager for all turns, its blocks shared by equal prefixes."""
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    model = transformers_model(folder, threads)
    page = 32
    longest = max(map(len, job["turns"][-1])) + job["tokens"]
    config = ContinuousBatchingConfig(
        page_size=page,
        num_blocks=len(job["turns"][0]) * (longest // page + 2),
        max_batch_tokens=8192,
        allow_block_sharing=True,
    )

    def play(turns: list[Contexts], tokens: int) -> Answers:
        generation = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
        answers: Answers = []
        with model.continuous_batching_context_manager(
            generation_config=generation, continuous_batching_config=config
        ) as manager:
            for contexts in turns:
                names = manager.add_requests(contexts, max_new_tokens=tokens)
                found: dict[str, list[int]] = {}
                while len(found) < len(names):
                    result = manager.get_result(timeout=60)
                    if result is None or result.error:
                        raise RuntimeError(f"continuous batching ended: {result and result.error}")
                    if result.is_finished():
                        found[result.request_id] = list(result.generated_tokens)
                answers.append([found[name] for name in names])
        return answers

    return play


def vllm(folder: Path, job: dict[str, Any], threads: int) -> Play:
    """Its engine in this process, with prefix caching and prepacked weights, as it is by default. Episodes do
    not wait for each other."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{threads - 1}" if threads > 1 else "0"
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    from vllm import LLM, SamplingParams

    episodes = len(job["turns"][0])
    longest = max(map(len, job["turns"][-1])) + job["tokens"]
    config = json.loads((folder / "model" / "config.json").read_text())
    width = config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] * 2 * 4
    engine = LLM(
        model=str(folder / "model"),
        skip_tokenizer_init=True,
        dtype="float32",
        max_model_len=-(-longest // 32) * 32,
        max_num_seqs=episodes,
        max_num_batched_tokens=8192,
        enable_prefix_caching=True,
        block_size=32,
        kv_cache_memory_bytes=2 * episodes * longest * width,
    ).llm_engine

    def play(turns: list[Contexts], tokens: int) -> Answers:
        engine.reset_prefix_cache()
        params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        answers: Answers = [[[] for _ in contexts] for contexts in turns]

        def ask(turn: int, episode: int) -> None:
            engine.add_request(f"{turn} {episode}", {"prompt_token_ids": turns[turn][episode]}, params)

        for episode in range(len(turns[0])):
            ask(0, episode)
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    turn, episode = map(int, output.request_id.split())
                    answers[turn][episode] = list(output.outputs[0].token_ids)
                    if turn + 1 < len(turns):
                        ask(turn + 1, episode)
        return answers

    return play


def transformers_model(folder: Path, threads: int) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()


CONTESTANTS = {play.__name__: play for play in (ludus, generate, generate_batch, vllm)}


def main() -> None:
    name, folder, threads, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    job = json.loads((folder / "job.json").read_text())
    play = CONTESTANTS[name](folder, job, threads)
    play([contexts[:4] for contexts in job["turns"][:2]], 4)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        answers = play(job["turns"], job["tokens"])
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) > ENOUGH_S:
            break
    versions = {
        package: sys.modules[package].__version__
        for package in ("torch", "transformers", "vllm")
        if package in sys.modules
    }
    print(json.dumps({"seconds": seconds, "answers": answers, "versions": versions}))


if __name__ == "__main__":
    main()
