"""Solve an environment's tasks by hand, seeing what a model sees; the expected answer is shown at the end.

    blind_tasks.py show ludus/Weather-v0 7                              # what the model sees so far
    blind_tasks.py call ludus/Weather-v0 7 geocode '{"name": "Ulm"}'    # act, and read what comes back
    blind_tasks.py say ludus/Assistant-v0 7 "How long should it take?"
    blind_tasks.py expected ludus/Weather-v0 7     # after the end: the verdict, and what the oracle does
    blind_tasks.py table                           # how the folder's episodes ended, added to the results

An episode is the list of its replies, a file in `--folder`, and is replayed from the start for each command,
so that it can be interrupted and continued. A reply can also be written into that file by hand, as a line of
JSON.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
from machine import machine

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.chat import Chat, Message, content_text
from ludus.tools.files import write_file
from ludus.tools.wording import environment_title

RESULTS = Path(__file__).resolve().parent / "results" / "blind_tasks.json"


@dataclass(frozen=True)
class Played:
    """An episode as played so far."""

    env: Any
    seen: list[Chat]
    """The first messages, then those after each reply."""
    ended: bool
    success: bool


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/blind"), help="where episodes are kept")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("show", "call", "say", "expected"):
        command = commands.add_parser(name)
        command.add_argument("id")
        command.add_argument("seed", type=int)
        if name == "call":
            command.add_argument("tool")
            command.add_argument("arguments", type=json.loads, nargs="?", default={})
        if name == "say":
            command.add_argument("text")
    table = commands.add_parser("table")
    table.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    if given.command == "table":
        write_table(given.folder, given.out)
        return
    path = given.folder / f"{environment_title(given.id)}-{given.seed}.jsonl"
    replies = read_replies(path)
    played = play(given.id, given.seed, replies)
    if given.command == "show":
        show(played, replies)
    elif given.command == "expected":
        if not played.ended:
            raise SystemExit("the episode has not ended: what was expected is told afterwards")
        verdict = played.env.unwrapped.verdict
        print("solved" if played.success else f"not solved: {verdict.failure}")
        print(f"expected: {verdict.expected}\nThe oracle's replies:")
        for reply in oracle_replies(given.id, given.seed):
            print(written(reply))
    elif played.ended:
        raise SystemExit("the episode has ended")
    else:
        reply = given.text if given.command == "say" else calling(given.tool, given.arguments, len(replies))
        observation, _, terminated, truncated, _ = played.env.step(reply)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(reply) + "\n")
        print_messages(observation)
        if terminated or truncated:
            print("(The episode has ended.)")


def play(id: str, seed: int, replies: Sequence[Any]) -> Played:
    env = gymnasium.make(id)
    observation, _ = env.reset(seed=seed)
    seen, ended, success = [observation], False, False
    for reply in replies:
        observation, _, terminated, truncated, info = env.step(reply)
        seen.append(observation)
        ended, success = terminated or truncated, bool(info.get("success"))
        if ended:
            break
    return Played(env, seen, ended, success)


def show(played: Played, replies: Sequence[Any]) -> None:
    for tool in played.env.unwrapped.tools:
        print(json.dumps(tool.openai["function"], ensure_ascii=False))
    for number, messages in enumerate(played.seen):
        if number:
            print(f"\n[assistant]\n{written(replies[number - 1])}")
        print_messages(messages)
    if played.ended:
        print("(The episode has ended.)")


def print_messages(messages: Chat) -> None:
    for message in messages:
        print(f"\n[{message['role']}]\n{content_text(message)}")


def written(reply: Any) -> str:
    """A reply in a line or two: its text, then its calls."""
    if isinstance(reply, str):
        return reply
    calls = [
        f"{call['function']['name']} {json.dumps(call['function']['arguments'], ensure_ascii=False)}"
        for call in reply.get("tool_calls", ())
    ]
    return "\n".join(filter(None, [reply["content"], *calls]))


def calling(tool: str, arguments: dict[str, Any], number: int) -> Message:
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": tool, "arguments": arguments},
    }
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def read_replies(path: Path) -> list[Any]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def oracle_replies(id: str, seed: int) -> Iterator[Any]:
    """What the oracle does from the same start."""
    env = gymnasium.make(id)
    agent = env.unwrapped.scripted["oracle"](env)  # type: ignore[attr-defined]
    observation, info = env.reset(seed=seed)
    agent.begin()
    ended = False
    while not ended:
        reply = agent.act(observation, info)
        yield reply
        observation, _, terminated, truncated, info = env.step(reply)
        ended = terminated or truncated


def write_table(folder: Path, out: Path) -> None:
    """Add the folder's episodes to the results; those of other tasks stay as they were played."""
    before = json.loads(out.read_text(encoding="utf-8"))["episodes"] if out.exists() else []
    rows = {(row["id"], row["seed"]): row for row in before}
    ids = {environment_title(id): id for id in gymnasium.registry if id.startswith("ludus/")}
    for path in sorted(folder.glob("*.jsonl")):
        title, _, seed = path.stem.rpartition("-")
        replies = read_replies(path)
        played = play(ids[title], int(seed), replies)
        request = content_text(played.seen[0][-1])
        rows[ids[title], int(seed)] = {
            "id": ids[title],
            "seed": int(seed),
            "request": request,
            "turns": len(replies),
            "ended": played.ended,
            "solved": played.success,
            "failure": played.env.unwrapped.verdict.failure if played.ended else "",
        }
        verdict = "solved" if played.success else "not solved" if played.ended else "open"
        print(f"{ids[title]:24} {seed:>6} {verdict}")
    write_file(
        out,
        json.dumps(
            {**machine("ludus"), "episodes": [rows[key] for key in sorted(rows)]},
            indent=1,
            ensure_ascii=False,
        )
        + "\n",
    )


if __name__ == "__main__":
    main()
