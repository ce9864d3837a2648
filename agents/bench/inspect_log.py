"""A benchmark as logs of Inspect AI (https://inspect.aisi.org.uk), one for each environment.

The form is that of `inspect_ai.log.EvalLog`, version 2, in JSON. A sample is an episode: its id is the task's
seed, its epoch the repeat. What has no score, a fault or a refusal, is a sample with an error.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ludus.agents.bench.directory import Folder
from ludus.agents.bench.export import new_folder
from ludus.agents.bench.metrics import figures
from ludus.agents.bench.outcome import file_names
from ludus.agents.bench.result import Result, measure
from ludus.agents.bench.tasks import TaskSet
from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.statistics import Interval
from ludus.envs.chat import Message, content_text, part_image, part_text, reply_tool_calls
from ludus.tools.files import write_file

_REASONING = ("reasoning_content", "reasoning")
"""Where servers put what a model thought."""
_STOPS = {"length": "max_tokens", "malformed": "unknown"}
_LIMITS = {StopReason.TURN_LIMIT: "message", StopReason.TOKEN_LIMIT: "token", StopReason.TIME_LIMIT: "time"}


def export_inspect(folder: Folder, out: Path) -> list[Path]:
    """One log for each environment, in the folder `out`.

    Raises:
        BenchError: `out` is not empty.
        OSError: it cannot be written.
    """
    new_folder(out)
    paths = []
    logs = zip(file_names(folder.tasks), folder.tasks.sets, folder.episodes_by_set(), strict=True)
    for name, task_set, episodes in logs:
        log = _log(folder, task_set, episodes)
        # Inspect lists the logs whose names begin with a time.
        stem = f"{folder.begun}T00-00-00+00-00_{name.lower()}_{task_set.digest}"
        paths.append(write_file(out / f"{stem}.json", json.dumps(log, indent=1) + "\n"))
    return paths


def _log(folder: Folder, task_set: TaskSet, episodes: Sequence[Episode]) -> dict[str, Any]:
    settings, begun = folder.settings, f"{folder.begun}T00:00:00+00:00"
    results = [measure(episode) for episode in episodes]
    found = figures(results)
    identity = blake2b(f"{task_set.digest} {settings}".encode(), digest_size=11).hexdigest()
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": identity,
            "run_id": folder.tasks.digest,
            "task_id": task_set.digest,
            "created": begun,
            "task": task_set.id,
            "task_version": task_set.version,
            "task_args": task_set.arguments,
            "solver": settings.agent,
            "dataset": {
                "name": settings.suite,
                "samples": len(task_set.seeds),
                "sample_ids": list(task_set.seeds),
                "shuffled": False,
            },
            "model": settings.model,
            "model_generate_config": {
                "temperature": settings.temperature,
                "max_tokens": settings.max_tokens,
                "seed": settings.seed,
            },
            "config": {"epochs": settings.repeats},
            "packages": folder.versions,
            "metadata": {"tasks": folder.tasks.digest},
        },
        "plan": {"name": settings.agent, "steps": [], "config": {}},
        "results": {
            "total_samples": len(episodes),
            "completed_samples": found.scored,
            "scores": [
                _score("success", found.success, found.scored, len(episodes)),
                _score("reward", found.reward, found.scored, len(episodes)),
            ],
            "metadata": {"figures": found.to_dict()},
        },
        "stats": {
            "started_at": begun,
            "completed_at": begun,
            "model_usage": {settings.model: _usage(results)},
        },
        "samples": [
            _sample(episode, result, settings.model)
            for episode, result in zip(episodes, results, strict=True)
        ],
    }


def _score(name: str, estimate: Interval, scored: int, episodes: int) -> dict[str, Any]:
    ends = {"mean": estimate.value, "low_95": estimate.low, "high_95": estimate.high}
    return {
        "name": name,
        "scorer": name,
        "scored_samples": scored,
        "unscored_samples": episodes - scored,
        "metrics": {key: {"name": key, "value": value} for key, value in ends.items() if value == value},
    }


def _sample(episode: Episode, result: Result, model: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in episode.turns:
        messages += [_message(message) for message in turn.observation]
        messages.append(_reply(turn, model))
    messages += [_message(message) for message in episode.final_observation]
    _name_tools(messages)
    first = episode.turns[0].observation if episode.turns else episode.final_observation
    sample: dict[str, Any] = {
        "id": episode.seed,
        "epoch": episode.sample + 1,
        "input": [_message(message) for message in first],
        "target": result.expected,
        "messages": messages,
        "output": {"model": model, "choices": [], "completion": ""},
        "scores": {},
        "metadata": {
            "task": result.key,
            "kind": result.kind,
            "verdict": result.verdict,
            "stop": result.stop,
            "reward_terms": episode.reward_terms(),
            "tool_errors": result.errors,
        },
        "model_usage": {model: _usage([result])},
        "total_time": result.model_seconds + result.step_seconds,
        "working_time": result.model_seconds + result.step_seconds,
        "turn_count": result.turns,
    }
    if episode.turns:
        last = episode.turns[-1]
        reply = _reply(last, model)
        choice = {"message": reply, "stop_reason": _STOPS.get(last.finish, "stop")}
        sample["output"] = {
            "model": model,
            "choices": [choice],
            "completion": content_text(last.reply),
            "time": last.generate_seconds,
        }
    if result.is_scored:
        explanation = result.failure or None
        sample["scores"] = {
            "success": {"value": int(result.success), "answer": result.answer, "explanation": explanation},
            "reward": {"value": result.reward},
        }
    else:
        message = f"{result.verdict}: {result.fault}"
        sample["error"] = {"message": message, "traceback": "", "traceback_ansi": ""}
    if episode.stop in _LIMITS:
        sample["limit"] = {"type": _LIMITS[episode.stop], "limit": result.turns}
    return sample


def _usage(results: Sequence[Result]) -> dict[str, int]:
    read, written = (
        sum(getattr(result, name) for result in results) for name in ("prompt_tokens", "completion_tokens")
    )
    cached = sum(result.cached_tokens for result in results)
    return {
        "input_tokens": read - cached,
        "input_tokens_cache_read": cached,
        "output_tokens": written,
        "reasoning_tokens": sum(result.reasoning_tokens for result in results),
        "total_tokens": read + written,
    }


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message["role"], "content": _content(message)}
    if message["role"] == "assistant":
        made["tool_calls"] = [*map(_call, reply_tool_calls(message))]
    if message["role"] == "tool":
        made["tool_call_id"] = message.get("tool_call_id", "")
        text = content_text(message)
        if text.startswith("Error: "):
            made["error"] = {"type": "unknown", "message": text.removeprefix("Error: ")}
    return made


def _content(message: Message) -> str | list[dict[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if (url := part_image(part)) is not None:
            parts.append({"type": "image", "image": url})
        elif (text := part_text(part)) is not None:
            parts.append({"type": "text", "text": text})
    return parts


def _reply(turn: Turn, model: str) -> dict[str, Any]:
    made = {**_message(turn.reply), "role": "assistant", "source": "generate", "model": model}
    thought = next((turn.vendor[name] for name in _REASONING if isinstance(turn.vendor.get(name), str)), "")
    if thought:
        content = made["content"]
        texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        made["content"] = [{"type": "reasoning", "reasoning": thought}, *texts]
    return made


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments, wrong = function.get("arguments", {}), None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            arguments, wrong = {"written": arguments}, f"not JSON: {error}"
    if not isinstance(arguments, Mapping):
        arguments, wrong = {"written": arguments}, "not an object"
    name = function.get("name")
    return {
        "id": str(call.get("id", "")),
        "function": name if isinstance(name, str) else json.dumps(name),
        "arguments": dict(arguments),
        "type": "function",
        **({"parse_error": wrong} if wrong else {}),
    }


def _name_tools(messages: Sequence[dict[str, Any]]) -> None:
    """Give every result of a tool the name of the tool."""
    names: dict[str, str] = {}
    for message in messages:
        names |= {call["id"]: call["function"] for call in message.get("tool_calls", ())}
        if message["role"] == "tool":
            message["function"] = names.get(message["tool_call_id"], "")
