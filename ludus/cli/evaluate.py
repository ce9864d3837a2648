"""`ludus eval ID`: a policy's results, with intervals."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ludus.agents.engines.options import ServerListener
from ludus.agents.episode import Episode
from ludus.agents.evaluate import Summary, fault_share, summarise
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.cli.environments import make, resolve
from ludus.cli.errors import INCOMPLETE, UsageError
from ludus.cli.models import arguments_for, choose_model, model_policy, scripted_policy
from ludus.cli.options import AgentName, Arguments, EnvironmentId, ModelName, OutputFile
from ludus.cli.server import Server, ServerFlags
from ludus.cli.values import parse_arguments


@dataclass(frozen=True)
class Evaluate:
    """Measure a scripted agent or a model: return and success with 95% intervals, reward terms, stop reasons.

    The default seeds are held out: training uses those below 2**32 only. The exit code is 3 if more than 2%
    of the episodes have no score, because something broke or the server refused them.
    """

    id: EnvironmentId
    """The environment, such as ludus/Arithmetic-v0."""
    arg: Arguments = ()
    """A keyword argument for gym.make; the value as in TOML or JSON. May be given several times."""
    agent: AgentName = None
    """A scripted agent of the environment: null, random, oracle, … With --model: how the model is used:
    direct, react, majority-8, best-of-8, beam-4, mcts-32. The last three see the rewards of copies of the
    environment."""
    model: ModelName = None
    """A model: the URL of a server with OpenAI's interface (followed by #NAME if it has several models; the
    key comes from OPENAI_API_KEY), a run (its folder or name), a model's folder, or a name on the hub. A run
    on this environment also gives the arguments that no --arg sets."""
    episodes: int = 512
    """How many episodes to play."""
    seed: int = 2**32
    """Seed of the first episode; the next ones have the seeds after it."""
    temperature: float = 0.0
    """Sampling temperature of the model; 0 takes the likeliest token."""
    out: OutputFile = None
    """Also store the episodes in this Parquet file."""
    server: Server = field(default_factory=ServerFlags)

    def execute(self) -> int:
        if self.agent is None and self.model is None:
            raise UsageError("nothing to evaluate: give --agent NAME or --model URL|PATH|RUN")
        if self.episodes < 1:
            raise UsageError(f"--episodes {self.episodes}: play at least 1")
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"--temperature {self.temperature}: must be 0 (greedy) or more, and finite")
        if self.out is not None and (self.out.is_dir() or not self.out.parent.is_dir()):
            raise UsageError(f"--out {self.out}: name a file in a folder that exists")
        name = resolve(self.id)
        choice = choose_model(self.model) if self.model is not None else None
        arguments = arguments_for(name, parse_arguments(self.arg), choice)
        env = make(name, arguments)
        if choice is not None:
            policy = model_policy(
                env, choice, self.seed, self.temperature, self.server, self.agent or "direct", _Notes()
            )
        else:
            self.server.refuse_for(self.agent or "a scripted agent")
            policy = scripted_policy(env, self.agent or "", self.seed)
        env.close()

        from ludus.agents.store import write_episodes

        starts = [EpisodeStart(seed) for seed in range(self.seed, self.seed + self.episodes)]
        played: list[Episode] = []
        try:
            with _counter(self.episodes) as count:

                def keep(episode: Episode) -> None:
                    played.append(episode)
                    count()

                episodes = rollout(
                    policy,
                    EnvironmentSpec(name, arguments),
                    starts,
                    concurrency=self.server.concurrency,
                    on_episode=keep,
                )
        except KeyboardInterrupt as interruption:
            if self.out is not None and played:
                write_episodes(self.out, played)
                interruption.add_note(f"the {len(played)} episodes played so far are in {self.out}")
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        made = f"{name}({given})" if given else name
        player = " · ".join(name for name in (self.model, self.agent) if name)
        summary = summarise(episodes)
        show(f"{made} · {player}", summary)
        if self.out is not None:
            print(f"episodes: {write_episodes(self.out, episodes)}")
        return INCOMPLETE if summary.is_incomplete else 0


class _Notes(ServerListener):
    """Prints what a server's client has to tell: each note, and that it is held back, but not every change of
    pace."""

    def __init__(self) -> None:
        self._is_held_back = False

    def note(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr)

    def paced(self, text: str) -> None:
        if text and not self._is_held_back:
            print(f"note: {text}", file=sys.stderr)
        self._is_held_back = True


@contextmanager
def _counter(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr while episodes are played; nothing if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal or console.is_dumb_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("episodes", total=total)
        yield lambda: progress.advance(task)


def show(title: str, summary: Summary) -> None:
    """A table of a summary."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ludus.cli.tables import figure, print_whole

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    for label, interval in (("return", summary.mean_return), ("success", summary.success)):
        between = f"{figure(interval.low)} to {figure(interval.high)}"
        table.add_row(label, figure(interval.value), between, style="bold")
    for name, value in summary.reward_terms.items():
        table.add_row(f"  {name}", figure(value))
    table.add_row("turns", figure(summary.turns, 2))
    if summary.completion_tokens:
        table.add_row("tokens", figure(summary.completion_tokens, 1))
        table.add_row("cut off", f"{summary.cut:.1%}")
    table.add_section()
    for reason, count in summary.stop_reasons.items():
        table.add_row(reason, str(count), f"{count / summary.episodes:.1%}")
    table.add_row("scored", f"{summary.scored} of {summary.episodes}")
    for label, count in (("faults", summary.faults), ("refused", summary.refusals)):
        table.add_row(label, fault_share(count, summary.episodes), style="red" if count else "")
    # Not the table's own title, which would wrap at the width of the table.
    console = Console()
    if summary.left_out:
        grave = "INCOMPLETE: " if summary.is_incomplete else ""
        bounds = f"between {figure(summary.success_bounds.low)} and {figure(summary.success_bounds.high)}"
        console.print(
            Text(f"note: {grave}{summary.left_out}; with them success is {bounds}", style="red"),
            soft_wrap=True,
        )
    console.print(Text(title, style="bold"), soft_wrap=True)
    print_whole(table)
