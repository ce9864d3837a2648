"""A benchmark as a folder that `datasets.load_dataset(FOLDER, NAME)` reads: Parquet files and a card.

One configuration for each environment, one row for each episode; what has no score, a fault or a refusal, has
null for `success`.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ludus.agents.bench.directory import Folder
from ludus.agents.bench.export import new_folder
from ludus.agents.bench.outcome import file_names
from ludus.agents.bench.result import measure
from ludus.agents.episode import Episode
from ludus.envs.chat import Message, content_text
from ludus.tools.files import replacing_file, write_file

_MESSAGE = pa.struct([(name, pa.string()) for name in ("role", "content", "tool_calls", "tool_call_id")])
SCHEMA = pa.schema(
    [
        ("environment", pa.string()),
        ("arguments", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("task_kind", pa.string()),
        ("repeat", pa.int64()),
        ("verdict", pa.string()),
        ("success", pa.bool_()),
        ("reward", pa.float64()),
        ("reward_terms", pa.string()),
        ("stop", pa.string()),
        ("fault", pa.string()),
        ("expected", pa.string()),
        ("answer", pa.string()),
        ("failure", pa.string()),
        ("messages", pa.list_(_MESSAGE)),
        ("turns", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("model_seconds", pa.float64()),
    ]
)


def export_dataset(folder: Folder, out: Path) -> list[Path]:
    """
    Raises:
        BenchError: `out` is not empty.
        OSError: it cannot be written.
    """
    new_folder(out)
    names = file_names(folder.tasks)
    (out / "data").mkdir()
    paths = []
    for name, episodes in zip(names, folder.episodes_by_set(), strict=True):
        table = pa.Table.from_pylist(list(map(_row, episodes)), schema=SCHEMA)
        path = out / "data" / f"{name}.parquet"
        with replacing_file(path) as scratch:
            pq.write_table(table, scratch, compression="zstd")
        paths.append(path)
    paths.append(write_file(out / "README.md", _card(folder, names)))
    return paths


def _row(episode: Episode) -> dict[str, Any]:
    result = measure(episode)
    messages: list[Message] = []
    for turn in episode.turns:
        messages += [*turn.observation, turn.reply]
    return {
        "environment": episode.environment,
        "arguments": json.dumps(episode.arguments),
        "seed": episode.seed,
        "task": result.key,
        "task_kind": result.kind,
        "repeat": episode.sample,
        "verdict": result.verdict,
        "success": result.success if result.is_scored else None,
        "reward": result.reward if result.is_scored else None,
        "reward_terms": json.dumps(episode.reward_terms()),
        "stop": result.stop,
        "fault": result.fault,
        "expected": result.expected,
        "answer": result.answer,
        "failure": result.failure,
        "messages": [_message(message) for message in (*messages, *episode.final_observation)],
        "turns": result.turns,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "reasoning_tokens": result.reasoning_tokens,
        "cached_tokens": result.cached_tokens,
        "model_seconds": result.model_seconds,
    }


def _message(message: Message) -> dict[str, str | None]:
    calls = message.get("tool_calls")
    return {
        "role": message["role"],
        "content": content_text(message),
        "tool_calls": json.dumps(calls) if calls else None,
        "tool_call_id": message.get("tool_call_id"),
    }


def _card(folder: Folder, names: list[str]) -> str:
    settings = folder.settings
    configurations = "".join(
        f"  - config_name: {name}\n    data_files:\n      - split: test\n        path: data/{name}.parquet\n"
        for name in names
    )
    hashes = "".join(
        f"| {name} | `{task_set.label}` | `{task_set.digest}` | {len(task_set.seeds)} |\n"
        for name, task_set in zip(names, folder.tasks.sets, strict=True)
    )
    return f"""---
configs:
{configurations}---

# {settings.suite}, played by {settings.model}

Episodes of `ludus bench {settings.suite}`: agent {settings.agent}, temperature
{settings.temperature:g}, at most {settings.max_tokens} tokens in a reply, seed {settings.seed},
{settings.repeats} episodes per task, Ludus {settings.ludus}. Task list `{folder.tasks.digest}`:
figures on the same hash are comparable.

| configuration | environment | hash | tasks |
|---|---|---|---|
{hashes}
A row is an episode. `success` and `reward` are null where there is no score: `verdict` says whether something
broke or the server refused, `fault` why. `messages` are the conversation in the OpenAI chat form, with
`tool_calls` as JSON and `[image]` for an image; `expected`, `answer` and `failure` say what was right, what
was answered, and why it failed.
"""
