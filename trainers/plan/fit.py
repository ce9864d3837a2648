"""What fits into a memory: the largest micro-batch, the longest rows, and what to switch on where a run does
not."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ludus.tools.errors import UserError
from ludus.trainers.config.reading import override, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.plan.plan import Work, plan
from ludus.trainers.plan.rows import of_length

_LEAST, _MOST = 256, 2**17
"""Tokens that are tried: powers of two."""


@dataclass(frozen=True)
class Remedy:
    """Settings that make a run smaller, and what it takes with them and all before them."""

    settings: str
    peak: int


def largest_batch(config: RunConfig, work: Work, memory: int) -> tuple[int, bool]:
    """The largest `microbatch_tokens`, a power of two or 0, with which a run fits into so many bytes; and
    whether a whole step then is one micro-batch, so that more would change nothing."""
    compared = [row for pair in work.preferred for side in pair for row in side]
    whole = max(sum(len(row.ids) for row in rows) for rows in (work.fine_tuned, work.sampled, compared))

    def fits(tokens: int) -> bool:
        return plan(_with_batch(config, tokens), work).run.total <= memory

    tokens = _largest(fits, whole)
    return tokens, tokens >= whole


def longest_context(config: RunConfig, work: Work, memory: int) -> int:
    """The longest rows, a power of two, the model's limit or 0, with which a run fits: each is the whole of a
    micro-batch, and as many are in the cache as are played at once."""

    def fits(tokens: int) -> bool:
        sampled = tokens // 2
        row = of_length(tokens, sampled)
        rows = [row] * len(work.sampled)
        pairs = [([row], [row])] * bool(work.preferred)
        longest = replace(work, fine_tuned=[row], sampled=rows, preferred=pairs)
        return plan(config, longest).run.total <= memory

    return min(work.context, _largest(fits, work.context))


def remedies(config: RunConfig, work: Work, memory: int) -> Iterator[Remedy]:
    """What makes the run smaller, one after another, until it fits: first what changes no result, last what
    trains less. What would not make it smaller is left out."""
    least = plan(config, work).run.total
    for settings in _steps(config, work):
        try:
            changed = _changed(config, settings)
            peak = plan(changed, work).run.total
        except UserError:
            continue  # not in this run
        if peak >= least:
            continue
        config, least = changed, peak
        yield Remedy(", ".join(f"{key} = {value}" for key, value in settings.items()), peak)
        if peak <= memory:
            return


def _steps(config: RunConfig, work: Work) -> Iterator[Mapping[str, str]]:
    if not config.model.recompute_every:
        yield {"model.recompute_every": "1"}
    tables = [table for table in _tables(config) if getattr(config, table).microbatch_tokens > _LEAST]
    if tables:
        yield {f"{table}.microbatch_tokens": str(_LEAST) for table in tables}
    if config.rollout.concurrency > 8:
        yield {"rollout.concurrency": "8"}
    if config.run.workers > 1:
        yield {"run.workers": "1"}
    whole = config.adapter is None and work.source.folder == work.source.base
    if whole:
        yield {"adapter.rank": "16"}
    if config.model.dtype == "float32":
        yield {"model.dtype": '"bfloat16"'}
        if whole:
            yield {"model.dtype": '"bfloat16"', "model.masters": "false"}
    elif config.model.masters:
        yield {"model.masters": "false"}


def _with_batch(config: RunConfig, tokens: int) -> RunConfig:
    return _changed(config, {f"{table}.microbatch_tokens": str(tokens) for table in _tables(config)})


def _tables(config: RunConfig) -> list[str]:
    used = {"sft.steps": config.sft.steps, **config.after_priming}
    return [key.partition(".")[0] for key, steps in used.items() if steps]


def _changed(config: RunConfig, settings: Mapping[str, str]) -> RunConfig:
    values = config.model_dump(exclude_none=True)
    for key, value in settings.items():
        override(values, key, value)
    return parse_config(values)


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest power of two that fits, up to the first that is at least `most`; 0 if none does."""
    powers = [2**power for power in range(_LEAST.bit_length() - 1, _MOST.bit_length())]
    tried = powers[: bisect_left(powers, most) + 1]
    count = bisect_left(tried, True, key=lambda tokens: not fits(tokens))
    return tried[count - 1] if count else 0
