"""The command line: `ludus COMMAND`, one module or folder for each command.

Each command is a frozen dataclass: tyro turns its fields into options, and `execute()` returns the exit code.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Union

import tyro

import ludus
from ludus.cli.arena.arena import Arena
from ludus.cli.bench.board import BenchBoard
from ludus.cli.bench.compare import BenchCompare
from ludus.cli.bench.export import BenchExport
from ludus.cli.bench.merge import BenchMerge
from ludus.cli.bench.run import Bench
from ludus.cli.bench.score import BenchScore
from ludus.cli.check import Check
from ludus.cli.envs import Envs
from ludus.cli.errors import UsageError, explain
from ludus.cli.evaluate import Evaluate
from ludus.cli.grade import Grade
from ludus.cli.judge import JudgeCommand
from ludus.cli.losses import Losses
from ludus.cli.merge import Merge
from ludus.cli.pairs import Pairs
from ludus.cli.plan import Plan
from ludus.cli.play import Play
from ludus.cli.sandbox.build import SandboxBuild
from ludus.cli.sandbox.check import SandboxCheck
from ludus.cli.scaling.scaling import Scaling
from ludus.cli.serve.mcp import ServeMcp
from ludus.cli.serve.model import ServeModel
from ludus.cli.serve.openenv import ServeOpenEnv
from ludus.cli.serve.tools import ServeTools
from ludus.cli.train import Train
from ludus.cli.values import split_overrides
from ludus.cli.view import View
from ludus.tools.wording import did_you_mean

_DESCRIPTION = """Environments for language-model agents, and the trainer that improves policies in them.

`ludus COMMAND --help` explains a command; `ludus --version` prints the version."""

_BROKEN_PIPE = 141
"""The exit code that a shell reports for a program ended by SIGPIPE."""

_COMMANDS: dict[str, tuple[type, str]] = {
    "envs": (Envs, "List the environments."),
    "check": (Check, "Run the conformance suite on an environment."),
    "play": (Play, "Play, or watch an agent or a model play; record a GIF."),
    "grade": (Grade, "Try a grader on your data, item by item."),
    "train": (Train, "Prime and improve a policy, evaluate it, write the report."),
    "plan": (Plan, "The memory that a run takes, before it starts."),
    "eval": (Evaluate, "Measure an agent or a model, with 95% intervals."),
    "bench": (Bench, "Measure a model on frozen tasks, resumably; write a report."),
    "bench compare": (BenchCompare, "Two runs on the same tasks: paired differences."),
    "bench board": (BenchBoard, "A leaderboard of runs on the same tasks."),
    "bench merge": (BenchMerge, "One run from the shards that --shard played."),
    "bench export": (BenchExport, "A run as Inspect logs, or as a dataset."),
    "bench score": (BenchScore, "Measure an agent from outside by its episode log."),
    "scaling": (Scaling, "Success against tokens: vote, best of n, search, revision."),
    "arena": (Arena, "Players of a game against each other, rated."),
    "judge": (JudgeCommand, "What a configuration's judges fall for."),
    "losses": (Losses, "A stored step's losses again; other algorithms' beside."),
    "pairs": (Pairs, "Preference pairs from the groups of a run."),
    "merge": (Merge, "A LoRA adapter and its base as one model."),
    "view": (View, "Open a run's report."),
    "sandbox check": (SandboxCheck, "Attack a sandbox, and inspect this machine."),
    "sandbox build": (SandboxBuild, "Make the image that programs run in with Docker."),
    "serve tools": (ServeTools, "Search, calendar, weather and mail, over HTTP."),
    "serve mcp": (ServeMcp, "An environment's tools, for any MCP client."),
    "serve model": (ServeModel, "A model, as OpenAI's chat interface."),
    "serve openenv": (ServeOpenEnv, "An environment, for OpenEnv's clients."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 on failure, 2 on bad usage, 3 if too many episodes of a
    measurement have no score, 130 on Ctrl-C.

    A problem that the user can fix is one line on stderr; a bug keeps its traceback.
    """
    try:
        code = _command(list(sys.argv[1:] if argv is None else argv)).execute()
        sys.stdout.flush()
        return code
    except SystemExit as finished:  # tyro has printed help, or what is wrong with the options
        return int(finished.code or 0)
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except BaseException as error:
        problem = explain(error)
        if problem is None:
            raise
        print(f"error: {problem.line}", file=sys.stderr)
        return problem.exit_code


def _command(argv: list[str]) -> Any:
    """The command that the arguments name, ready to be executed.

    Raises:
        UsageError: there is no such command.
        SystemExit: help or the version was requested and printed, or an option is wrong.
    """
    if argv == ["--version"]:
        print(f"ludus {ludus.__version__}")
        raise SystemExit(0)
    if not argv or argv[0] in ("--help", "-h"):
        _overview()
    # Some are two words, the first of which may be a command too (`bench`, `bench compare`).
    count = 2 if " ".join(argv[:2]) in _COMMANDS else 1
    name, words = " ".join(argv[:count]), argv[count:]
    if name not in _COMMANDS and any(command.startswith(f"{name} ") for command in _COMMANDS):
        name = " ".join(argv[:2])  # the first word of several commands; given alone, it lists them
        if argv[1:2] in ([], ["--help"], ["-h"]):
            for command, (_, line) in _COMMANDS.items():
                if command.startswith(f"{argv[0]} "):
                    print(f"ludus {command:<16}{line}")
            print("Add `--help` to one of them for an explanation.")
            raise SystemExit(0)
    if name not in _COMMANDS:
        hint = did_you_mean(name, _COMMANDS, otherwise=f"there are {', '.join(_COMMANDS)}")
        raise UsageError(f"there is no command {name!r}: {hint}")
    kind = _COMMANDS[name][0]
    if kind in (Train, Plan, JudgeCommand):
        words, overrides = split_overrides(words, {"help", *(field.name for field in fields(kind))})
        if {"-h", "--help"} & {*words}:
            from ludus.cli.keys import print_keys

            try:
                _parse(kind, name, words)
            finally:
                print_keys()
        return _parse(kind, name, words).overridden(overrides)
    return _parse(kind, name, words)


def _parse(kind: type, name: str, words: Sequence[str]) -> Any:
    return tyro.cli(kind, prog=f"ludus {name}", args=words, config=(tyro.conf.FlagCreatePairsOff,))


def _overview() -> None:
    """Print the help for `ludus` itself."""
    commands = [
        Annotated[kind, tyro.conf.subcommand(name, description=line)]
        for name, (kind, line) in _COMMANDS.items()
    ]
    any_command: Any = Union[tuple(commands)]  # noqa: UP007 (there is no other way to write one of many)
    tyro.cli(any_command, prog="ludus", description=_DESCRIPTION, args=["--help"])
