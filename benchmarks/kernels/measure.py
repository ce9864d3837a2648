"""Time, memory and the device's own ceilings.

Time on a GPU is the device's, between two events: caches are flushed before each repetition, and the device
is kept busy while the host prepares the launches, so that a slow host does not matter. (If the host matters,
as for operators of microseconds, a graph is replayed.) Medians over the repetitions.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

SECONDS = 0.25
"""How long measuring a figure may take, not counting the first calls, which compile."""
REPETITIONS = 5, 40
FLUSH_BYTES = 256 * 2**20
"""Five times the L2 cache of an H100."""
SLEEP_CYCLES = 1_000_000
"""Half a millisecond at 1.8 GHz, in which the host can launch some fifty kernels ahead."""
COPY_BYTES = 2**30
REPLAYS = 20


def median_seconds(
    prepare: Callable[[], Any], step: Callable[[Any], object], device: torch.device
) -> tuple[float, int]:
    """(median time of `step(prepare())`, without the preparation; number of repetitions)."""
    for _ in range(2):
        step(prepare())
    if device.type == "cpu":
        return _host_seconds(prepare, step)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    step(prepare())
    torch.cuda.synchronize()
    once = time.perf_counter() - begun
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device)
    events = []
    for _ in range(_repetitions(once)):
        state = prepare()
        flush.zero_()
        torch.cuda._sleep(SLEEP_CYCLES)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step(state)
        end.record()
        events.append((start, end))
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events) / 1e3, len(events)


def replayed_seconds(step: Callable[[], object]) -> tuple[float, int]:
    """(time per replay of `step` in a CUDA graph, the median over runs of `REPLAYS` replays; number of
    runs)."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    graph.replay()
    events = []
    for _ in range(REPETITIONS[1]):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(SLEEP_CYCLES)
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        events.append((start, end))
    torch.cuda.synchronize()
    median = statistics.median(start.elapsed_time(end) for start, end in events)
    return median / REPLAYS / 1e3, len(events)


def peak_bytes(step: Callable[[], object], device: torch.device) -> int | None:
    """The peak of what `step` allocates, results included. None on a CPU, where only a fresh process can tell
    (see linear_logprob_cpu.py)."""
    if device.type == "cpu":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = step()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def copy_rate(device: torch.device) -> float:
    """Bytes per second read and written by a copy on the device."""
    size = COPY_BYTES if device.type == "cuda" else COPY_BYTES // 16
    source, target = (torch.ones(size, dtype=torch.int8, device=device) for _ in range(2))
    seconds, _ = median_seconds(lambda: None, lambda _: target.copy_(source), device)
    return 2 * size / seconds


def product_rate(rows: int, inner: int, columns: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP per second of the bare product [rows, inner] · [inner, columns], written in dtype."""
    a = torch.randn(rows, inner, dtype=dtype, device=device)
    b = torch.randn(columns, inner, dtype=dtype, device=device)
    out = torch.empty(rows, columns, dtype=dtype, device=device)
    seconds, _ = median_seconds(lambda: None, lambda _: torch.mm(a, b.t(), out=out), device)
    return 2 * rows * inner * columns / seconds


def _host_seconds(prepare: Callable[[], Any], step: Callable[[Any], object]) -> tuple[float, int]:
    seconds = []
    while len(seconds) < REPETITIONS[0] or (sum(seconds) < SECONDS / 10 and len(seconds) < REPETITIONS[1]):
        state = prepare()
        begun = time.perf_counter()
        step(state)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), len(seconds)


def _repetitions(once: float) -> int:
    fewest, most = REPETITIONS
    return max(fewest, min(most, int(SECONDS / max(once, 1e-6))))
