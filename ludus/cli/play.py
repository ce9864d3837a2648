"""`ludus play ID`: a person, a scripted agent or a trained model, one episode after another."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium

from ludus.cli.environments import make, resolve
from ludus.cli.errors import UsageError
from ludus.cli.models import ModelChoice, arguments_for, choose_model, model_policy, scripted_policy
from ludus.cli.options import AgentName, Arguments, EnvironmentId, ModelName, OutputFile
from ludus.cli.person import Quit, person
from ludus.cli.values import parse_arguments

Choose = Callable[[Any, dict[str, Any]], Any]
"""(observation, info) → action, within one episode."""


@dataclass(frozen=True)
class Play:
    """Play an environment in the terminal, or watch a scripted agent or a trained model play it.

    A grid is played with the arrow keys or WASD (q ends), a chat by typing replies (Ctrl-D ends).
    """

    id: EnvironmentId
    """The environment, such as ludus/PacMan-v0."""
    arg: Arguments = ()
    """A keyword argument for gym.make; the value as in TOML or JSON. May be given several times."""
    agent: AgentName = None
    """A scripted agent of the environment instead of you: null, random, oracle, …"""
    model: ModelName = None
    """A model instead of you: a server's URL, a run (its folder or name), a model's folder, or a name on the
    hub. A run on this environment also gives the arguments that no --arg sets."""
    seed: int = 0
    """Seed of the first episode; the next ones have the seeds after it."""
    episodes: int = 1
    """How many episodes to play."""
    record: OutputFile = None
    """Also write the first episode to this GIF."""

    def execute(self) -> int:
        from rich.console import Console

        from ludus.cli.recording import Recorder
        from ludus.cli.screen import screen

        if self.agent is not None and self.model is not None:
            raise UsageError("--agent and --model are both given: only one can play")
        if self.episodes < 1:
            raise UsageError(f"--episodes {self.episodes}: play at least 1")
        name = resolve(self.id)
        choice = choose_model(self.model) if self.model is not None else None
        arguments = arguments_for(name, parse_arguments(self.arg), choice)
        env = make(name, arguments, render_mode="ansi")
        recorder = Recorder(name, arguments, self.record) if self.record is not None else None
        console = Console()
        try:
            with self._player(env, choice) as begin:
                for seed in range(self.seed, self.seed + self.episodes):
                    recorded = recorder if seed == self.seed else None
                    result = play(env, begin, screen(console, env, self._is_person), seed, recorded)
                    console.print(result, highlight=False)
        except Quit:
            console.print("quit")
        finally:
            env.close()
            if recorder is not None and (pictures := recorder.close()):
                console.print(f"{pictures} pictures in {self.record}", highlight=False)
        return 0

    @property
    def _is_person(self) -> bool:
        return self.agent is None and self.model is None

    @contextmanager
    def _player(self, env: gymnasium.Env, choice: ModelChoice | None) -> Iterator[Callable[[int], Choose]]:
        """A function that makes a chooser for the episode of a seed."""
        if self._is_person:
            with person(env) as choose:
                yield lambda seed: choose
            return
        if choice is not None:
            policy = model_policy(env, choice, self.seed)
        else:
            policy = scripted_policy(env, self.agent or "", self.seed)
        with asyncio.Runner() as runner:

            def begin(seed: int) -> Choose:
                player = policy.player(env, seed)
                return lambda observation, info: runner.run(player.act(observation, info)).reply

            yield begin


def play(
    env: gymnasium.Env, begin: Callable[[int], Choose], screen: Any, seed: int, recorder: Any | None
) -> str:
    """Play one episode on the screen; returns its outcome in a line."""
    observation, info = env.reset(seed=seed)
    if recorder is not None:
        recorder.reset(seed)
    choose = begin(seed)
    screen.observe(observation)
    total, turns, ended = 0.0, 0, False
    while not ended:
        action = choose(observation, info)
        screen.act(action)
        observation, reward, terminated, truncated, info = env.step(action)
        if recorder is not None:
            recorder.step(action)
        total, turns, ended = total + float(reward), turns + 1, terminated or truncated
        screen.earn(float(reward), info)
        screen.observe(observation)
    verdict = "[green]success[/]" if info.get("success") else "[red]no success[/]"
    cause = "ended by the environment" if terminated else "cut off by the limit on turns"
    return f"seed {seed}: [bold]return {total:.2f}[/] in {turns} turn{'s' * (turns != 1)}, {cause}: {verdict}"
